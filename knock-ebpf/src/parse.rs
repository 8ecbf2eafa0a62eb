//! From a frame to the SYN that it may be.
//!
//! The cheapest test comes first, so that traffic that is no knock is done with early:
//! type of frame, transport protocol, port, flags, and only then what makes a packet
//! consistent. Checksums are the host's business and are not verified.

use knock_common::{counters::Outcome, event::ipv4_mapped};

use crate::{
    headers::{
        AUTHENTICATION, DESTINATION_OPTIONS, ETHER_TYPE_IPV4, ETHER_TYPE_IPV6,
        ETHER_TYPE_SERVICE_VLAN, ETHER_TYPE_VLAN, Ethernet, Extension, FRAGMENT, HOP_BY_HOP,
        HOST_IDENTITY, Ipv4, Ipv6, MOBILITY, PROTOCOL_TCP, ROUTING, SHIM6, Tcp, VlanTag,
    },
    packet::Cursor,
};

/// VLAN tags that are followed: one of a customer inside one of a provider (802.1ad).
const MAX_VLAN_TAGS: usize = 2;

/// IPv6 extension headers that are followed. RFC 8200 names six, each at most once but for
/// one; the rest is room for odd hosts. A bound, so that the verifier sees an end.
const MAX_EXTENSIONS: usize = 8;

/// A connection request to a port of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Syn {
    /// IPv4 as IPv4-mapped IPv6 address.
    pub(crate) source: [u8; 16],
    pub(crate) source_port: u16,
    /// The destination port's place in the window.
    pub(crate) offset: u8,
}

/// The SYN to the window at `window_base` that the frame under `cursor` is, or else what it is.
///
/// `further` tells how many bytes of the frame lie in buffers that `cursor` does not see. It
/// is only asked about a SYN to the window that goes on there.
#[inline(always)]
pub(crate) fn frame(
    mut cursor: Cursor,
    window_base: u16,
    further: impl Fn() -> usize,
) -> Result<Syn, Outcome> {
    let mut ether_type = cursor.take::<Ethernet>()?.ether_type();
    for _ in 0..MAX_VLAN_TAGS {
        if !is_vlan(ether_type) {
            break;
        }
        ether_type = cursor.take::<VlanTag>()?.ether_type();
    }
    match ether_type {
        ETHER_TYPE_IPV4 => ipv4(cursor, window_base, further),
        ETHER_TYPE_IPV6 => ipv6(cursor, window_base, further),
        tag if is_vlan(tag) => Err(Outcome::TooDeep),
        _ => Err(Outcome::NotIp),
    }
}

#[inline(always)]
fn is_vlan(ether_type: u16) -> bool {
    ether_type == ETHER_TYPE_VLAN || ether_type == ETHER_TYPE_SERVICE_VLAN
}

#[inline(always)]
fn ipv4(mut cursor: Cursor, window_base: u16, further: impl Fn() -> usize) -> Result<Syn, Outcome> {
    let ip = cursor.take::<Ipv4>()?;
    if ip.protocol != PROTOCOL_TCP {
        return Err(Outcome::NotTcp);
    }
    let header_len = ip.header_len();
    if ip.version() != 4 || header_len < size_of::<Ipv4>() {
        return Err(Outcome::Malformed);
    }
    if ip.is_fragment() {
        return Err(Outcome::Fragment);
    }
    let Some(segment_len) = ip.total_len().checked_sub(header_len) else {
        return Err(Outcome::Malformed);
    };
    cursor.skip(header_len - size_of::<Ipv4>())?;
    let (source_port, offset) = tcp(cursor, segment_len, window_base, further)?;
    Ok(Syn {
        source: ipv4_mapped(ip.source),
        source_port,
        offset,
    })
}

#[inline(always)]
fn ipv6(mut cursor: Cursor, window_base: u16, further: impl Fn() -> usize) -> Result<Syn, Outcome> {
    let ip = cursor.take::<Ipv6>()?;
    if ip.version() != 6 {
        return Err(Outcome::Malformed);
    }
    let mut header = ip.next_header;
    let mut len = ip.payload_len();
    for _ in 0..MAX_EXTENSIONS {
        if !is_extension(header) {
            break;
        }
        let extension = cursor.take::<Extension>()?;
        let extension_len = extension.header_len(header);
        cursor.skip(extension_len - size_of::<Extension>())?;
        len = len.checked_sub(extension_len).ok_or(Outcome::Malformed)?;
        header = extension.next_header;
    }
    match header {
        PROTOCOL_TCP => {}
        // An atomic fragment (RFC 6946) is a fragment too: no client sends one.
        FRAGMENT => return Err(Outcome::Fragment),
        header if is_extension(header) => return Err(Outcome::TooDeep),
        _ => return Err(Outcome::NotTcp),
    }
    let (source_port, offset) = tcp(cursor, len, window_base, further)?;
    Ok(Syn {
        source: ip.source,
        source_port,
        offset,
    })
}

#[inline(always)]
fn is_extension(header: u8) -> bool {
    matches!(
        header,
        HOP_BY_HOP
            | ROUTING
            | AUTHENTICATION
            | DESTINATION_OPTIONS
            | MOBILITY
            | HOST_IDENTITY
            | SHIM6
    )
}

