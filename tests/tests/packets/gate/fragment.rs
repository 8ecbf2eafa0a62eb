//! Fragments: all of TCP are dropped if a TCP port is protected; of UDP the first one is checked by
//! its port.

use knock_common::counters::Outcome::{
    self, Fragment, GateLeased, GateRefused, GateTrusted, GateUnclear, NotTcp,
};
use knock_tests::{
    frame::{Content, Extension, Frame, Protocol, overwritten},
    needs_bpf,
};

use super::{Programs, requests, rules, trusting};

// RFC 791, section 3.1.
const IP: usize = 14;
const FLAGS_AND_OFFSET: usize = IP + 6;
const MORE_FRAGMENTS: u16 = 0x2000;

/// Leases of the client's addresses.
const LEASES: [(&str, &str); 4] = [
    ("192.0.2.2/32", "tcp/22"),
    ("192.0.2.2/32", "udp/51820"),
    ("2001:db8::/64", "tcp/22"),
    ("2001:db8::/64", "udp/51820"),
];

/// `frame` as an IPv4 fragment with these flags and this offset.
fn marked(frame: &Frame, bits: u16) -> Vec<u8> {
    let frame = frame.bytes().unwrap();
    overwritten(&frame, FLAGS_AND_OFFSET, &bits.to_be_bytes()).unwrap()
}

/// `frame` with a number of extension headers in front.
fn behind(frame: &Frame, extensions: usize) -> Frame {
    let chain = vec![Extension::destination_options(); extensions];
    chain.into_iter().fold(frame.clone(), Frame::extension)
}

/// Fragments of both families that could carry a SYN or a part of one.
fn tcp_fragments() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let [v4, v6] = requests("tcp/22").map(|syn| syn.payload([7; 40]));
    // Also an ACK segment, because a later fragment can turn it into a SYN (RFC 3128).
    for (what, v4) in [("SYN", v4.clone()), ("ACK", v4.tcp(|tcp| tcp.ack = true))] {
        let offsets = (0..13).map(|bit| 1 << bit);
        for bits in [0x2000, 0x2001, 0x6000, 0x1fff, 0x3fff]
            .into_iter()
            .chain(offsets)
        {
            all.push((format!("IPv4 {what}, {bits:#06x}"), marked(&v4, bits)));
        }
        // The first 8 bytes contain the ports but not the flags (RFC 1858).
        for len in [8, 16, 24, 40] {
            for (index, frame) in v4.fragments(len).unwrap().into_iter().enumerate() {
                all.push((
                    format!("IPv4 {what}, fragment {index} of {len} bytes"),
                    frame,
                ));
            }
        }
    }
    for extensions in [0, 1, 8] {
        let v6 = behind(&v6, extensions);
        // The last one is an atomic fragment.
        for len in [8, 16, 24, 40, 64] {
            for (index, frame) in v6.fragments(len).unwrap().into_iter().enumerate() {
                let what = format!("IPv6 fragment {index} of {len} bytes behind {extensions}");
                all.push((what, frame));
            }
        }
    }
    all
}

/// IPv6 fragments whose payload begins with a further extension header, which may continue in
/// another fragment.
fn nested(port: &str) -> Vec<(String, Vec<u8>)> {
    let [_, request] = requests(port);
    let mut all = Vec::new();
    for extensions in [0, 1, 8] {
        for (offset, more) in [
            (0, false),
            (0, true),
            (1, true),
            (1, false),
            (0x1fff, false),
        ] {
            for inner in [
                Extension::hop_by_hop(),
                Extension::destination_options(),
                Extension::routing(),
                Extension::Authentication(vec![0; 4]),
                Extension::fragment(0, false),
                Extension::fragment(0, true),
                Extension::fragment(1, false),
            ] {
                let what = format!("{port}: {inner:?} in {offset} {more} behind {extensions}");
                let frame = behind(&request, extensions)
                    .extension(Extension::fragment(offset, more))
                    .extension(inner);
                all.push((what, frame.bytes().unwrap()));
            }
        }
    }
    all
}

#[test]
fn no_fragment_of_tcp_passes_where_tcp_is_protected() {
    needs_bpf!();
    for protect in [&["tcp/22"][..], &["tcp/22", "udp/51820"]] {
        for (trusted, leases) in [
            (&[][..], &[][..]),
            (&[], &LEASES),
            (&["192.0.2.0/24", "2001:db8::/32"], &[]),
        ] {
            let mut programs = Programs::new(&trusting(rules(protect), trusted));
            programs.lease(leases);
            for (what, frame) in tcp_fragments() {
                programs.expect(&what, &frame, GateUnclear);
            }
        }
    }
}

