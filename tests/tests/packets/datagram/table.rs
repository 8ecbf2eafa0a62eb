//! A table of datagrams, for all programs.

use knock_common::{
    counters::Outcome::{self, DatagramOther, Fragment, Malformed, NotTcp, OutsideWindow},
    settings::Verdict,
};
use knock_tests::{
    frame::{Content, Extension, Frame, Tag, overwritten, truncations},
    link::Pair,
    needs_bpf,
};

use super::{PORT, SOURCE_PORT, datagram, event, payload, policy, settings};
use crate::{
    bench::{Action, Bench, MIN_FRAME, Variant},
    outcome::check,
    reference::{Expected, classify},
    table::{Packet, packets},
};

// Offsets of header fields (RFC 791, RFC 8200, RFC 768), behind Ethernet and IP headers without
// extensions.
const IP: usize = 14;
const UDP: [usize; 2] = [IP + 20, IP + 40];
const IP_LEN: [usize; 2] = [IP + 2, IP + 4];
const FLAGS_AND_OFFSET: usize = IP + 6;
const DESTINATION_PORT: usize = 2;
const LEN: usize = 4;
const BODY: usize = 8;

/// The knock datagrams with this number, of both families.
fn both(number: u64) -> [Frame; 2] {
    [Pair::CLIENT_V4.into(), Pair::CLIENT_V6.into()]
        .map(|source| datagram(source, &payload(number)))
}

fn row(what: impl Into<String>, frame: Vec<u8>, expected: Expected) -> Packet {
    Packet {
        what: what.into(),
        frame,
        expected,
    }
}

fn other(what: impl Into<String>, frame: Vec<u8>, outcome: Outcome) -> Packet {
    row(what, frame, Expected::Other(outcome))
}

/// Datagrams that are knocks, each with another payload, so that none is a copy.
fn knocks() -> Vec<Packet> {
    let mut frames = Vec::new();
    let mut add = |what: &str, change: &dyn Fn(Frame) -> Frame| {
        for frame in both(frames.len() as u64) {
            frames.push((format!("{what} from {}", frame.source), change(frame)));
        }
    };
    add("plain", &|it| it);
    add("tagged", &|it| it.tag(Tag::Customer(5)));
    add("tagged twice", &|it| {
        it.tag(Tag::Provider(5)).tag(Tag::Customer(6))
    });
    for words in 1..=10 {
        add("with options", &|it| it.ipv4_options(vec![1; words * 4]));
    }
    for extension in [
        Extension::hop_by_hop(),
        Extension::destination_options(),
        Extension::routing(),
        Extension::Authentication(vec![0; 12]),
    ] {
        add("behind an extension", &|it| it.extension(extension.clone()));
    }
    add("behind everything", &|it| {
        let extensions = vec![Extension::destination_options(); 8];
        let it = it.tag(Tag::Provider(5)).tag(Tag::Customer(6));
        extensions
            .into_iter()
            .fold(it.ipv4_options([1; 40]), Frame::extension)
    });
    let mut rows: Vec<_> = frames
        .into_iter()
        .map(|(what, frame)| {
            let Content::Udp { payload, .. } = &frame.content else {
                panic!("{frame:?} is not UDP");
            };
            let expected = event(frame.source, payload.as_slice().try_into().unwrap());
            row(what, frame.bytes().unwrap(), expected)
        })
        .collect();
    for frame in both(1000) {
        let expected = event(frame.source, payload(1000));
        let padded = [&frame.bytes().unwrap()[..], &[0; 6]].concat();
        rows.push(row("with a trailer of Ethernet", padded, expected));
    }
    rows
}

