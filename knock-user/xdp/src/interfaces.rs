//! Lists the network interfaces of this host and watches for changes, with rtnetlink(7).

use std::io;

use anyhow::{Context as _, Result};
use knockd_types::interface::{Framing, Interface, Kind, MAX_NAME};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{
        InfoData, InfoIpVlan, InfoKind, InfoPortKind, IpVlanMode, LinkAttribute, LinkFlags,
        LinkInfo, LinkLayerType, LinkMessage, LinkXdp, Prop,
    },
};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use tokio::io::{Interest, unix::AsyncFd};

use crate::netlink;

/// `RTNLGRP_LINK` of linux/rtnetlink.h: notifications about new, changed and removed interfaces.
const LINK_GROUP: u32 = 1;

/// How [`Kind::Blind`] names a VRF.
const VRF: &str = "a VRF";

/// All network interfaces in the network namespace of this process.
///
/// # Errors
///
/// Returns an error if the netlink request fails.
pub fn list() -> Result<Vec<Interface>> {
    dump().context("the interfaces cannot be listed")
}

/// A message for each of the `missing` names, which no interface has: the daemon waits for them. If one
/// is the alias of an interface, the message says so.
#[must_use]
pub fn unknown(missing: &[String]) -> Vec<String> {
    if missing.is_empty() {
        return Vec::new();
    }
    // Without them, the messages are less helpful.
    let aliases = aliases().unwrap_or_default();
    let message = |name: &String| {
        let kind = if name.len() > MAX_NAME {
            "alternative name of an interface"
        } else {
            "interface"
        };
        let aliased = aliases.iter().find(|(alias, _)| alias == name);
        let hint = aliased.map_or_else(
            || "`ip link` lists the interfaces".to_owned(),
            |(_, real)| format!("it is an alias, which is only a description, of `{real}`"),
        );
        format!("there is no {kind} `{name}`: waiting for it ({hint})")
    };
    missing.iter().map(message).collect()
}

/// The aliases of interfaces, each with the name of its interface.
fn aliases() -> Result<Vec<(String, String)>> {
    let mut aliases = Vec::new();
    netlink::dump(
        RouteNetlinkMessage::GetLink(LinkMessage::default()),
        |message| {
            let RouteNetlinkMessage::NewLink(link) = message else {
                return;
            };
            let (mut name, mut alias) = (None, None);
            for attribute in link.attributes {
                match attribute {
                    LinkAttribute::IfName(text) => name = Some(text),
                    LinkAttribute::IfAlias(text) => alias = Some(text),
                    _ => {}
                }
            }
            aliases.extend(alias.zip(name));
        },
    )?;
    Ok(aliases)
}

fn dump() -> Result<Vec<Interface>> {
    let mut interfaces = Vec::new();
    netlink::dump(
        RouteNetlinkMessage::GetLink(LinkMessage::default()),
        |message| {
            if let RouteNetlinkMessage::NewLink(link) = message {
                interfaces.extend(interface(&link));
            }
        },
    )?;
    mark_unrouted(&mut interfaces);
    Ok(interfaces)
}

/// Sets [`Interface::is_unrouted`]. A member of a VRF starts with itself; the interfaces below it
/// follow.
fn mark_unrouted(interfaces: &mut [Interface]) {
    let is_vrf = |index: u32, all: &[Interface]| {
        let mut vrfs = all.iter().filter(|one| one.kind == Kind::Blind(VRF));
        vrfs.any(|vrf| vrf.index == index)
    };
    let in_vrf = interfaces
        .iter()
        .filter(|one| is_vrf(one.master, interfaces));
    let mut below: Vec<_> = in_vrf.map(|one| one.below).collect();
    for interface in &mut *interfaces {
        interface.is_unrouted = interface.is_member;
    }
    while let Some(index) = below.pop() {
        let found = interfaces.iter_mut().find(|one| one.index == index);
        // Interfaces of two namespaces, or the two of a pair, may name each other.
        if let Some(interface) = found
            && !interface.is_unrouted
        {
            interface.is_unrouted = true;
            below.push(interface.below);
        }
    }
}

fn interface(link: &LinkMessage) -> Option<Interface> {
    let mut interface = Interface {
        index: link.header.index,
        name: String::new(),
        altnames: Vec::new(),
        framing: framing(link.header.link_layer_type),
        kind: if link.header.flags.contains(LinkFlags::Loopback) {
            Kind::Loopback
        } else {
            Kind::Other
        },
        master: 0,
        is_member: false,
        is_unrouted: false,
        mtu: 0,
        below: 0,
        received: 0,
        program: None,
    };
    // Then the index of the interface below is one of another namespace.
    let mut attributes = link.attributes.iter();
    let is_elsewhere = attributes.any(|one| matches!(one, LinkAttribute::LinkNetNsId(_)));
    for attribute in &link.attributes {
        match attribute {
            LinkAttribute::IfName(name) => interface.name.clone_from(name),
            LinkAttribute::PropList(properties) => {
                interface.altnames = properties.iter().filter_map(altname).collect();
            }
            LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
            LinkAttribute::Controller(master) => interface.master = *master,
            LinkAttribute::Link(below) if !is_elsewhere => interface.below = *below,
            LinkAttribute::Stats64(stats) => interface.received = stats.rx_packets,
            LinkAttribute::Xdp(xdp) => {
                interface.program = xdp.iter().find_map(|attribute| match attribute {
                    LinkXdp::ProgId(id) => Some(*id),
                    _ => None,
                });
            }
            LinkAttribute::LinkInfo(infos) => infos.iter().for_each(|info| {
                interface.kind = kind(info).unwrap_or(interface.kind);
                interface.is_member |= is_member(info);
            }),
            _ => {}
        }
    }
    (!interface.name.is_empty()).then_some(interface)
}

