//! Ways to open a TCP connection.

use std::net::{IpAddr, Ipv4Addr};

use knock_tests::frame::{Extension, Frame, Tag, Tcp, overwritten};

use crate::row::{Row, V4, V6, atomic, cut, options_inside, reversed, whole, with_options};

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = tags();
    rows.extend(frames());
    for family in [V4, V6] {
        rows.extend(flags(family));
        rows.extend(overlaps(family));
        rows.extend((4..=15).map(|words| data_offset(family, words)));
    }
    rows.extend(ipv4());
    rows.extend(ipv6());
    rows.extend(fragments());
    rows
}

fn flags(family: usize) -> Vec<Row> {
    let with =
        |name, change: fn(&mut Tcp)| Row::syn(family, name, move |syn| whole(syn.tcp(change)));
    vec![
        with("plain", |_| {}),
        with("ECE and CWR", |tcp| (tcp.ece, tcp.cwr) = (true, true)),
        with("URG", |tcp| tcp.urg = true),
        with("PSH", |tcp| tcp.psh = true),
        with("ECE, CWR, URG and PSH", |tcp| {
            (tcp.ece, tcp.cwr, tcp.urg, tcp.psh) = (true, true, true, true);
        }),
        // A Linux listening socket drops both; other systems accept a SYN with FIN.
        with("FIN", |tcp| tcp.fin = true).undelivered(),
        with("RST", |tcp| tcp.rst = true).undelivered(),
        // Valid only in an existing connection; otherwise the host answers with a RST.
        with("ACK", |tcp| tcp.ack = true).undelivered().harmless(),
        with("ACK alone", |tcp| (tcp.syn, tcp.ack) = (false, true))
            .undelivered()
            .harmless(),
        Row::syn(family, "payload", |syn| whole(syn.payload([7; 100]))),
    ]
}

/// A SYN with a data offset of `words` units of 4 bytes.
fn data_offset(family: usize, words: u8) -> Row {
    let name = format!("data offset {words}");
    let row = Row::syn(family, &name, move |syn| {
        // No-operation options are valid both as options and as payload.
        let syn = syn.payload([1; 40]);
        let bytes = syn.bytes().unwrap();
        let tcp = bytes.len() - 60;
        let checksum = u16::from_be_bytes([bytes[tcp + 16], bytes[tcp + 17]]);
        let (old, new) = (bytes[tcp + 12], words << 4);
        let change = |byte| u16::from_be_bytes([byte, bytes[tcp + 13]]);
        let checksum = updated(checksum, change(old), change(new));
        let bytes = overwritten(&bytes, tcp + 12, &[new]).unwrap();
        vec![overwritten(&bytes, tcp + 16, &checksum.to_be_bytes()).unwrap()]
    });
    // Shorter than the fixed header.
    if words < 5 { row.undelivered() } else { row }
}

/// Updates a checksum after one 16-bit word has changed (RFC 1624, section 3).
fn updated(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap()
}

/// Linux removes any number of priority tags (VLAN identifier 0).
fn tags() -> Vec<Row> {
    let tagged = |name, tags: &'static [Tag]| {
        Row::syn(V4, name, |syn| {
            whole(Frame {
                tags: tags.to_vec(),
                ..syn
            })
        })
    };
    vec![
        tagged("a tag", &[Tag::Customer(0)]),
        tagged("a provider's tag", &[Tag::Provider(0)]),
        tagged("two tags", &[Tag::Customer(0); 2]),
        tagged(
            "a tag in a provider's",
            &[Tag::Provider(0), Tag::Customer(0)],
        ),
        tagged("three tags", &[Tag::Customer(0); 3]).unclear(),
        tagged("four tags", &[Tag::Provider(0); 4]).unclear(),
        // The server has no interface in that VLAN.
        tagged("a network's tag", &[Tag::Customer(7)]).undelivered(),
    ]
}

/// Other changes to the frame. Linux accepts only the first.
fn frames() -> Vec<Row> {
    let broken = |name, frame: fn(&Frame) -> Vec<u8>| {
        Row::syn(V4, name, move |syn| vec![frame(&syn)]).undelivered()
    };
    vec![
        Row::syn(V4, "a trailer", |syn| {
            vec![[&syn.bytes().unwrap()[..], &[7; 100]].concat()]
        }),
        broken("everybody's hardware address", |syn| {
            let destination_mac = [0xff; 6];
            let syn = Frame {
                destination_mac,
                ..syn.clone()
            };
            syn.bytes().unwrap()
        }),
        broken("IEEE 802.2 with SNAP", snap).harmless(),
        broken("the ether type of IPv6", |syn| {
            overwritten(&syn.bytes().unwrap(), 12, &[0x86, 0xdd]).unwrap()
        })
        .unclear(),
        broken("nothing behind the ports", |syn| {
            syn.fragment(0..4, false).unwrap()
        })
        .unclear(),
    ]
}