#[test]
fn fragments_of_tcp_pass_where_only_udp_is_protected() {
    needs_bpf!();
    let mut programs = Programs::new(&rules(&["udp/51820"]));
    for (what, frame) in tcp_fragments() {
        programs.expect(&what, &frame, Fragment);
    }
}

#[test]
fn a_fragment_with_a_further_header_is_dropped() {
    needs_bpf!();
    for protect in [&["tcp/22"][..], &["udp/51820"], &["tcp/22", "udp/51820"]] {
        let mut programs = Programs::new(&rules(protect));
        for leases in [&[][..], &LEASES] {
            programs.lease(leases);
            for (what, frame) in ["tcp/22", "udp/51820"].into_iter().flat_map(nested) {
                programs.expect(&what, &frame, GateUnclear);
            }
        }
    }
}

/// Compares all fragments of datagrams to `port` with the outcome `first` of the first fragment.
fn expect_first(programs: &mut Programs, port: &str, first: Outcome) {
    let [v4, v6] = requests(port).map(|request| request.payload([7; 40]));
    let chains = [0, 1, 8].map(|extensions| behind(&v6, extensions));
    for request in [v4.clone()].iter().chain(&chains) {
        // The shortest fragment contains the ports; the longest is the whole datagram, in IPv6 as
        // an atomic fragment.
        for len in [8, 16, 48] {
            for (index, frame) in request.fragments(len).unwrap().into_iter().enumerate() {
                let outcome = if index == 0 { first } else { Fragment };
                let what = format!("{port}: fragment {index} of {len} bytes of {request:?}");
                programs.expect(&what, &frame, outcome);
            }
        }
    }
    for bits in [MORE_FRAGMENTS, 0x6000, 0xa000] {
        let what = format!("{port}: IPv4 {bits:#06x}");
        programs.expect(&what, &marked(&v4, bits), first);
    }
    // At this offset the bytes are payload, although they look like the header of a datagram to the
    // port.
    for bits in (0..13).map(|bit| 1 << bit) {
        for bits in [bits, bits | MORE_FRAGMENTS] {
            let what = format!("{port}: IPv4 {bits:#06x}");
            programs.expect(&what, &marked(&v4, bits), Fragment);
        }
    }
}

#[test]
fn the_first_fragment_of_a_datagram_is_checked_by_its_port_and_later_ones_pass() {
    needs_bpf!();
    for protect in [&["udp/51820"][..], &["udp/51820", "tcp/22"]] {
        let mut programs = Programs::new(&rules(protect));
        expect_first(&mut programs, "udp/51820", GateRefused);
        expect_first(&mut programs, "udp/53", NotTcp);
        programs.lease(&LEASES);
        expect_first(&mut programs, "udp/51820", GateLeased);
        expect_first(&mut programs, "udp/53", NotTcp);
        let networks = ["192.0.2.0/24", "2001:db8::/64"];
        let mut programs = Programs::new(&trusting(rules(protect), &networks));
        expect_first(&mut programs, "udp/51820", GateTrusted);
    }
}

#[test]
fn a_first_fragment_without_a_whole_udp_header_is_unclear() {
    needs_bpf!();
    let mut programs = Programs::new(&rules(&["udp/51820"]));
    let fragments = requests("udp/51820").map(|it| it.fragments(8).unwrap().swap_remove(0));
    for fragment in fragments {
        for missing in 1..=8 {
            let truncated = &fragment[..fragment.len() - missing];
            programs.expect(&format!("{missing} bytes missing"), truncated, GateUnclear);
        }
    }
}

#[test]
fn fragments_of_unprotected_protocols_pass() {
    needs_bpf!();
    let mut tcp = Programs::new(&rules(&["tcp/22"]));
    let mut both = Programs::new(&rules(&["tcp/22", "udp/51820"]));
    let content = |protocol| Content::Other {
        protocol,
        bytes: vec![0; 40],
    };
    for request in requests("udp/51820") {
        // IPv4 has the protocol in its header, so the outcome is known before the fragment check.
        let outcome = if request.source.is_ipv4() {
            NotTcp
        } else {
            Fragment
        };
        for protocol in [
            Protocol::ICMP,
            Protocol::IPV6_ICMP,
            Protocol::ENCAPSULATING_SECURITY_PAYLOAD,
            Protocol::GRE,
        ] {
            let content = content(protocol);
            let packet = Frame {
                content,
                ..request.clone()
            };
            for frame in packet.fragments(16).unwrap() {
                let what = format!("{protocol:?} from {}", request.source);
                both.expect(&what, &frame, outcome);
                tcp.expect(&what, &frame, outcome);
            }
        }
        for frame in request.payload([7; 40]).fragments(16).unwrap() {
            tcp.expect("a piece of a datagram", &frame, outcome);
        }
    }
}
