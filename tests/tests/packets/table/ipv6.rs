//! IPv6: extension headers, fragments, lengths.

use knock_common::counters::Outcome::{Fragment, Malformed, NotSyn, NotTcp, TooDeep};
use knock_tests::frame::{Extension, Frame, Protocol, Tag, overwritten};

use super::{IP, Packet, carrying, other, syn_v6, window_syn, window_syn_in, with};

// RFC 8200, section 3.
const PAYLOAD_LEN: usize = IP + 4;
/// Offset of the first extension header; its length field is one byte further.
const EXTENSION: usize = IP + 40;

pub(super) fn packets() -> Vec<Packet> {
    [
        extensions(),
        chains(),
        fragments(),
        not_tcp(),
        header(),
        extension_len(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Every extension header that the program follows, in several lengths.
fn extensions() -> Vec<Packet> {
    let plain = |number| {
        [
            Extension::Plain(Protocol(number), vec![0; 6]),
            Extension::Plain(Protocol(number), vec![0; 22]),
            // The maximum length.
            Extension::Plain(Protocol(number), vec![0; 2046]),
        ]
    };
    let authentication = |len| Extension::Authentication(vec![0; len]);
    // Hop-by-hop, routing, destination options, mobility, HIP, Shim6.
    [0, 43, 60, 135, 139, 140]
        .into_iter()
        .flat_map(plain)
        .chain([0, 4, 12, 16, 1016].map(authentication))
        .map(|extension| {
            let what = format!("IPv6 with {extension:.40?}");
            window_syn(what, &syn_v6(3).extension(extension))
        })
        .collect()
}

fn chain(len: usize) -> Frame {
    let all = [
        Extension::hop_by_hop(),
        Extension::destination_options(),
        Extension::routing(),
        Extension::Authentication(vec![0; 12]),
        Extension::Plain(Protocol(135), vec![0; 14]),
    ];
    let chain = all.into_iter().cycle().take(len);
    chain.fold(syn_v6(3), Frame::extension)
}

fn chains() -> Vec<Packet> {
    let mut packets: Vec<_> = (2..=8)
        .map(|len| window_syn(format!("{len} IPv6 extension headers"), &chain(len)))
        .collect();
    for len in [9, 10, 20] {
        let frame = chain(len).bytes().unwrap();
        packets.push(other(
            format!("{len} IPv6 extension headers"),
            frame,
            TooDeep,
        ));
    }
    let tagged = chain(8).tag(Tag::Provider(1)).tag(Tag::Customer(2));
    packets.push(window_syn("two tags and 8 IPv6 extension headers", &tagged));
    packets
}

fn fragments() -> Vec<Packet> {
    let mut packets = Vec::new();
    for extensions in [0, 1, 8] {
        let syn = chain(extensions).payload([7; 40]);
        for (index, frame) in syn.fragments(24).unwrap().into_iter().enumerate() {
            let what = format!("IPv6 fragment {index} of 3 behind {extensions} headers");
            packets.push(other(what, frame, Fragment));
        }
        let [atomic] = syn.fragments(64).unwrap().try_into().unwrap();
        let what = format!("atomic IPv6 fragment behind {extensions} headers");
        packets.push(other(what, atomic, Fragment));
        let nested = |inner| {
            chain(extensions)
                .extension(Extension::fragment(0, false))
                .extension(inner)
        };
        for inner in [
            Extension::destination_options(),
            Extension::fragment(0, false),
        ] {
            let frame = nested(inner.clone()).bytes().unwrap();
            let what = format!("IPv6 fragment of {inner:?} behind {extensions} headers");
            packets.push(other(what, frame, Fragment));
        }
    }
    // The fragment header must be complete, although its end is not used.
    for (len, outcome) in [(0, Malformed), (7, Malformed), (8, Fragment)] {
        let mut frame = syn_v6(3).fragments(64).unwrap().swap_remove(0);
        frame.truncate(EXTENSION + len);
        let what = format!("{len} bytes of an IPv6 fragment header");
        packets.push(other(what, frame, outcome));
    }
    packets
}

fn not_tcp() -> Vec<Packet> {
    let mut packets = Vec::new();
    for protocol in [
        Protocol::UDP,
        Protocol::IPV6_ICMP,
        Protocol::IPV4,
        Protocol::ENCAPSULATING_SECURITY_PAYLOAD,
        // No next header.
        Protocol(59),
    ] {
        for extensions in [0, 1, 8] {
            let frame = carrying(&chain(extensions), protocol);
            let what = format!("IPv6 with {protocol:?} behind {extensions} headers");
            packets.push(other(what, frame, NotTcp));
        }
    }
    packets
}

fn header() -> Vec<Packet> {
    let mut packets = Vec::new();
    for version in (0..16).filter(|version| *version != 6) {
        let frame = with(&syn_v6(3), IP, &[version * 16]);
        packets.push(other(
            format!("IPv6 of version {version}"),
            frame,
            Malformed,
        ));
    }
    let class_and_flow = with(&syn_v6(3), IP, &[0x6f, 0xff, 0xff, 0xff]);
    packets.push(window_syn_in(
        "IPv6 with every class and flow bit",
        &syn_v6(3),
        class_and_flow,
    ));

    let syn = syn_v6(3).payload([7; 10]);
    let with_len = |len: u16| with(&syn, PAYLOAD_LEN, &len.to_be_bytes());
    for len in [0, 1, 19, 31, 1500, 65535] {
        let what = format!("IPv6 payload of {len} bytes, 30 of them there");
        packets.push(other(what, with_len(len), Malformed));
    }
    // Further bytes are padding.
    for len in [20, 21, 30] {
        let what = format!("IPv6 payload of {len} bytes, 30 there");
        packets.push(window_syn_in(what, &syn, with_len(len)));
    }
    let padded = [syn_v6(3).bytes().unwrap(), vec![0; 6]].concat();
    packets.push(window_syn_in(
        "IPv6 and 6 bytes of Ethernet padding",
        &syn_v6(3),
        padded,
    ));
    packets
}

fn extension_len() -> Vec<Packet> {
    let mut packets = Vec::new();
    // 28 bytes follow the IPv6 header: 8 of the extension header, 20 of TCP.
    for (what, extension, units) in [
        ("options", Extension::hop_by_hop(), 3),
        ("options", Extension::hop_by_hop(), 255),
        ("authentication", Extension::Authentication(Vec::new()), 6),
        ("authentication", Extension::Authentication(Vec::new()), 255),
    ] {
        let syn = syn_v6(3).extension(extension);
        let frame = with(&syn, EXTENSION + 1, &[units]);
        let what = format!("IPv6 {what} header of {units} units, past the end");
        packets.push(other(what, frame, Malformed));
    }
    // Inside the frame, but beyond the end of the packet.
    let syn = chain(1);
    for len in [0, 7_u16] {
        let frame = with(&syn, PAYLOAD_LEN, &len.to_be_bytes());
        let what = format!("IPv6 payload of {len} bytes, shorter than its first extension");
        packets.push(other(what, frame, Malformed));
    }
    let frame = with(&chain(2), PAYLOAD_LEN, &15_u16.to_be_bytes());
    packets.push(other(
        "IPv6 that ends in its second extension",
        frame,
        Malformed,
    ));
    // Checked only for a SYN to the window.
    let short = overwritten(&carrying(&syn, Protocol::UDP), PAYLOAD_LEN, &[0, 7]).unwrap();
    packets.push(other(
        "IPv6 with UDP that ends in its extension",
        short,
        NotTcp,
    ));
    let short = with(&syn.clone().tcp(|tcp| tcp.ack = true), PAYLOAD_LEN, &[0, 7]);
    packets.push(other(
        "IPv6 with a SYN+ACK that ends in its extension",
        short,
        NotSyn,
    ));
    // The remaining 19 bytes are too short for a TCP header.
    let frame = with(&syn, PAYLOAD_LEN, &(8 + 19_u16).to_be_bytes());
    packets.push(other(
        "IPv6 one byte short behind an extension",
        frame,
        Malformed,
    ));
    packets
}