/// Source port and window offset of the segment of `len` bytes at `cursor`, if it is a SYN
/// to the window.
#[inline(always)]
fn tcp(
    mut cursor: Cursor,
    len: usize,
    window_base: u16,
    further: impl Fn() -> usize,
) -> Result<(u16, u8), Outcome> {
    let available = cursor.remaining();
    let tcp = cursor.take::<Tcp>()?;
    let Ok(offset) = u8::try_from(tcp.destination_port().wrapping_sub(window_base)) else {
        return Err(Outcome::OutsideWindow);
    };
    if !tcp.opens_connection() {
        return Err(Outcome::NotSyn);
    }
    // The host would drop what is shorter than it says, or ends inside its own header.
    let header_len = tcp.header_len();
    if header_len < size_of::<Tcp>() || header_len > len {
        return Err(Outcome::Malformed);
    }
    if len > available && len - available > further() {
        return Err(Outcome::Malformed);
    }
    Ok((tcp.source_port(), offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::over;

    const BASE: u16 = 61000;

    #[rustfmt::skip]
    const V4: [u8; 54] = [
        2, 0, 0, 0, 0, 1,  2, 0, 0, 0, 0, 2,  0x08, 0x00,
        0x45, 0, 0, 40,  0, 0, 0x40, 0,  64, 6, 0, 0,  192, 0, 2, 2,  192, 0, 2, 1,
        0x9c, 0x40, 0xee, 0x4f,  0, 0, 0, 1,  0, 0, 0, 0,  0x50, 0x02, 0xff, 0xff,  0, 0, 0, 0,
    ];
    const V4_SYN: Syn = Syn {
        source: ipv4_mapped([192, 0, 2, 2]),
        source_port: 40000,
        offset: 7,
    };

    #[rustfmt::skip]
    const V6: [u8; 90] = [
        2, 0, 0, 0, 0, 1,  2, 0, 0, 0, 0, 2,  0x81, 0x00,  0, 5, 0x86, 0xdd,
        0x60, 0, 0, 0,  0, 32, AUTHENTICATION, 64,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        PROTOCOL_TCP, 1, 0, 0,  0, 0, 0, 1,  0, 0, 0, 1,
        0x9c, 0x40, 0xee, 0x4f,  0, 0, 0, 1,  0, 0, 0, 0,  0x50, 0xc2, 0xff, 0xff,  0, 0, 0, 0,
    ];
    const V6_SYN: Syn = Syn {
        source: [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2],
        source_port: 40000,
        offset: 7,
    };

    fn parse(bytes: &[u8], further: usize) -> Result<Syn, Outcome> {
        over(bytes, |cursor| frame(cursor, BASE, || further))
    }

    fn changed(frame: &[u8], at: usize, byte: u8) -> Result<Syn, Outcome> {
        let mut frame = frame.to_vec();
        frame[at] = byte;
        parse(&frame, 0)
    }

    #[test]
    fn a_syn_of_either_family() {
        assert_eq!(parse(&V4, 0), Ok(V4_SYN));
        assert_eq!(parse(&V6, 0), Ok(V6_SYN));
    }

    /// From the empty frame on, which no driver hands over.
    #[test]
    fn a_truncated_frame_is_malformed_wherever_it_ends() {
        for frame in [&V4[..], &V6] {
            for len in 0..frame.len() {
                assert_eq!(parse(&frame[..len], 0), Err(Outcome::Malformed), "{len}");
            }
        }
    }

    #[test]
    fn every_other_ending() {
        let [ethernet, ip, tcp] = [12, 14, 34];
        assert_eq!(changed(&V4, ethernet + 1, 6), Err(Outcome::NotIp));
        assert_eq!(changed(&V4, ip + 9, 17), Err(Outcome::NotTcp));
        assert_eq!(changed(&V4, ip + 6, 0x20), Err(Outcome::Fragment));
        assert_eq!(changed(&V4, ip, 0x44), Err(Outcome::Malformed));
        assert_eq!(changed(&V4, tcp + 2, 0), Err(Outcome::OutsideWindow));
        assert_eq!(changed(&V4, tcp + 13, 0x12), Err(Outcome::NotSyn));
        let [inner_type, next_header] = [16, 24];
        assert_eq!(changed(&V6, next_header, FRAGMENT), Err(Outcome::Fragment));
        let tags = [&V6[..inner_type], &[0x88, 0xa8, 0, 6, 0x81, 0x00]].concat();
        assert_eq!(parse(&tags, 0), Err(Outcome::TooDeep));
    }

    #[test]
    fn a_payload_may_go_on_in_further_buffers() {
        let mut frame = V4;
        frame[16..18].copy_from_slice(&9000_u16.to_be_bytes());
        assert_eq!(parse(&frame, 9000 - 40), Ok(V4_SYN));
        assert_eq!(parse(&frame, 9000 - 41), Err(Outcome::Malformed));
        assert_eq!(parse(&frame, 0), Err(Outcome::Malformed));
    }
}
