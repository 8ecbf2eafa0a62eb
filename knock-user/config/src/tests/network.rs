use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;
use proptest::prelude::*;

use super::*;
use crate::{tests::gate::GATE, value};

#[test]
fn networks_and_addresses_may_be_trusted() {
    for (text, network) in [
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("2001:db8::7", "2001:db8::7/128"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("fc00::/7", "fc00::/7"),
        ("fe80::/10", "fe80::/10"),
        ("::1", "::1/128"),
        // The neighbours of the IPv4-mapped range.
        ("::/81", "::/81"),
        ("::fffe:0:0/96", "::fffe:0:0/96"),
        ("::1:0:0:0/80", "::1:0:0:0/80"),
    ] {
        let value = value::Network::try_from(text.to_owned()).map(IpNet::from);
        assert_eq!(value, Ok(network.parse().unwrap()), "{text}");
    }
}

#[test]
fn nobody_trusts_everybody_by_mistake() {
    let folder = Folder::new();
    for (text, expected) in [
        (
            "0.0.0.0/0",
            "`0.0.0.0/0` contains every address; if that is intended, leave [gate] out",
        ),
        (
            "::/0",
            "`::/0` contains every address; if that is intended, leave [gate] out",
        ),
        (
            "::/64",
            "`::/64` contains every IPv4 address, in IPv4-mapped form: use a smaller network",
        ),
        (
            "::ffff:0:0/96",
            "`::ffff:0:0/96` contains every IPv4 address",
        ),
        ("::/1", "`::/1` contains every IPv4 address"),
        (
            "::ffff:192.0.2.0/120",
            "`::ffff:192.0.2.0/120` is an IPv4 network: write `192.0.2.0/24`",
        ),
        (
            "::ffff:192.0.2.7",
            "`::ffff:192.0.2.7` is an IPv4 network: write `192.0.2.7/32`",
        ),
        (
            "::ffff:128.0.0.0/97",
            "`::ffff:128.0.0.0/97` is an IPv4 network: write `128.0.0.0/1`",
        ),
        (
            "128.0.0.0/1",
            "`128.0.0.0/1` is too large to be trusted: use a prefix of at least 8 bits",
        ),
        (
            "2000::/3",
            "`2000::/3` is too large to be trusted: use a prefix of at least 7 bits",
        ),
        (
            "192.0.2.7/24",
            "`192.0.2.7/24` has bits set after its prefix: the network is 192.0.2.0/24",
        ),
        (
            "example.net",
            "`example.net` is neither a network such as \"192.0.2.0/24\" nor an address",
        ),
        ("192.0.2.0/33", "`192.0.2.0/33` is neither a network"),
        ("192.0.2/24", "`192.0.2/24` is neither a network"),
        ("", "`` is neither a network"),
    ] {
        let error = folder.error(&GATE.replace("192.0.2.0/24", text));
        let expected = format!("knockd.toml:8: trusted: {expected}");
        assert!(error.starts_with(&expected), "{error}\nnot\n{expected}");
    }
}

/// Whether `network` is a mistake: it spans most of an address family, or contains IPv4 and IPv6.
fn is_everybody(network: IpNet, ipv4: u32) -> bool {
    let has = |address: &str| network.contains(&address.parse::<IpAddr>().unwrap());
    has("1.1.1.1") && has("203.0.113.1")
        || has("8.8.8.8") && has("100.64.0.1")
        || has("2001:db8::1") && has("3fff::1")
        || network.contains(&IpAddr::V6(mapped(ipv4)))
}

proptest! {
    #[test]
    fn no_text_that_is_a_network_is_everybody(text in "[0-9a-f:./%]{0,44}|\\PC{0,20}", ipv4: u32) {
        if let Ok(network) = value::Network::try_from(text) {
            prop_assert!(!is_everybody(network.into(), ipv4));
        }
    }

    #[test]
    fn no_network_that_is_trusted_is_everybody(
        address in address(),
        len in 0..=128_u8,
        ipv4: u32,
    ) {
        let len = if address.is_ipv4() { len / 4 } else { len };
        let network = IpNet::new(address, len).unwrap().trunc();
        match value::Network::try_from(network.to_string()) {
            Ok(trusted) => {
                prop_assert_eq!(IpNet::from(trusted), network);
                prop_assert!(!is_everybody(network, ipv4), "{}", network);
            }
            // No small network is refused.
            Err(_) => prop_assert!(len < 8 || is_everybody(network, ipv4) || is_mapped(network)),
        }
    }
}

/// Any address. Addresses with many leading zeros, such as IPv4-mapped ones, are more frequent.
fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<IpAddr>(),
        (any::<u128>(), 0..128_u32)
            .prop_map(|(bits, zeros)| Ipv6Addr::from_bits(bits >> zeros).into()),
        any::<u32>().prop_map(|ipv4| mapped(ipv4).into()),
    ]
}

fn mapped(ipv4: u32) -> Ipv6Addr {
    Ipv4Addr::from_bits(ipv4).to_ipv6_mapped()
}

fn is_mapped(network: IpNet) -> bool {
    matches!(network, IpNet::V6(network) if network.addr().to_ipv4_mapped().is_some())
}
