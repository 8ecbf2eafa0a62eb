//! Ways to send a UDP datagram.

use knock_tests::frame::{Content, Extension, Frame, Tag};

use crate::row::{Row, V4, V6, atomic, cut, options_inside, reversed, whole, with_options};

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for family in [V4, V6] {
        rows.extend(either(family));
    }
    rows.extend(ipv4());
    rows.extend(ipv6());
    rows
}

fn either(family: usize) -> Vec<Row> {
    vec![
        Row::datagram(family, "plain", whole),
        Row::datagram(family, "two tags", |datagram| {
            whole(datagram.tag(Tag::Provider(0)).tag(Tag::Customer(0)))
        }),
        Row::datagram(family, "three tags", |datagram| {
            whole(Frame {
                tags: vec![Tag::Customer(0); 3],
                ..datagram
            })
        })
        .unclear(),
        // Unlike TCP, UDP accepts link-layer broadcasts.
        Row::datagram(family, "everybody's hardware address", |datagram| {
            whole(Frame {
                destination_mac: [0xff; 6],
                ..datagram
            })
        }),
        // The gate decides by the first fragment, which has the ports. Without it, Linux drops the
        // others.
        Row::datagram(family, "fragments", |datagram| cut(datagram, 8)),
        Row::datagram(family, "fragments, the last first", |datagram| {
            reversed(cut(datagram, 16))
        }),
        Row::datagram(family, "all fragments but the first", |datagram| {
            cut(datagram, 16).split_off(1)
        })
        .undelivered()
        .harmless(),
        Row::datagram(family, "a second fragment over the first", |datagram| {
            vec![
                datagram.fragment(0..16, true).unwrap(),
                datagram.fragment(8..32, false).unwrap(),
            ]
        })
        .undelivered(),
    ]
}

fn ipv4() -> Vec<Row> {
    vec![
        Row::datagram(V4, "an option", |datagram| {
            whole(datagram.ipv4_options([1, 1, 1, 1]))
        }),
        Row::datagram(V4, "no checksum", |datagram| {
            whole(without_checksum(datagram))
        }),
    ]
}

fn ipv6() -> Vec<Row> {
    let options = |count: usize| {
        let name = format!("{count} headers of destination options");
        Row::datagram(V6, &name, move |datagram| {
            whole(with_options(datagram, count))
        })
    };
    vec![
        options(8),
        options(9).unclear(),
        Row::datagram(V6, "a route with no hop left", |datagram| {
            whole(datagram.extension(Extension::routing()))
        }),
        // IPv6 has no header checksum, so the UDP checksum is mandatory (RFC 8200, section 8.1).
        Row::datagram(V6, "no checksum", |datagram| {
            whole(without_checksum(datagram))
        })
        .undelivered(),
        Row::datagram(V6, "an atomic fragment", |datagram| cut(datagram, 64)),
        Row::datagram(V6, "an atomic fragment in another", |datagram| {
            whole(datagram.extension(atomic(1)).extension(atomic(2)))
        })
        .unclear()
        .undelivered(),
        Row::datagram(
            V6,
            "destination options in an atomic fragment",
            |datagram| cut(options_inside(datagram), 64),
        )
        .unclear(),
        Row::datagram(V6, "destination options in fragments", |datagram| {
            cut(options_inside(datagram), 16)
        })
        .unclear(),
    ]
}

fn without_checksum(mut datagram: Frame) -> Frame {
    if let Content::Other { bytes, .. } = &mut datagram.content {
        bytes[6..8].fill(0);
    }
    datagram
}
