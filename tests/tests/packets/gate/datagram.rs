//! UDP to a protected port: every datagram needs a lease.

use std::net::IpAddr;

use knock_common::counters::Outcome::{GateLeased, GateRefused, NotTcp};
use knock_tests::{
    frame::{Frame, overwritten},
    link::Pair,
    needs_bpf,
};

use super::{Programs, request, requests, rules};

// Offset of the UDP header behind IPv4 and behind IPv6, and offsets of its fields (RFC 768).
const UDP: [usize; 2] = [34, 54];
const SOURCE_PORT: usize = 0;
const LEN: usize = 4;
const CHECKSUM: usize = 6;

/// Offset of the length field: the total length in IPv4, the payload length in IPv6.
const PACKET_LEN: [usize; 2] = [16, 18];

/// The host validates the UDP header; the gate checks only the port.
#[test]
fn a_datagram_needs_a_lease_whatever_its_header_says() {
    needs_bpf!();
    let mut programs = Programs::new(&rules(&["udp/51820"]));
    for (leases, outcome) in [
        (&[][..], GateRefused),
        (
            &[
                ("192.0.2.2/32", "udp/51820"),
                ("2001:db8::/64", "udp/51820"),
            ],
            GateLeased,
        ),
    ] {
        programs.lease(leases);
        for ((request, udp), packet_len) in requests("udp/51820").iter().zip(UDP).zip(PACKET_LEN) {
            for payload in [0, 1, 100, 1400, 8000, 60000] {
                let frame = request.clone().payload(vec![7; payload]).bytes().unwrap();
                programs.expect(&format!("payload of {payload} bytes"), &frame, outcome);
            }
            let frame = request.clone().payload([7; 10]).bytes().unwrap();
            for place in [SOURCE_PORT, LEN, CHECKSUM]
                .map(|field| udp + field)
                .into_iter()
                .chain([packet_len])
            {
                for value in [0_u16, 1, 7, 8, 9, 19, 27, 1500, 65535] {
                    let frame = overwritten(&frame, place, &value.to_be_bytes()).unwrap();
                    programs.expect(&format!("{value} at {place}"), &frame, outcome);
                }
            }
            let padded = [&frame[..], &[0; 6]].concat();
            programs.expect("6 bytes of Ethernet padding", &padded, outcome);
        }
    }
}

/// A socket that is bound to the wildcard address receives these too.
#[test]
fn a_multicast_or_broadcast_datagram_needs_a_lease() {
    needs_bpf!();
    let mut programs = Programs::new(&rules(&["udp/5353"]));
    for (source, destination) in [
        (IpAddr::from(Pair::CLIENT_V4), "224.0.0.251"),
        (Pair::CLIENT_V4.into(), "255.255.255.255"),
        (Pair::CLIENT_V6.into(), "ff02::fb"),
    ] {
        for (port, outcome) in [("udp/5353", GateRefused), ("udp/5354", NotTcp)] {
            let destination = destination.parse().unwrap();
            let request = request(source, port.parse().unwrap());
            let frame = Frame {
                destination,
                ..request
            };
            let what = format!("{port} to {destination}");
            programs.expect(&what, &frame.bytes().unwrap(), outcome);
        }
    }
}

/// Only the destination port counts.
#[test]
fn an_answer_from_a_protected_port_is_no_request() {
    needs_bpf!();
    let mut programs = Programs::new(&rules(&["udp/53"]));
    for (answer, udp) in requests("udp/40000").iter().zip(UDP) {
        let frame = answer.bytes().unwrap();
        let frame = overwritten(&frame, udp + SOURCE_PORT, &53_u16.to_be_bytes()).unwrap();
        programs.expect("from port 53", &frame, NotTcp);
    }
}
