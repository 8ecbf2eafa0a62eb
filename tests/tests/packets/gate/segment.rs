//! TCP to a protected port: connection attempts and other segments.

use knock_common::counters::Outcome::{GateLeased, GateRefused, GateTrusted, OutsideWindow};
use knock_tests::{
    frame::{Frame, Tcp, overwritten},
    link::Pair,
    needs_bpf,
};

use super::{Programs, request, requests, rules, trusting};

// Offset of the TCP header behind IPv4 and behind IPv6, and offsets of its fields (RFC 9293,
// section 3.1).
const TCP: [usize; 2] = [34, 54];
const DATA_OFFSET: usize = 12;
const FLAGS: usize = 13;

/// Offset of the length field: the total length in IPv4, the payload length in IPv6.
const LEN: [usize; 2] = [16, 18];

#[test]
fn a_syn_without_ack_needs_a_lease_with_any_other_flags() {
    needs_bpf!();
    let mut programs = Programs::new(&rules(&["tcp/22"]));
    for leases in [
        &[][..],
        &[("192.0.2.2/32", "tcp/22"), ("2001:db8::/64", "tcp/22")],
    ] {
        programs.lease(leases);
        let opens = if leases.is_empty() {
            GateRefused
        } else {
            GateLeased
        };
        for (syn, tcp) in requests("tcp/22").iter().zip(TCP) {
            let frame = syn.bytes().unwrap();
            for flags in 0..=u8::MAX {
                let frame = overwritten(&frame, tcp + FLAGS, &[flags]).unwrap();
                // CWR ECE URG ACK PSH RST SYN FIN.
                let is_opening = flags & 0b0001_0010 == 0b0000_0010;
                let outcome = if is_opening { opens } else { OutsideWindow };
                let what = format!("flags {flags:#010b} from {}", syn.source);
                programs.expect(&what, &frame, outcome);
            }
        }
    }
}

/// The host validates the header length; the gate checks only port and flags.
#[test]
fn a_syn_needs_a_lease_with_any_length_fields() {
    needs_bpf!();
    let mut programs = Programs::new(&rules(&["tcp/22"]));
    for ((syn, tcp), len) in requests("tcp/22").into_iter().zip(TCP).zip(LEN) {
        for payload in [0, 1, 100, 1400, 8000, 60000] {
            let syn = syn.clone().payload(vec![7; payload]);
            let frame = syn.bytes().unwrap();
            programs.expect("SYN with a payload", &frame, GateRefused);
        }
        let ack = syn.clone().tcp(|tcp| tcp.ack = true).bytes().unwrap();
        let frame = syn.bytes().unwrap();
        for (frame, outcome) in [(frame, GateRefused), (ack, OutsideWindow)] {
            for words in 0..16 {
                let frame = overwritten(&frame, tcp + DATA_OFFSET, &[words * 16]).unwrap();
                programs.expect(&format!("TCP header of {words} words"), &frame, outcome);
            }
            for bytes in [0_u16, 1, 19, 20, 39, 41, 1500, 65535] {
                let frame = overwritten(&frame, len, &bytes.to_be_bytes()).unwrap();
                programs.expect(&format!("packet of {bytes} bytes"), &frame, outcome);
            }
            let padded = [&frame[..], &[0; 6]].concat();
            programs.expect("6 bytes of Ethernet padding", &padded, outcome);
        }
    }
}

#[test]
fn segments_of_a_connection_pass_without_a_lease() {
    needs_bpf!();
    type Change = fn(&mut Tcp);
    let changes: [(&str, Change); 6] = [
        ("ACK", |tcp| (tcp.syn, tcp.ack) = (false, true)),
        ("data", |tcp| {
            (tcp.syn, tcp.ack, tcp.psh) = (false, true, true);
        }),
        ("FIN", |tcp| {
            (tcp.syn, tcp.ack, tcp.fin) = (false, true, true);
        }),
        ("RST", |tcp| (tcp.syn, tcp.rst) = (false, true)),
        ("SYN+ACK", |tcp| tcp.ack = true),
        ("urgent data", |tcp| {
            (tcp.syn, tcp.ack, tcp.urg, tcp.urgent_pointer) = (false, true, true, 1);
        }),
    ];
    let rules = trusting(rules(&["tcp/22"]), &["198.51.100.0/24"]);
    let mut programs = Programs::new(&rules);
    let port = "tcp/22".parse().unwrap();
    for source in [
        "192.0.2.2",
        "198.51.100.1",
        "2001:db8::2",
        "::ffff:192.0.2.2",
    ] {
        for (what, change) in changes {
            for len in [0, 1400] {
                let segment = request(source.parse().unwrap(), port)
                    .tcp(change)
                    .payload(vec![7; len]);
                let what = format!("{what} from {source}");
                programs.expect(&what, &segment.bytes().unwrap(), OutsideWindow);
            }
        }
    }
    let trusted = request("198.51.100.1".parse().unwrap(), port);
    programs.expect("trusted SYN", &trusted.bytes().unwrap(), GateTrusted);
}

/// Only the destination port counts.
#[test]
fn a_syn_from_a_protected_port_passes() {
    needs_bpf!();
    let mut programs = Programs::new(&rules(&["tcp/22", "udp/51820"]));
    for source in [Pair::CLIENT_V4.into(), Pair::CLIENT_V6.into()] {
        let syn: Frame =
            request(source, "tcp/443".parse().unwrap()).tcp(|tcp| tcp.source_port = 22);
        programs.expect("SYN from port 22", &syn.bytes().unwrap(), OutsideWindow);
    }
}