/// Datagrams to the port and other packets that pass.
fn others() -> Vec<Packet> {
    let mut rows = Vec::new();
    for (frame, (udp, ip_len)) in both(2000).into_iter().zip(UDP.into_iter().zip(IP_LEN)) {
        let knock = frame.bytes().unwrap();
        let source = frame.source;
        let with = |at: usize, bytes: &[u8]| overwritten(&knock, at, bytes).unwrap();
        for bit in 0..144 * 8 {
            let at = udp + BODY + bit / 8;
            let flipped = with(at, &[knock[at] ^ (1 << (bit % 8))]);
            let what = format!("bit {bit} flipped from {source}");
            rows.push(other(what, flipped, DatagramOther));
        }
        for len in [0, 1, 143, 145, 1000] {
            let mut bytes = payload(2000).to_vec();
            bytes.resize(len, 0);
            let frame = frame.clone().payload(bytes).bytes().unwrap();
            rows.push(other(format!("{len} bytes from {source}"), frame, NotTcp));
        }
        for len in [0_u16, 8, 144, 151, 153, 65535] {
            let what = format!("UDP length {len} from {source}");
            rows.push(other(what, with(udp + LEN, &len.to_be_bytes()), NotTcp));
        }
        let declared = u16::from_be_bytes([knock[ip_len], knock[ip_len + 1]]);
        for len in [0, declared - 1, declared + 1, 65535] {
            let what = format!("IP length {len} from {source}");
            rows.push(other(what, with(ip_len, &len.to_be_bytes()), NotTcp));
        }
        for port in [0, 442, 444, 53, SOURCE_PORT] {
            let frame = with(udp + DESTINATION_PORT, &port.to_be_bytes());
            rows.push(other(format!("to port {port}"), frame, NotTcp));
        }
        let mut answer = frame.clone();
        answer.content = Content::Udp {
            source_port: PORT,
            destination_port: SOURCE_PORT,
            payload: payload(2000).to_vec(),
        };
        rows.push(other("an answer", answer.bytes().unwrap(), NotTcp));
        for len in [8, 48, 152] {
            for (index, fragment) in frame.fragments(len).unwrap().into_iter().enumerate() {
                // IPv4 sends the whole datagram unfragmented.
                if !(source.is_ipv4() && len == 152) {
                    let what = format!("fragment {index} of {len} bytes from {source}");
                    rows.push(other(what, fragment, Fragment));
                }
            }
        }
        for truncated in truncations(&knock).filter(|it| it.len() >= udp) {
            let outcome = if truncated.len() < udp + BODY {
                Malformed
            } else {
                NotTcp
            };
            let what = format!("{} bytes from {source}", truncated.len());
            rows.push(other(what, truncated.to_vec(), outcome));
        }
        let tcp = match source {
            std::net::IpAddr::V4(_) => super::super::table::syn_v4(0),
            std::net::IpAddr::V6(_) => super::super::table::syn_v6(0),
        };
        let tcp = tcp.tcp(|tcp| tcp.destination_port = PORT);
        let tcp = tcp.payload(payload(2000)).bytes().unwrap();
        rows.push(other("TCP to the port", tcp, OutsideWindow));
    }
    // The whole datagram, but with the flags and offsets of fragments.
    let [v4, v6] = both(2000);
    let v4 = v4.bytes().unwrap();
    let offsets = (0..13).map(|bit| 1 << bit);
    for bits in [0x2000_u16, 0x3fff].into_iter().chain(offsets) {
        let frame = overwritten(&v4, FLAGS_AND_OFFSET, &bits.to_be_bytes()).unwrap();
        rows.push(other(format!("IPv4 fragment {bits:#06x}"), frame, Fragment));
    }
    for (offset, more) in [(0, false), (0, true), (1, false)] {
        let frame = v6.clone().extension(Extension::fragment(offset, more));
        let what = format!("IPv6 fragment {offset} {more}");
        rows.push(other(what, frame.bytes().unwrap(), Fragment));
    }
    let mapped = Pair::CLIENT_V4.to_ipv6_mapped().into();
    let mapped = datagram(mapped, &payload(2000)).bytes().unwrap();
    rows.push(other("an IPv4-mapped source", mapped, DatagramOther));
    rows
}

#[test]
fn table_and_reference_agree() {
    for packet in knocks().into_iter().chain(others()) {
        let classified = classify(&packet.frame, &policy());
        assert_eq!(classified, packet.expected, "{}", packet.what);
    }
}

#[test]
fn a_knock_becomes_an_event_and_is_dropped_whatever_the_verdict() {
    needs_bpf!();
    for verdict in [Verdict::Drop, Verdict::Pass] {
        for variant in Variant::ALL {
            let mut bench = Bench::new(settings(verdict)).with_variant(variant);
            for packet in knocks().iter().filter(|it| variant.takes(&it.frame)) {
                let what = format!("{variant:?}: {}", packet.what);
                let result = bench.run(&packet.frame);
                assert_eq!(result.action, Action::Drop, "{what}");
                check(&what, &result, packet.expected, verdict);
            }
        }
    }
}

#[test]
fn everything_else_to_the_port_passes_untouched() {
    needs_bpf!();
    for variant in Variant::ALL {
        let mut bench = Bench::new(settings(Verdict::Drop)).with_variant(variant);
        let taken = |it: &&Packet| it.frame.len() >= MIN_FRAME && variant.takes(&it.frame);
        for packet in others().iter().filter(taken) {
            let what = format!("{variant:?}: {}", packet.what);
            let result = bench.run(&packet.frame);
            assert_eq!(result.action, Action::Pass, "{what}");
            check(&what, &result, packet.expected, Verdict::Drop);
        }
    }
}

/// SYNs to the window and all other packets of the other table.
#[test]
fn every_other_packet_has_its_outcome() {
    needs_bpf!();
    let mut bench = Bench::new(settings(Verdict::Drop));
    for packet in packets() {
        let expected = classify(&packet.frame, &policy());
        let result = bench.run(&packet.frame);
        check(&packet.what, &result, expected, Verdict::Drop);
    }
}

/// Port 0 marks settings without knock datagrams.
#[test]
fn without_datagrams_there_is_no_knock_to_any_port() {
    needs_bpf!();
    let mut bench = Bench::new(crate::bench::unlimited(Verdict::Drop));
    for (frame, udp) in both(1).into_iter().zip(UDP) {
        for port in [0, PORT] {
            let frame = frame.bytes().unwrap();
            let frame = overwritten(&frame, udp + DESTINATION_PORT, &port.to_be_bytes()).unwrap();
            let expected = Expected::Other(NotTcp);
            check("off", &bench.run(&frame), expected, Verdict::Drop);
        }
    }
}
