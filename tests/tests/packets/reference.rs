//! What a frame is, read from README.md and the RFCs as plainly as possible: no cursor,
//! no structures, an index into bytes. Slow and obvious, to hold the program against.
//!
//! Where several endings fit a packet, the earlier of the program's questions decides: can
//! the link and network layer be followed to TCP; is the destination port in the window; is
//! it a SYN; do the lengths agree.

use std::net::{Ipv4Addr, Ipv6Addr};

use knock_common::counters::Outcome;

/// What is to become of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Knock {
        source: Ipv6Addr,
        source_port: u16,
        offset: u8,
    },
    Other(Outcome),
}

/// What `frame` is to a program whose window starts at `base`.
pub(crate) fn classify(frame: &[u8], base: u16) -> Expected {
    // A field that lies behind the frame's end makes the packet a truncated one.
    link(frame, base).unwrap_or(Expected::Other(Outcome::Malformed))
}

fn link(frame: &[u8], base: u16) -> Option<Expected> {
    // Two hardware addresses of six bytes, then the type of what follows.
    let mut at = 12;
    let mut tags = 0;
    // IEEE 802.1Q and 802.1ad: a type, two bytes of tag, and again a type.
    while u16_at(frame, at)? == 0x8100 || u16_at(frame, at)? == 0x88a8 {
        tags += 1;
        if tags > 2 {
            return Some(Expected::Other(Outcome::TooDeep));
        }
        at += 4;
    }
    match u16_at(frame, at)? {
        0x0800 => ipv4(frame, at + 2, base),
        0x86dd => ipv6(frame, at + 2, base),
        _ => Some(Expected::Other(Outcome::NotIp)),
    }
}

/// RFC 791, section 3.1.
fn ipv4(frame: &[u8], at: usize, base: u16) -> Option<Expected> {
    let header = frame.get(at..at + 20)?;
    if header[9] != 6 {
        return Some(Expected::Other(Outcome::NotTcp));
    }
    let version = header[0] / 16;
    let header_len = usize::from(header[0] % 16) * 4;
    let total_len = usize::from(u16_at(header, 2)?);
    if version != 4 || header_len < 20 {
        return Some(Expected::Other(Outcome::Malformed));
    }
    // The top bits are reserved, "don't fragment" and "more fragments"; then the offset.
    let more_fragments = header[6] & 0b0010_0000 != 0;
    let fragment_offset = u16_at(header, 6)? % 8192;
    if more_fragments || fragment_offset != 0 {
        return Some(Expected::Other(Outcome::Fragment));
    }
    if total_len < header_len {
        return Some(Expected::Other(Outcome::Malformed));
    }
    let source: [u8; 4] = header[12..16].try_into().unwrap();
    let source = Ipv4Addr::from(source).to_ipv6_mapped();
    tcp(frame, at + header_len, at + total_len, source, base)
}

/// RFC 8200, sections 3 and 4.
fn ipv6(frame: &[u8], at: usize, base: u16) -> Option<Expected> {
    let header = frame.get(at..at + 40)?;
    if header[0] / 16 != 6 {
        return Some(Expected::Other(Outcome::Malformed));
    }
    let source: [u8; 16] = header[8..24].try_into().unwrap();
    let end = at + 40 + usize::from(u16_at(header, 4)?);

    let mut next = header[6];
    let mut at = at + 40;
    let mut extensions = 0;
    loop {
        let is_authentication = next == 51;
        match next {
            6 => return tcp(frame, at, end, source.into(), base),
            44 => return Some(Expected::Other(Outcome::Fragment)),
            // Hop-by-hop, routing, authentication, destination, mobility, HIP, Shim6.
            0 | 43 | 51 | 60 | 135 | 139 | 140 => extensions += 1,
            _ => return Some(Expected::Other(Outcome::NotTcp)),
        }
        if extensions > 8 {
            return Some(Expected::Other(Outcome::TooDeep));
        }
        let units = usize::from(*frame.get(at + 1)?);
        let len = if is_authentication {
            // RFC 4302, section 2.2: in words of four bytes, minus two.
            (units + 2) * 4
        } else {
            8 + units * 8
        };
        next = frame.get(at..at + len)?[0];
        at += len;
        if at > end {
            return Some(Expected::Other(Outcome::Malformed));
        }
    }
}

/// RFC 9293, section 3.1: the segment from `at` to `end`.
fn tcp(frame: &[u8], at: usize, end: usize, source: Ipv6Addr, base: u16) -> Option<Expected> {
    let header = frame.get(at..at + 20)?;
    let destination_port = u32::from(u16_at(header, 2)?);
    let base = u32::from(base);
    if destination_port < base || destination_port > base + 255 {
        return Some(Expected::Other(Outcome::OutsideWindow));
    }
    let flag = |bit: u32| header[13] & (1 << bit) != 0;
    let (fin, syn, rst, ack) = (flag(0), flag(1), flag(2), flag(4));
    if !syn || ack || rst || fin {
        return Some(Expected::Other(Outcome::NotSyn));
    }
    let header_len = usize::from(header[12] / 16) * 4;
    if header_len < 20 || at + header_len > end || end > frame.len() {
        return Some(Expected::Other(Outcome::Malformed));
    }
    Some(Expected::Knock {
        source,
        source_port: u16_at(header, 0)?,
        offset: u8::try_from(destination_port - base).unwrap(),
    })
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let high = *bytes.get(at)?;
    let low = *bytes.get(at + 1)?;
    Some(u16::from(high) * 256 + u16::from(low))
}
