//! Access through address translation: a table of nftables with the addresses that are admitted. A
//! door's commands add and remove an address.

use std::{fmt, net::Ipv4Addr};

use knock_common::gate::Transport;
use knockd_types::rules::Port;

const NFT: &str = "/usr/sbin/nft";

/// The address that translated packets get as their source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// They keep their own.
    Kept,
    /// That of the interface which they leave through.
    Interface,
    Address(Ipv4Addr),
}

/// The table for one stanza, displayed as a script for `nft -f`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    /// The number of the stanza.
    pub(super) number: usize,
    /// The ports that clients connect to.
    pub(super) ports: Vec<Port>,
    /// Where their packets go.
    pub(super) target: (Ipv4Addr, u16),
    pub(super) source: Source,
}

impl Table {
    fn name(&self) -> String {
        format!("knockd_stanza_{}", self.number)
    }

    /// The command that admits an address. It may be repeated.
    pub(super) fn run(&self) -> Vec<String> {
        vec![NFT.into(), self.element("add")]
    }

    /// The command that removes the address again. It may be repeated, since an element that was just
    /// added can be deleted.
    pub(super) fn close(&self) -> Vec<String> {
        let text = format!("{}; {}", self.element("add"), self.element("delete"));
        vec![NFT.into(), text]
    }

    fn element(&self, action: &str) -> String {
        format!("{action} element ip {} admitted {{ %IP% }}", self.name())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, port) = self.target;
        writeln!(f, "table ip {} {{", self.name())?;
        writeln!(f, "    set admitted {{ type ipv4_addr; }}")?;
        writeln!(f, "    chain prerouting {{")?;
        writeln!(f, "        type nat hook prerouting priority -100;")?;
        for outer in &self.ports {
            let transport = match outer.transport {
                Transport::Tcp => "tcp",
                Transport::Udp => "udp",
            };
            writeln!(
                f,
                "        ip saddr @admitted fib daddr type local {transport} dport {} dnat to {address}:{port}",
                outer.number
            )?;
        }
        writeln!(f, "    }}")?;
        let source = match self.source {
            Source::Kept => None,
            Source::Interface => Some("masquerade".to_owned()),
            Source::Address(source) => Some(format!("snat to {source}")),
        };
        if let Some(source) = source {
            writeln!(f, "    chain postrouting {{")?;
            writeln!(f, "        type nat hook postrouting priority 100;")?;
            writeln!(f, "        ip saddr @admitted ip daddr {address} {source}")?;
            writeln!(f, "    }}")?;
        }
        write!(f, "}}")
    }
}
