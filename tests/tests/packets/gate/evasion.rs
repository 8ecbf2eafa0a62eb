//! Packets that could hide a connection attempt or a datagram from the gate.

use etherparse::{LaxSlicedPacket, TransportSlice};
use knock_common::{
    counters::Outcome::{GateRefused, GateUnclear},
    gate::Transport,
};
use knock_tests::{
    frame::{
        Extension, Frame, Protocol,
        Tag::{self, Customer, Provider},
        bit_flips, overwritten, truncations,
    },
    needs_bpf,
};
use knockd_types::rules::Port;

use super::{Programs, requests, rules, trusting};
use crate::bench::{Action, MIN_FRAME};

/// One port of each protocol.
const PORTS: [&str; 2] = ["tcp/22", "udp/51820"];

/// Offset of the IP header behind an Ethernet header without tags.
const IP: usize = 14;
/// Offset of the first IPv6 extension header; its length field is one byte further.
const EXTENSION: usize = IP + 40;

/// Programs that protect one port or both, with the protected ports.
fn programs() -> Vec<(Programs, Vec<&'static str>)> {
    let sets = [vec![PORTS[0]], vec![PORTS[1]], PORTS.to_vec()];
    sets.map(|ports| (Programs::new(&rules(&ports)), ports))
        .into()
}

/// All combinations of up to three tags.
fn tags() -> Vec<Vec<Tag>> {
    // Hosts remove priority tags (identifier 0) of either type.
    let kinds = [Customer(0), Customer(5), Provider(0), Provider(5)];
    let mut all = vec![Vec::new()];
    let mut longest = all.clone();
    for _ in 0..3 {
        let one_more = |tags: &Vec<Tag>| kinds.map(|kind| [&tags[..], &[kind]].concat());
        longest = longest.iter().flat_map(one_more).collect();
        all.extend_from_slice(&longest);
    }
    all
}

#[test]
fn tags_do_not_hide_a_request() {
    needs_bpf!();
    for (mut programs, ports) in programs() {
        for request in ports.into_iter().flat_map(requests) {
            for tags in tags() {
                let outcome = if tags.len() > 2 {
                    GateUnclear
                } else {
                    GateRefused
                };
                let what = format!("{} behind {tags:?}", request.source);
                let tagged = Frame {
                    tags,
                    ..request.clone()
                };
                programs.expect(&what, &tagged.bytes().unwrap(), outcome);
            }
        }
    }
}

#[test]
fn ipv4_options_do_not_hide_a_request() {
    needs_bpf!();
    for (mut programs, ports) in programs() {
        for [request, _] in ports.into_iter().map(requests) {
            let frame = request.bytes().unwrap();
            for words in 0..5 {
                let what = format!("IPv4 header of {words} words");
                let frame = overwritten(&frame, IP, &[0x40 + words]).unwrap();
                programs.expect(&what, &frame, GateUnclear);
            }
            for len in (0..=40).step_by(4) {
                // Bytes that a wrong parser would read as an unprotected port.
                let options = [0, 80].into_iter().cycle().take(len);
                let request = request.clone().ipv4_options(options.collect::<Vec<_>>());
                let what = format!("{len} bytes of IPv4 options");
                programs.expect(&what, &request.bytes().unwrap(), GateRefused);
            }
            for version in (0..16).filter(|version| *version != 4) {
                let what = format!("IPv4 of version {version}");
                let frame = overwritten(&frame, IP, &[version * 16 + 5]).unwrap();
                programs.expect(&what, &frame, GateUnclear);
            }
        }
    }
}

#[test]
fn ipv6_extension_headers_do_not_hide_a_request() {
    needs_bpf!();
    // Hop-by-hop, routing, destination options, mobility, HIP, Shim6.
    let plain = [0, 43, 60, 135, 139, 140].map(Protocol);
    let mut kinds: Vec<_> = [0, 6, 22, 2046]
        .into_iter()
        .flat_map(|len| plain.map(|kind| Extension::Plain(kind, vec![0; len])))
        .collect();
    kinds.extend([0, 4, 12, 1016].map(|len| Extension::Authentication(vec![0; len])));
    for (mut programs, ports) in programs() {
        for [_, request] in ports.into_iter().map(requests) {
            for kind in &kinds {
                let what = format!("IPv6 with {kind:.40?}");
                let request = request.clone().extension(kind.clone());
                programs.expect(&what, &request.bytes().unwrap(), GateRefused);
            }
            for len in 0..=10 {
                let chain = kinds.iter().take(6).cycle().take(len).cloned();
                let outcome = if len > 8 { GateUnclear } else { GateRefused };
                let what = format!("{len} IPv6 extension headers");
                let request = chain.fold(request.clone(), Frame::extension);
                programs.expect(&what, &request.bytes().unwrap(), outcome);
            }
            let extended = request.clone().extension(Extension::hop_by_hop());
            for units in [8, 100, 255] {
                let what = format!("IPv6 extension of {units} units, past the end");
                let frame = extended.bytes().unwrap();
                let frame = overwritten(&frame, EXTENSION + 1, &[units]).unwrap();
                programs.expect(&what, &frame, GateUnclear);
            }
            for version in (0..16).filter(|version| *version != 6) {
                let what = format!("IPv6 of version {version}");
                let frame = request.bytes().unwrap();
                let frame = overwritten(&frame, IP, &[version * 16]).unwrap();
                programs.expect(&what, &frame, GateUnclear);
            }
        }
    }
}

