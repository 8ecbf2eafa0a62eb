//! Packets that are not for a protected port pass as without a gate.

use knock_common::counters::Outcome::{self, NotIp, NotSyn, NotTcp, OutsideWindow};
use knock_tests::{
    frame::{Content, Extension, Frame, Protocol, Tag},
    needs_bpf,
};

use super::{Programs, requests, rules};
use crate::{
    bench::Action,
    reference::{Expected, classify},
    table::{packets, syns},
};

/// TCP only, UDP only, both.
const GATES: [&[&str]; 3] = [&["tcp/22"], &["udp/51820"], &["tcp/22", "udp/51820"]];

/// A hand-written ARP request for 192.0.2.1 from 192.0.2.2.
#[rustfmt::skip]
const ARP: [u8; 42] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff,  2, 0, 0, 0, 0, 2,  0x08, 0x06,
    0, 1,  0x08, 0,  6, 4,  0, 1,  2, 0, 0, 0, 0, 2,  192, 0, 2, 2,  0, 0, 0, 0, 0, 0,  192, 0, 2, 1,
];

fn carrying(like: &Frame, protocol: Protocol, bytes: Vec<u8>) -> Frame {
    Frame {
        content: Content::Other { protocol, bytes },
        ..like.clone()
    }
}

fn bystanders() -> Vec<(String, Vec<u8>, Outcome)> {
    let mut all = vec![("ARP".to_owned(), ARP.to_vec(), NotIp)];
    let mut add = |what: &str, frame: &Frame, outcome| {
        let what = format!("{what} from {}", frame.source);
        all.push((what, frame.bytes().unwrap(), outcome));
    };
    for like in requests("tcp/22") {
        for protocol in [
            Protocol::ICMP,
            Protocol::IPV6_ICMP,
            Protocol::ENCAPSULATING_SECURITY_PAYLOAD,
            Protocol::GRE,
            Protocol::SCTP,
            Protocol::IPV6,
        ] {
            // Packets too short for port numbers pass too.
            for len in [0, 8, 64] {
                let packet = carrying(&like, protocol, vec![0; len]);
                add(&format!("{protocol:?}"), &packet, NotTcp);
                let tagged = packet.tag(Tag::Provider(1)).tag(Tag::Customer(0));
                add(&format!("tagged {protocol:?}"), &tagged, NotTcp);
            }
        }
        let data = like.tcp(|tcp| (tcp.syn, tcp.ack, tcp.psh) = (false, true, true));
        add("data", &data.payload([7; 1000]), OutsideWindow);
    }
    // A multicast listener report (MLD), which has an extension header.
    let [_, v6] = requests("tcp/22");
    let listening = carrying(&v6, Protocol::IPV6_ICMP, vec![143, 0, 0, 0, 0, 0, 0, 0]);
    let listening = listening.extension(Extension::hop_by_hop());
    add("multicast listener report", &listening, NotTcp);
    for port in [
        "tcp/21",
        "tcp/23",
        "tcp/51820",
        "tcp/60999",
        "tcp/61256",
        "tcp/65535",
    ] {
        for syn in requests(port) {
            add(port, &syn, OutsideWindow);
            let syn_ack = syn.tcp(|tcp| tcp.ack = true);
            add(port, &syn_ack, OutsideWindow);
        }
    }
    // Includes the answer of a name server.
    for port in [
        "udp/22",
        "udp/53",
        "udp/40000",
        "udp/51819",
        "udp/51821",
        "udp/61000",
    ] {
        for datagram in requests(port) {
            add(port, &datagram, NotTcp);
            add(port, &datagram.payload([7; 1000]), NotTcp);
        }
    }
    for ack in syns(9).map(|syn| syn.tcp(|tcp| tcp.ack = true)) {
        add("SYN+ACK to the window", &ack, NotSyn);
    }
    all
}

#[test]
fn packets_to_unprotected_ports_pass() {
    needs_bpf!();
    for protect in GATES {
        let mut programs = Programs::new(&rules(protect));
        for (what, frame, outcome) in bystanders() {
            programs.expect(&what, &frame, outcome);
            assert_eq!(programs.check(&what, &frame), Action::Pass, "{what}");
        }
    }
}

#[test]
fn a_request_passes_a_gate_of_the_other_protocol() {
    needs_bpf!();
    let mut tcp = Programs::new(&rules(&["tcp/22", "tcp/51820"]));
    let mut udp = Programs::new(&rules(&["udp/22", "udp/51820"]));
    for request in requests("udp/51820") {
        let frame = request.bytes().unwrap();
        tcp.expect("datagram", &frame, NotTcp);
        // An incomplete UDP header passes if no UDP port is protected.
        tcp.expect("cut datagram", &frame[..frame.len() - 1], NotTcp);
    }
    for request in requests("tcp/22") {
        udp.expect("SYN", &request.bytes().unwrap(), OutsideWindow);
    }
}

/// A SYN to the window causes an event with any gate, and all other packets have the outcome of the
/// reference.
#[test]
fn every_packet_of_the_table_has_its_outcome_with_a_gate() {
    needs_bpf!();
    for protect in GATES {
        let mut programs = Programs::new(&rules(protect));
        let mut syns_to_window = 0;
        for packet in packets() {
            programs.check(&packet.what, &packet.frame);
            if let Expected::Knock { .. } = packet.expected {
                let gated = classify(&packet.frame, &programs.policy);
                assert_eq!(gated, packet.expected, "{}", packet.what);
                syns_to_window += 1;
            }
        }
        assert!(syns_to_window > 50, "{syns_to_window}");
    }
}
