//! IPv4: options, fragments, lengths.

use knock_common::counters::Outcome::{Fragment, Malformed, NotSyn, NotTcp};
use knock_tests::frame::{Protocol, Tag};

use super::{IP, Packet, carrying, other, syn_v4, window_syn, window_syn_in, with};

// RFC 791, section 3.1.
const TOTAL_LEN: usize = IP + 2;
const FLAGS_AND_OFFSET: usize = IP + 6;

pub(super) fn packets() -> Vec<Packet> {
    [options(), fragments(), not_tcp(), header(), total_len()]
        .into_iter()
        .flatten()
        .collect()
}

fn options() -> Vec<Packet> {
    let with_options = |len| syn_v4(2).ipv4_options(vec![1; len]);
    let mut packets: Vec<_> = (4..=40)
        .step_by(4)
        .map(|len| window_syn(format!("{len} bytes of IPv4 options"), &with_options(len)))
        .collect();
    let tagged = with_options(40).tag(Tag::Provider(1)).tag(Tag::Customer(2));
    packets.push(window_syn(
        "40 bytes of IPv4 options behind two tags",
        &tagged,
    ));
    // Option bytes that look like the TCP header of a SYN are not parsed as one.
    let ack = syn_v4(2).tcp(|tcp| tcp.ack = true);
    let tcp = syn_v4(2).bytes().unwrap()[super::TCP_V4..].to_vec();
    packets.push(other(
        "a SYN in the IPv4 options of a SYN+ACK",
        ack.ipv4_options(tcp).bytes().unwrap(),
        NotSyn,
    ));
    packets
}

fn fragments() -> Vec<Packet> {
    let syn = syn_v4(2).payload([7; 40]);
    let mut packets = Vec::new();
    for (what, bits) in [
        ("neither DF nor MF", 0),
        ("DF", 0x4000_u16),
        ("the reserved bit", 0x8000),
    ] {
        let frame = with(&syn, FLAGS_AND_OFFSET, &bits.to_be_bytes());
        packets.push(window_syn_in(format!("IPv4 with {what}"), &syn, frame));
    }
    // The first fragment, one in the middle, the last, and each bit of the offset alone.
    let offsets = (0..13).map(|bit| 1 << bit);
    for bits in [0x2000, 0x2001, 0x6000, 0x1fff].into_iter().chain(offsets) {
        let frame = with(&syn, FLAGS_AND_OFFSET, &u16::to_be_bytes(bits));
        packets.push(other(format!("IPv4 fragment {bits:#06x}"), frame, Fragment));
    }
    for (index, frame) in syn.fragments(24).unwrap().into_iter().enumerate() {
        packets.push(other(
            format!("IPv4 fragment {index} of 3"),
            frame,
            Fragment,
        ));
    }
    packets
}

fn not_tcp() -> Vec<Packet> {
    [
        Protocol::ICMP,
        Protocol::UDP,
        Protocol::IPV4,
        Protocol::AUTHENTICATION_HEADER,
        Protocol::IPV6_HEADER_HOP_BY_HOP,
        Protocol::SCTP,
    ]
    .into_iter()
    .map(|protocol| {
        let frame = carrying(&syn_v4(2), protocol);
        other(format!("IPv4 with {protocol:?}"), frame, NotTcp)
    })
    .collect()
}

fn header() -> Vec<Packet> {
    let mut packets = Vec::new();
    for words in 0..5 {
        let frame = with(&syn_v4(2), IP, &[0x40 + words]);
        packets.push(other(
            format!("IPv4 header of {words} words"),
            frame,
            Malformed,
        ));
    }
    for words in [6, 10, 11, 15] {
        let frame = with(&syn_v4(2), IP, &[0x40 + words]);
        let what = format!("IPv4 header of {words} words, 5 of them there");
        packets.push(other(what, frame, Malformed));
    }
    for version in (0..16).filter(|version| *version != 4) {
        let frame = with(&syn_v4(2), IP, &[version * 16 + 5]);
        packets.push(other(
            format!("IPv4 of version {version}"),
            frame,
            Malformed,
        ));
    }
    packets
}

fn total_len() -> Vec<Packet> {
    let syn = syn_v4(2).payload([7; 10]);
    let with_len = |len: u16| with(&syn, TOTAL_LEN, &len.to_be_bytes());
    let mut packets = Vec::new();
    for len in [0, 1, 19, 20, 21, 39, 51, 1500, 65535] {
        let what = format!("IPv4 of {len} bytes in total, 50 of them there");
        packets.push(other(what, with_len(len), Malformed));
    }
    // Further bytes are padding.
    for len in [40, 41, 50] {
        let what = format!("IPv4 of {len} bytes in total, 50 there");
        packets.push(window_syn_in(what, &syn, with_len(len)));
    }
    for padding in [1, 6, 100] {
        let syn = syn_v4(2);
        let frame = [syn.bytes().unwrap(), vec![0; padding]].concat();
        let what = format!("IPv4 and {padding} bytes of Ethernet padding");
        packets.push(window_syn_in(what, &syn, frame));
    }
    let options = syn_v4(2).ipv4_options([1; 40]);
    let frame = with(&options, TOTAL_LEN, &59_u16.to_be_bytes());
    packets.push(other("IPv4 that ends in its options", frame, Malformed));
    // Checked only for a SYN to the window.
    let ack = syn_v4(2).tcp(|tcp| tcp.ack = true);
    let frame = with(&ack, TOTAL_LEN, &19_u16.to_be_bytes());
    packets.push(other("IPv4 SYN+ACK that ends in its header", frame, NotSyn));
    packets
}
