//! This host's network interfaces: which there are, and when that changes (rtnetlink(7)).

use std::io;

use anyhow::{Context as _, Result, bail};
use knockd_types::interface::Interface;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, LinkXdp},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;
use tokio::io::{Interest, unix::AsyncFd};

/// `RTNLGRP_LINK` of linux/rtnetlink.h: interfaces that come, go and change.
const LINK_GROUP: u32 = 1;

/// Every interface that there is.
///
/// # Errors
///
/// The kernel does not say.
pub fn list() -> Result<Vec<Interface>> {
    dump().context("the interfaces cannot be listed")
}

fn dump() -> Result<Vec<Interface>> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_DUMP | NLM_F_REQUEST;
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(request));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket.send(&bytes, 0)?;

    let mut interfaces = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        let mut rest = &datagram[..];
        while !rest.is_empty() {
            let message = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)?;
            let len = (message.header.length as usize).next_multiple_of(4);
            match message.payload {
                NetlinkPayload::Done(_) => return Ok(interfaces),
                NetlinkPayload::Error(error) => bail!("{error}"),
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => {
                    interfaces.extend(interface(&link));
                }
                _ => {}
            }
            rest = rest.get(len.max(1)..).unwrap_or_default();
        }
    }
}

fn interface(link: &LinkMessage) -> Option<Interface> {
    let name = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })?;
    let program = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Xdp(xdp) => xdp.iter().find_map(|attribute| match attribute {
                LinkXdp::ProgId(id) => Some(*id),
                _ => None,
            }),
            _ => None,
        });
    Some(Interface {
        index: link.header.index,
        name,
        is_loopback: link.header.flags.contains(LinkFlags::Loopback),
        has_ethernet: matches!(
            link.header.link_layer_type,
            LinkLayerType::Ether | LinkLayerType::Loopback
        ),
        program,
    })
}

/// Tells when interfaces come, go or change.
pub struct Watch(AsyncFd<Socket>);

impl Watch {
    /// From here on no change is missed.
    ///
    /// # Errors
    ///
    /// The kernel tells nobody.
    pub fn new() -> Result<Self> {
        let open = || -> Result<Self> {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind_auto()?;
            socket.add_membership(LINK_GROUP)?;
            socket.set_non_blocking(true)?;
            // SAFETY: the socket owns its file descriptor, never exchanges it and closes it when
            // it is dropped.
            let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
            Ok(Self(watched.map_err(|error| error.into_parts().1)?))
        };
        open().context("changes of interfaces cannot be watched")
    }

    /// Returns when something has changed; [`list`] says what. Cancel-safe.
    ///
    /// # Errors
    ///
    /// The socket broke.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            let mut ready = self.0.readable_mut().await?;
            let mut has_changed = false;
            // What the messages say is not read: a list that is made afterwards is newer, and
            // whole even where messages were lost.
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
    use knockd_types::interface::{ANY, Wanted};

    use super::*;

    fn interface(name: &str) -> Interface {
        Interface {
            index: 7,
            name: name.into(),
            is_loopback: name == "lo",
            has_ethernet: !name.starts_with("tun"),
            program: None,
        }
    }

    #[test]
    fn names_are_exact_and_any_means_what_a_network_is_on() {
        let present = ["lo", "eth0", "eth0.5", "tun0"].map(interface);
        let names = |wanted: &Wanted| {
            let included = present.iter().filter(|one| wanted.includes(one));
            included.map(|one| one.name.as_str()).collect::<Vec<_>>()
        };
        let named = Wanted::new(vec!["eth0".into(), "lo".into(), "eth1".into()]);
        assert_eq!(names(&named), ["lo", "eth0"]);
        assert_eq!(named.missing(&present), ["eth1"]);
        for any in ANY {
            let any = Wanted::new(vec!["eth1".into(), any.into()]);
            assert_eq!(names(&any), ["eth0", "eth0.5"]);
            assert!(any.missing(&present).is_empty() && !any.is_empty());
        }
        assert!(Wanted::new(Vec::new()).is_empty());
    }

    #[test]
    fn the_loopback_interface_is_there() {
        let interfaces = list().unwrap();
        let lo = interfaces.iter().find(|one| one.name == "lo").unwrap();
        assert!(lo.is_loopback && lo.has_ethernet && lo.index > 0);
    }
}
