//! Networks of IP addresses.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv6Net};
use serde::Deserialize;

checked! {
    /// A network that a client may knock from, or a single address. An accepted IPv6 network
    /// contains no IPv4-mapped address.
    ClientNetwork(IpNet) from "String"
}

impl TryFrom<String> for ClientNetwork {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let network = network(&text)?;
        if let IpNet::V6(network) = network {
            refuse_ipv4_mapped(network, &text)?;
        }
        Ok(Self(network))
    }
}

/// The network or the single address in `text`.
fn network(text: &str) -> Result<IpNet, String> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().map_err(|_| {
            format!("`{text}` is neither a network such as \"192.0.2.0/24\" nor an address")
        })?,
    };
    if network.trunc() != network {
        return Err(format!(
            "`{text}` has bits set after its prefix: the network is {}",
            network.trunc()
        ));
    }
    Ok(network)
}

checked! {
    /// A network or a single address. An accepted IPv6 network contains no IPv4-mapped address,
    /// and no accepted network is so large that it must be a mistake.
    Network(IpNet) from "String"
}

impl Network {
    /// The largest private IPv4 network is 10.0.0.0/8 (RFC 1918).
    const MIN_V4_LEN: u8 = 8;
    /// The largest private IPv6 network is fc00::/7 (RFC 4193).
    const MIN_V6_LEN: u8 = 7;
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let network = network(&text)?;
        if network.prefix_len() == 0 {
            return Err(format!(
                "`{text}` contains every address; if that is intended, leave [gate] out"
            ));
        }
        let min_len = match network {
            IpNet::V4(_) => Self::MIN_V4_LEN,
            IpNet::V6(network) => {
                refuse_ipv4_mapped(network, &text)?;
                Self::MIN_V6_LEN
            }
        };
        if network.prefix_len() < min_len {
            return Err(format!(
                "`{text}` is too large to be trusted: use a prefix of at least {min_len} bits"
            ));
        }
        Ok(Self(network))
    }
}

/// Refuses a network, written as `text`, that contains IPv4-mapped addresses: the eBPF program
/// stores IPv4 sources in this form.
fn refuse_ipv4_mapped(network: Ipv6Net, text: &str) -> Result<(), String> {
    const IPV4: u8 = 96;
    if network.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()) && network.prefix_len() <= IPV4 {
        return Err(format!(
            "`{text}` contains every IPv4 address, in IPv4-mapped form: use a smaller network"
        ));
    }
    match network.addr().to_ipv4_mapped() {
        Some(address) => Err(format!(
            "`{text}` is an IPv4 network: write `{address}/{}`",
            network.prefix_len() - IPV4
        )),
        None => Ok(()),
    }
}