/// The packet with its type in a SNAP header (RFC 1042), which Linux does not accept for IP.
fn snap(frame: &Frame) -> Vec<u8> {
    let bytes = frame.bytes().unwrap();
    let (addresses, packet) = bytes.split_at(12);
    let logical_link = [&[0xaa, 0xaa, 3, 0, 0, 0], packet].concat();
    let len = u16::try_from(logical_link.len()).unwrap().to_be_bytes();
    [addresses, &len, &logical_link].concat()
}

fn ipv4() -> Vec<Row> {
    let options = |name, options: &'static [u8]| {
        Row::syn(V4, name, move |syn| whole(syn.ipv4_options(options)))
    };
    vec![
        options("an option", &[1, 1, 1, 1]),
        options("all the options there is room for", &[1; 40]),
        options("recorded route", &[7, 7, 4, 0, 0, 0, 0, 0]),
        // By default Linux drops source-routed packets, even at the end of the route.
        options("loose source route", &[131, 7, 8, 192, 0, 2, 3, 0]).undelivered(),
    ]
}

fn ipv6() -> Vec<Row> {
    let options = |count: usize| {
        let name = format!("{count} headers of destination options");
        Row::syn(V6, &name, move |syn| whole(with_options(syn, count)))
    };
    let extended = |name, extension: fn() -> Extension| {
        Row::syn(V6, name, move |syn| whole(syn.extension(extension())))
    };
    vec![
        options(1),
        options(8),
        // Linux follows any number of headers.
        options(9).unclear(),
        options(40).unclear(),
        extended("hop-by-hop options", Extension::hop_by_hop),
        extended("a route with no hop left", Extension::routing),
        // The receiver has no security association for it.
        extended("an authentication header", || {
            Extension::Authentication(vec![0; 12])
        })
        .undelivered(),
        Row::syn(V6, "every header once", |syn| {
            let syn = with_options(syn.extension(Extension::hop_by_hop()), 1);
            whole(with_options(syn.extension(Extension::routing()), 1))
        }),
        Row::syn(V6, "an IPv4-mapped source", |syn| {
            let source = IpAddr::V6(Ipv4Addr::new(192, 0, 2, 2).to_ipv6_mapped());
            whole(Frame { source, ..syn })
        })
        .spoofed()
        .undelivered(),
    ]
}

fn fragments() -> Vec<Row> {
    let cut_at = |family, len: usize| {
        let name = format!("fragments of {len} bytes");
        Row::syn(family, &name, move |syn| cut(syn.payload([7; 20]), len)).unclear()
    };
    let reversed_at = |family, len: usize| {
        let name = format!("fragments of {len} bytes, the last first");
        Row::syn(family, &name, move |syn| {
            reversed(cut(syn.payload([7; 20]), len))
        })
        .unclear()
    };
    vec![
        // The flags are in the second fragment (RFC 1858), which is valid in IPv4, ...
        cut_at(V4, 8),
        reversed_at(V4, 8),
        cut_at(V4, 16),
        cut_at(V4, 24),
        reversed_at(V4, 24),
        // ... but in IPv6 the first fragment must contain all headers (RFC 7112).
        cut_at(V6, 8).undelivered(),
        reversed_at(V6, 8).undelivered(),
        cut_at(V6, 16).undelivered(),
        cut_at(V6, 24),
        reversed_at(V6, 24),
        Row::syn(V6, "an atomic fragment", |syn| cut(syn, 64)).unclear(),
        // Linux drops a fragment inside a fragment.
        Row::syn(V6, "an atomic fragment in another", |syn| {
            let [outer, inner] = [atomic(1), atomic(2)];
            whole(syn.extension(outer).extension(inner))
        })
        .unclear()
        .undelivered(),
        Row::syn(V6, "destination options in an atomic fragment", |syn| {
            cut(options_inside(syn), 64)
        })
        .unclear(),
        Row::syn(V6, "destination options in fragments", |syn| {
            cut(options_inside(syn.payload([7; 20])), 32)
        })
        .unclear(),
        Row::syn(V6, "destination options before an atomic fragment", |syn| {
            cut(with_options(syn, 1), 64)
        })
        .unclear(),
    ]
}

/// The second fragment turns a harmless segment into a SYN (RFC 3128). Since 4.19 Linux drops all
/// fragments of a packet if any overlap.
fn overlaps(family: usize) -> [Row; 2] {
    let overlapping = |syn: Frame| {
        let syn = syn.payload([7; 20]);
        let harmless = syn.clone().tcp(|tcp| (tcp.syn, tcp.ack) = (false, true));
        vec![
            harmless.fragment(0..24, true).unwrap(),
            syn.fragment(8..40, false).unwrap(),
        ]
    };
    [
        Row::syn(family, "a second fragment over the flags", overlapping),
        Row::syn(family, "a second fragment under the flags", move |syn| {
            reversed(overlapping(syn))
        }),
    ]
    .map(|row| row.unclear().undelivered())
}
