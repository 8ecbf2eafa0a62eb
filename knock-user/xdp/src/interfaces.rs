//! Lists the network interfaces of this host and watches for changes, with rtnetlink(7).

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

/// `RTNLGRP_LINK` of linux/rtnetlink.h: notifications about new, changed and removed interfaces.
const LINK_GROUP: u32 = 1;

/// All network interfaces in the network namespace of this process.
///
/// # Errors
///
/// Returns an error if the netlink request fails.
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

    #[test]
    fn the_loopback_interface_is_there() {
        let interfaces = list().unwrap();
        let lo = interfaces.iter().find(|one| one.name == "lo").unwrap();
        assert!(lo.is_loopback && lo.has_ethernet && lo.index > 0);
    }
}
