use core::num::{NonZeroU16, NonZeroU32, NonZeroU64};

use knock_common::{
    datagram::Mac1Key,
    gate::{Mode, PrefixLens},
    rate::Rate,
    settings::{Datagram as Knocks, Destinations, Gate, Verdict},
    window::Window,
};

use super::*;
use crate::packet::tests::over;

/// An owned summary of the result of parsing, which may outlive the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Segment {
        source: Option<Address>,
        port: u16,
        is_consistent: bool,
    },
    Datagram {
        port: u16,
        may_be_knock: bool,
    },
    Other(Other),
}

#[rustfmt::skip]
const V4: [u8; 54] = [
    2, 0, 0, 0, 0, 1,  2, 0, 0, 0, 0, 2,  0x08, 0x00,
    0x45, 0, 0, 40,  0, 0, 0x40, 0,  64, 6, 0, 0,  192, 0, 2, 2,  192, 0, 2, 1,
    0x9c, 0x40, 0xee, 0x4f,  0, 0, 0, 1,  0, 0, 0, 0,  0x50, 0x02, 0xff, 0xff,  0, 0, 0, 0,
];
const V4_SYN: Seen = Seen::Segment {
    source: Some(Address::v4([192, 0, 2, 2])),
    port: 61007,
    is_consistent: true,
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
const V6_SYN: Seen = Seen::Segment {
    source: Some(Address::v6([
        0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
    ])),
    port: 61007,
    is_consistent: true,
};

fn settings(tcp: bool, udp: bool) -> Settings {
    let rate = Rate::new(NonZeroU32::MIN, NonZeroU32::MIN);
    Settings::new(Window::DEFAULT, Verdict::Drop, rate).with_gate(&Gate {
        mode: Mode::Enforce,
        tcp,
        udp,
        trusted: false,
        destinations: Destinations::Local,
        ipv4_prefix_lens: PrefixLens::default(),
        prefix_lens: PrefixLens::default(),
        udp_idle_ns: NonZeroU64::MIN,
    })
}

fn parse(bytes: &[u8], settings: &Settings, further: usize) -> Seen {
    over(bytes, |cursor| {
        match frame(cursor, settings, |_, _| false) {
            Ok(Carried::Segment(segment)) => Seen::Segment {
                source: segment.ip.source(),
                port: segment.tcp.destination_port(),
                is_consistent: segment.is_consistent(|| further),
            },
            Ok(Carried::Datagram(datagram)) => Seen::Datagram {
                port: datagram.ports.destination,
                may_be_knock: datagram.body.is_some(),
            },
            Err(other) => Seen::Other(other),
        }
    })
}

fn changed(frame: &[u8], at: usize, byte: u8, settings: &Settings) -> Seen {
    let mut frame = frame.to_vec();
    frame[at] = byte;
    parse(&frame, settings, 0)
}

fn harmless(outcome: Outcome) -> Seen {
    Seen::Other(Other::Harmless(outcome))
}

fn unclear(outcome: Outcome) -> Seen {
    Seen::Other(Other::Unclear(outcome))
}

#[test]
fn a_segment_of_either_family() {
    let settings = settings(false, false);
    assert_eq!(parse(&V4, &settings, 0), V4_SYN);
    assert_eq!(parse(&V6, &settings, 0), V6_SYN);
}

/// Includes the empty frame, which no driver passes on.
#[test]
fn a_truncated_frame_is_unclear_wherever_it_ends() {
    let settings = settings(false, false);
    for frame in [&V4[..], &V6] {
        for len in 0..frame.len() {
            let seen = parse(&frame[..len], &settings, 0);
            assert_eq!(seen, unclear(Outcome::Malformed), "{len}");
        }
    }
}

#[test]
fn every_other_outcome() {
    let neither = settings(false, false);
    let [ethernet, ip] = [12, 14];
    let v4 = |at, byte| changed(&V4, at, byte, &neither);
    assert_eq!(v4(ethernet + 1, 6), harmless(Outcome::NotIp));
    assert_eq!(v4(ip + 9, 17), harmless(Outcome::NotTcp));
    assert_eq!(v4(ip + 6, 0x20), harmless(Outcome::Fragment));
    assert_eq!(v4(ip, 0x44), unclear(Outcome::Malformed));
    let [inner_type, next_header] = [16, 24];
    let fragment = changed(&V6, next_header, FRAGMENT, &neither);
    assert_eq!(fragment, harmless(Outcome::Fragment));
    let tags = [&V6[..inner_type], &[0x88, 0xa8, 0, 6, 0x81, 0x00]].concat();
    assert_eq!(parse(&tags, &neither, 0), unclear(Outcome::TooDeep));
}

#[test]
fn fragments_are_unclear_if_the_gate_needs_the_rest() {
    let [both, udp_only] = [settings(true, true), settings(false, true)];
    let [ip, ports] = [14, 34];
    let port = u16::from_be_bytes([V4[ports + 2], V4[ports + 3]]);
    // (first byte, second byte): more fragments follow, or the offset is not zero.
    for (first_byte, second_byte, is_later) in [(0x20, 0, false), (0x20, 1, true), (0, 1, true)] {
        let mut frame = V4;
        (frame[ip + 6], frame[ip + 7]) = (first_byte, second_byte);
        let seen = parse(&frame, &both, 0);
        assert_eq!(seen, unclear(Outcome::Fragment));
        let seen = parse(&frame, &udp_only, 0);
        assert_eq!(seen, harmless(Outcome::Fragment));
        frame[ip + 9] = PROTOCOL_UDP;
        let expected = if is_later {
            harmless(Outcome::Fragment)
        } else {
            Seen::Datagram {
                port,
                may_be_knock: false,
            }
        };
        assert_eq!(parse(&frame, &both, 0), expected);
    }
}

#[test]
fn a_payload_may_go_on_in_further_buffers() {
    let settings = settings(false, false);
    let mut frame = V4;
    frame[16..18].copy_from_slice(&9000_u16.to_be_bytes());
    assert_eq!(parse(&frame, &settings, 9000 - 40), V4_SYN);
    for further in [9000 - 41, 0] {
        let Seen::Segment { is_consistent, .. } = parse(&frame, &settings, further) else {
            panic!("it is a segment");
        };
        assert!(!is_consistent);
    }
}

#[test]
fn an_ipv4_mapped_source_in_an_ipv6_header_is_invalid() {
    let mut frame = V6;
    frame[26..42].copy_from_slice(&Address::v4([192, 0, 2, 2]).octets());
    let Seen::Segment { source, .. } = parse(&frame, &settings(false, false), 0) else {
        panic!("it is a segment");
    };
    assert_eq!(source, None);
}

/// An IPv4 datagram of the length of a knock, to port 443.
fn v4_datagram() -> Vec<u8> {
    let mut frame = V4.to_vec();
    frame.resize(34 + 152, 7);
    frame[16..18].copy_from_slice(&172_u16.to_be_bytes());
    frame[23] = PROTOCOL_UDP;
    frame[36..38].copy_from_slice(&443_u16.to_be_bytes());
    frame[38..40].copy_from_slice(&152_u16.to_be_bytes());
    frame
}

fn with_knocks(settings: Settings) -> Settings {
    settings.with_datagram(&Knocks {
        port: NonZeroU16::new(443).unwrap(),
        mac1: Mac1Key::from_bytes([1; 16]),
        rate: Rate::new(NonZeroU32::MIN, NonZeroU32::MIN),
    })
}

#[test]
fn a_datagram_may_be_a_knock_by_its_port_and_its_lengths() {
    let datagram = |port, may_be_knock| Seen::Datagram { port, may_be_knock };
    let frame = v4_datagram();
    let settings = with_knocks(settings(false, false));
    assert_eq!(parse(&frame, &settings, 0), datagram(443, true));
    for (at, byte, port) in [(17, 171, 443), (17, 173, 443), (39, 151, 443), (37, 0, 256)] {
        let seen = changed(&frame, at, byte, &settings);
        assert_eq!(seen, datagram(port, false), "{at}");
    }
    // One byte is in another buffer.
    let first = &frame[..frame.len() - 1];
    assert_eq!(parse(first, &settings, 1), datagram(443, false));
    let fragment = changed(&frame, 20, 0x20, &settings);
    assert_eq!(fragment, harmless(Outcome::Fragment));
}

#[test]
fn without_knocks_no_datagram_is_followed_and_with_them_none_is_unclear() {
    let frame = v4_datagram();
    let tcp_only = settings(true, false);
    assert_eq!(parse(&frame, &tcp_only, 0), harmless(Outcome::NotTcp));
    let cut = &frame[..41];
    let seen = parse(cut, &with_knocks(tcp_only), 0);
    assert_eq!(seen, harmless(Outcome::Malformed));
    let seen = parse(cut, &with_knocks(settings(true, true)), 0);
    assert_eq!(seen, unclear(Outcome::Malformed));
    let seen = parse(&frame, &settings(false, true), 0);
    let port = 443;
    let may_be_knock = false;
    assert_eq!(seen, Seen::Datagram { port, may_be_knock });
}
