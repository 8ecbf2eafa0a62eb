//! Ethernet and VLAN tags.

use knock_common::counters::Outcome::{NotIp, OutsideWindow, TooDeep};
use knock_tests::{
    frame::{
        Frame,
        Tag::{Customer, Provider},
    },
    link::Pair,
};

use super::{
    BASE, IP, Packet, other, syn_to, syn_v4, syn_v6, syns, window_syn, window_syn_in, with,
};

/// Offset of the EtherType in an untagged frame.
const ETHER_TYPE: usize = 12;

pub(super) fn packets() -> Vec<Packet> {
    [hand_written(), window(), tags(), not_ip()]
        .into_iter()
        .flatten()
        .collect()
}

/// Two hand-written frames, independent of the frame builder.
fn hand_written() -> Vec<Packet> {
    #[rustfmt::skip]
    let v4 = [
        2, 0, 0, 0, 0, 1,  2, 0, 0, 0, 0, 2,  0x08, 0x00,
        // Version and length, service, total length 40, identification, DF, TTL, TCP, checksum.
        0x45, 0, 0, 40,  0, 0, 0x40, 0,  64, 6, 0xb6, 0xcc,
        192, 0, 2, 2,  192, 0, 2, 1,
        // Port 40000 to 61007, sequence, acknowledgment, length 20, SYN, window, checksum.
        0x9c, 0x40, 0xee, 0x4f,  0, 0, 0, 1,  0, 0, 0, 0,  0x50, 0x02, 0xff, 0xff,  0, 0, 0, 0,
    ];
    #[rustfmt::skip]
    let v6 = [
        2, 0, 0, 0, 0, 1,  2, 0, 0, 0, 0, 2,  0x86, 0xdd,
        // Version, class and flow, payload length 20, TCP, hop limit.
        0x60, 0, 0, 0,  0, 20, 6, 64,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2,
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1,
        0x9c, 0x40, 0xee, 0x4f,  0, 0, 0, 1,  0, 0, 0, 0,  0x50, 0x02, 0xff, 0xff,  0, 0, 0, 0,
    ];
    vec![
        window_syn_in("hand-written IPv4 SYN", &syn_v4(7), v4.to_vec()),
        window_syn_in("hand-written IPv6 SYN", &syn_v6(7), v6.to_vec()),
    ]
}

fn window() -> Vec<Packet> {
    let mut packets = Vec::new();
    for offset in [0, 1, 127, 128, 254, 255] {
        for syn in syns(offset) {
            packets.push(window_syn(
                format!("SYN from {} to + {offset}", syn.source),
                &syn,
            ));
        }
    }
    for port in [0, 22, BASE - 256, BASE - 1, BASE + 256, 65535] {
        for syn in [
            syn_to(Pair::CLIENT_V4, Pair::SERVER_V4, port),
            syn_to(Pair::CLIENT_V6, Pair::SERVER_V6, port),
        ] {
            let what = format!("SYN from {} to port {port}", syn.source);
            packets.push(other(what, syn.bytes().unwrap(), OutsideWindow));
        }
    }
    packets
}

fn tags() -> Vec<Packet> {
    let mut packets = Vec::new();
    let tagged = |syn: &Frame, tags: &[_]| tags.iter().fold(syn.clone(), |it, tag| it.tag(*tag));
    for syn in syns(1) {
        for tags in [
            vec![Customer(5)],
            vec![Provider(5)],
            vec![Customer(0)],
            vec![Provider(5), Customer(6)],
            vec![Customer(5), Customer(6)],
            vec![Provider(5), Provider(6)],
        ] {
            let what = format!("SYN from {} behind {tags:?}", syn.source);
            packets.push(window_syn(what, &tagged(&syn, &tags)));
        }
        for last in [Customer(7), Provider(7)] {
            let three = tagged(&syn, &[Provider(5), Customer(6), last]);
            let what = format!("SYN from {} behind three tags", syn.source);
            packets.push(other(what, three.bytes().unwrap(), TooDeep));
        }
        let one = tagged(&syn, &[Customer(5)]);
        let all_bits = with(&one, IP, &[0xff, 0xff]);
        packets.push(window_syn_in(
            "every bit of a tag's priority and number",
            &one,
            all_bits,
        ));
    }
    packets
}

fn not_ip() -> Vec<Packet> {
    let types: [(&str, u16); 7] = [
        ("ARP", 0x0806),
        ("MPLS", 0x8847),
        ("PPPoE", 0x8864),
        ("an experimental type", 0x88b5),
        ("the old provider tag of QinQ", 0x9100),
        ("an 802.3 length", 0x0040),
        ("type 0", 0),
    ];
    let mut packets = Vec::new();
    for (what, ether_type) in types {
        let ether_type = ether_type.to_be_bytes();
        let plain = with(&syn_v4(1), ETHER_TYPE, &ether_type);
        packets.push(other(what, plain, NotIp));
        let tagged = with(&syn_v4(1).tag(Customer(5)), ETHER_TYPE + 4, &ether_type);
        packets.push(other(format!("{what} behind a tag"), tagged, NotIp));
    }
    packets
}