fn altname(property: &Prop) -> Option<String> {
    match property {
        Prop::AltIfName(name) => Some(name.clone()),
        _ => None,
    }
}

fn framing(layer: LinkLayerType) -> Framing {
    match layer {
        LinkLayerType::Ether | LinkLayerType::Loopback => Framing::Ethernet,
        LinkLayerType::None
        | LinkLayerType::Ppp
        | LinkLayerType::Rawip
        | LinkLayerType::Tunnel
        | LinkLayerType::Tunnel6
        | LinkLayerType::Sit
        | LinkLayerType::Ipgre
        | LinkLayerType::Ip6gre => Framing::Ip,
        _ => Framing::Other,
    }
}

/// The kind that `info` tells, if it matters.
///
/// The stack hands packets to a VRF device, and to an IPVLAN device in the mode l3s, only after all
/// programs of an interface have run (`l3mdev_l3_rcv`, `ipvlan_l3_rcv`).
fn kind(info: &LinkInfo) -> Option<Kind> {
    match info {
        LinkInfo::Kind(InfoKind::Bond) => Some(Kind::Bond),
        LinkInfo::Kind(InfoKind::Vrf) => Some(Kind::Blind(VRF)),
        LinkInfo::Data(InfoData::IpVlan(data)) => data
            .contains(&InfoIpVlan::Mode(IpVlanMode::L3S))
            .then_some(Kind::Blind("an IPVLAN in the mode l3s")),
        _ => None,
    }
}

fn is_member(info: &LinkInfo) -> bool {
    matches!(
        info,
        LinkInfo::PortKind(InfoPortKind::Bond | InfoPortKind::Bridge | InfoPortKind::Team)
    )
}

/// Waits for changes of the network interfaces.
pub struct Watch(AsyncFd<Socket>);

impl Watch {
    /// Subscribes to changes. [`Watch::changed`] reports every change after this call.
    ///
    /// # Errors
    ///
    /// Returns an error if the netlink socket cannot be opened.
    pub fn new() -> Result<Self> {
        let open = || -> Result<Self> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.add_membership(LINK_GROUP)?;
            socket.set_non_blocking(true)?;
            // SAFETY: the socket owns its file descriptor, never replaces it and closes it only
            // when dropped.
            let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
            Ok(Self(watched.map_err(|error| error.into_parts().1)?))
        };
        open().context("changes of interfaces cannot be watched")
    }

    /// Waits for a change. [`list`] returns the new state. Cancel-safe.
    ///
    /// # Errors
    ///
    /// Returns an error if the socket fails.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            let mut has_changed = false;
            // The content of the messages is ignored: a list that is requested afterwards is
            // newer, and complete even if messages were lost.
            loop {
                match ready.get_inner().recv_from_full() {
                    Ok(_) => has_changed = true,
                    Err(error) => match Errno::from_io_error(&error) {
                        Some(Errno::AGAIN) => break,
                        Some(Errno::NOBUFS) => has_changed = true,
                        Some(Errno::INTR) => {}
                        _ => return Err(error),
                    },
                }
            }
            ready.clear_ready();
            if has_changed {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacked(index: u32, master: u32, below: u32) -> Interface {
        Interface {
            index,
            name: format!("if{index}"),
            altnames: Vec::new(),
            framing: Framing::Ethernet,
            kind: Kind::Other,
            master,
            is_member: false,
            is_unrouted: false,
            mtu: 1500,
            below,
            received: 0,
            program: None,
        }
    }

    #[test]
    fn what_is_below_a_member_of_a_vrf_has_no_routing_of_its_own() {
        let vrf = Interface {
            kind: Kind::Blind(VRF),
            ..stacked(9, 0, 0)
        };
        let member = Interface {
            is_member: true,
            ..stacked(7, 8, 0)
        };
        // 3 is in the VRF and on 2, which is on 1; 5 is on 4 and in no VRF; 6 is in the VRF itself.
        let mut all = [
            stacked(1, 0, 0),
            stacked(2, 0, 1),
            stacked(3, 9, 2),
            stacked(4, 0, 0),
            stacked(5, 0, 4),
            stacked(6, 9, 0),
            member,
            vrf,
        ];
        mark_unrouted(&mut all);
        let unrouted = all.iter().filter(|one| one.is_unrouted);
        let unrouted: Vec<_> = unrouted.map(|one| one.index).collect();
        assert_eq!(unrouted, [1, 2, 7]);
    }

    #[test]
    fn interfaces_that_name_each_other_end_the_search() {
        let vrf = Interface {
            kind: Kind::Blind(VRF),
            ..stacked(9, 0, 0)
        };
        let mut all = [stacked(1, 9, 2), stacked(2, 0, 1), vrf];
        mark_unrouted(&mut all);
        assert!(all[0].is_unrouted && all[1].is_unrouted);
    }

    #[test]
    fn the_loopback_interface_is_there() {
        let interfaces = list().unwrap();
        let lo = interfaces.iter().find(|one| one.name == "lo").unwrap();
        assert_eq!((lo.kind, lo.framing), (Kind::Loopback, Framing::Ethernet));
        assert!(lo.index > 0 && lo.mtu > 0 && !lo.is_member);
    }
}
