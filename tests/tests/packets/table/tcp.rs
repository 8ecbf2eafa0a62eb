//! TCP: flags, options, lengths.

use knock_common::counters::Outcome::{Malformed, NotSyn, OutsideWindow};
use knock_tests::{
    frame::{Frame, Tcp},
    link::Pair,
};

use super::{BASE, Packet, TCP_V4, TCP_V6, other, syn_to, syns, window_syn, window_syn_in, with};

// RFC 9293, section 3.1.
const DATA_OFFSET: usize = 12;

pub(super) fn packets() -> Vec<Packet> {
    [flags(), options(), data_offset(), payload(), ports()]
        .into_iter()
        .flatten()
        .collect()
}

fn flags() -> Vec<Packet> {
    type Change = fn(&mut Tcp);
    let accepted: [(&str, Change); 5] = [
        ("SYN+ECE+CWR", |tcp| (tcp.ece, tcp.cwr) = (true, true)),
        ("SYN+ECE", |tcp| tcp.ece = true),
        ("SYN+NS", |tcp| tcp.ns = true),
        ("SYN+PSH+URG", |tcp| (tcp.psh, tcp.urg) = (true, true)),
        ("SYN with all that is allowed", |tcp| {
            (tcp.ece, tcp.cwr, tcp.ns, tcp.psh, tcp.urg) = (true, true, true, true, true);
        }),
    ];
    let others: [(&str, Change); 9] = [
        ("SYN+ACK", |tcp| tcp.ack = true),
        ("SYN+RST", |tcp| tcp.rst = true),
        ("SYN+FIN", |tcp| tcp.fin = true),
        ("ACK", |tcp| (tcp.syn, tcp.ack) = (false, true)),
        ("RST", |tcp| (tcp.syn, tcp.rst) = (false, true)),
        ("FIN", |tcp| (tcp.syn, tcp.fin) = (false, true)),
        ("no flag", |tcp| tcp.syn = false),
        ("Xmas", |tcp| {
            (tcp.syn, tcp.fin, tcp.psh, tcp.urg) = (false, true, true, true);
        }),
        ("ECE+CWR", |tcp| {
            (tcp.syn, tcp.ece, tcp.cwr) = (false, true, true);
        }),
    ];
    let mut packets = Vec::new();
    for syn in syns(4) {
        for (what, change) in accepted {
            packets.push(window_syn(what, &syn.clone().tcp(change)));
        }
        for (what, change) in others {
            let frame = syn.clone().tcp(change).bytes().unwrap();
            packets.push(other(what, frame, NotSyn));
        }
    }
    packets
}

fn options() -> Vec<Packet> {
    let mut packets = Vec::new();
    for syn in syns(4) {
        for len in [4, 20, 40] {
            let syn = syn.clone().tcp(|tcp| {
                tcp.set_options_raw(&vec![1; len]).unwrap();
            });
            packets.push(window_syn(format!("{len} bytes of TCP options"), &syn));
        }
    }
    packets
}

fn data_offset() -> Vec<Packet> {
    let mut packets = Vec::new();
    for (syn, tcp) in syns(4).into_iter().zip([TCP_V4, TCP_V6]) {
        for words in (0..5).chain(6..16) {
            let frame = with(&syn, tcp + DATA_OFFSET, &[words * 16]);
            let what = format!("TCP header of {words} words in a segment of 5");
            packets.push(other(what, frame, Malformed));
        }
        let reserved = with(&syn, tcp + DATA_OFFSET, &[0x5f]);
        packets.push(window_syn_in("TCP with every reserved bit", &syn, reserved));
        // The header extends into the payload, as far as there is one.
        let syn = syn.payload([1; 39]);
        let fits = with(&syn, tcp + DATA_OFFSET, &[14 * 16]);
        packets.push(window_syn_in(
            "TCP header of 14 words in 59 bytes",
            &syn,
            fits,
        ));
        let one_more = with(&syn, tcp + DATA_OFFSET, &[15 * 16]);
        packets.push(other(
            "TCP header of 15 words in 59 bytes",
            one_more,
            Malformed,
        ));
    }
    packets
}

fn payload() -> Vec<Packet> {
    let mut packets = Vec::new();
    for syn in syns(4) {
        // The last ones exceed a page: the program sees only the first of several buffers.
        for len in [1, 100, 1400, 8000, 60000] {
            let syn = syn.clone().payload(vec![7; len]);
            packets.push(window_syn(
                format!("SYN with a payload of {len} bytes"),
                &syn,
            ));
            let mut frame = syn.bytes().unwrap();
            frame.pop();
            let what = format!("SYN that lacks the last of its {len} bytes of payload");
            packets.push(other(what, frame, Malformed));
        }
    }
    packets
}

fn ports() -> Vec<Packet> {
    let mut packets = Vec::new();
    for syn in syns(4) {
        for port in [0, 1, 0x1234, 65535] {
            let syn = syn.clone().tcp(|tcp| tcp.source_port = port);
            packets.push(window_syn(format!("SYN from port {port}"), &syn));
        }
    }
    for (source, destination) in [
        ("0.0.0.0", "192.0.2.1"),
        ("255.255.255.255", "192.0.2.1"),
        ("1.2.3.4", "255.255.255.255"),
        ("::", "2001:db8::1"),
        ("::fffe:192.0.2.2", "2001:db8::1"),
        ("::1:ffff:c000:202", "2001:db8::1"),
        ("102:304:506:708:90a:b0c:d0e:f10", "ff02::1"),
    ] {
        let (source, destination) = (address(source), address(destination));
        let syn = syn_to(source, destination, BASE + 4);
        packets.push(window_syn(
            format!("SYN from {source} to {destination}"),
            &syn,
        ));
    }
    // Would look like a SYN over IPv4; no host accepts it.
    let mapped = syn_to(
        address("::ffff:192.0.2.2"),
        address("2001:db8::1"),
        BASE + 4,
    );
    packets.push(other(
        "SYN from an IPv4-mapped address",
        mapped.bytes().unwrap(),
        Malformed,
    ));
    let ack = mapped.tcp(|tcp| tcp.ack = true).bytes().unwrap();
    packets.push(other("SYN+ACK from an IPv4-mapped address", ack, NotSyn));
    // From a port of the window, but to another port.
    let swapped: Frame =
        syn_to(Pair::CLIENT_V4, Pair::SERVER_V4, 443).tcp(|tcp| tcp.source_port = BASE);
    let frame = swapped.bytes().unwrap();
    packets.push(other("SYN from a port of the window", frame, OutsideWindow));
    packets
}

fn address(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}