/// If the port of a packet is hidden, its source address does not matter.
#[test]
fn an_unclear_packet_is_dropped_even_with_a_lease_or_trust() {
    needs_bpf!();
    let networks = ["192.0.2.0/24", "2001:db8::/32"];
    let mut programs = Programs::new(&trusting(rules(&PORTS), &networks));
    programs.lease(&[
        ("192.0.2.2/32", PORTS[0]),
        ("192.0.2.2/32", PORTS[1]),
        ("2001:db8::/64", PORTS[0]),
        ("2001:db8::/64", PORTS[1]),
    ]);
    for [v4, v6] in PORTS.map(requests) {
        for request in [&v4, &v6] {
            let tags = vec![Customer(0); 3];
            let tagged = Frame {
                tags,
                ..request.clone()
            };
            programs.expect("three tags", &tagged.bytes().unwrap(), GateUnclear);
            let header = if request.source.is_ipv4() { 20 } else { 40 };
            let truncated = &request.bytes().unwrap()[..IP + header + 4];
            programs.expect("nothing behind its ports", truncated, GateUnclear);
        }
        let chain = vec![Extension::hop_by_hop(); 9];
        let deep = chain.into_iter().fold(v6, Frame::extension);
        programs.expect("nine extensions", &deep.bytes().unwrap(), GateUnclear);
        let short = overwritten(&v4.bytes().unwrap(), IP, &[0x44]).unwrap();
        programs.expect("a header of 4 words", &short, GateUnclear);
    }
}

/// Frames that contain every kind of header.
fn samples(port: &str) -> Vec<Frame> {
    let [v4, v6] = requests(port);
    let options = v4.clone().ipv4_options([1; 8]).payload([7; 9]);
    let extended = v6
        .clone()
        .extension(Extension::hop_by_hop())
        .extension(Extension::Authentication(vec![0; 12]))
        .extension(Extension::routing());
    vec![
        options.clone().tag(Customer(5)),
        extended.clone().tag(Provider(5)).tag(Customer(0)),
        v4,
        v6,
        options,
        extended,
    ]
}

#[test]
fn a_truncated_request_is_dropped_at_any_length() {
    needs_bpf!();
    for (mut programs, ports) in programs() {
        for sample in ports.into_iter().flat_map(samples) {
            let frame = sample.bytes().unwrap();
            for truncated in truncations(&frame).filter(|truncated| truncated.len() >= MIN_FRAME) {
                let what = format!("the first {} bytes of {sample:?}", truncated.len());
                assert_eq!(programs.check(&what, truncated), Action::Drop, "{what}");
            }
            programs.expect("the whole frame", &frame, GateRefused);
        }
    }
}

/// The destination port, if an independent parser finds a connection attempt or a datagram in the
/// frame.
fn opens(frame: &[u8]) -> Option<Port> {
    // The parser treats this as a VLAN tag. Linux does not and drops the frame.
    const OLD_PROVIDER_TAG: [u8; 2] = [0x91, 0];
    if frame[12..20]
        .chunks(4)
        .any(|tag| tag.starts_with(&OLD_PROVIDER_TAG))
    {
        return None;
    }
    match LaxSlicedPacket::from_ethernet(frame).ok()?.transport? {
        TransportSlice::Tcp(tcp) if tcp.syn() && !tcp.ack() => Some(Port {
            transport: Transport::Tcp,
            number: tcp.destination_port(),
        }),
        TransportSlice::Udp(udp) => Some(Port {
            transport: Transport::Udp,
            number: udp.destination_port(),
        }),
        _ => None,
    }
}

#[test]
fn a_request_with_any_bit_flipped_is_dropped_if_it_still_opens_a_connection() {
    needs_bpf!();
    let mut programs = Programs::new(&rules(&PORTS));
    for port in PORTS {
        let (mut passed, mut opening) = (0, 0);
        for sample in samples(port) {
            for (bit, flipped) in bit_flips(&sample.bytes().unwrap()).enumerate() {
                let what = format!("bit {bit} of {sample:?}");
                let action = programs.check(&what, &flipped);
                let is_opening =
                    opens(&flipped).is_some_and(|port| programs.policy.protected.contains(&port));
                assert!(action == Action::Drop || !is_opening, "{what}");
                passed += u32::from(action == Action::Pass);
                opening += u32::from(is_opening);
            }
        }
        assert!(passed > 100 && opening > 1000, "{passed} and {opening}");
    }
}
