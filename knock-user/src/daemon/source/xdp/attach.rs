//! Attaching the program to interfaces, and taking the place of one that is pinned there.

use anyhow::{Context as _, Result, anyhow, bail};
use aya::programs::{
    Xdp as Program, XdpMode,
    links::FdLink,
    xdp::{XdpLink, XdpLinkId},
};
use nix::ifaddrs::getifaddrs;
use rustix::{io::Errno, net::netdevice::name_to_index};
use tracing::{info, warn};

use super::{Attachment, Mode, Xdp, errno, no_rights};
use crate::daemon::gate::{Gate, pins::Pins};

/// What is attached, until it is pinned or kept for as long as the process lives.
#[derive(Debug)]
pub struct Attached(Vec<XdpLinkId>);

impl Xdp {
    /// Attaches the program to `interfaces`, at once in the place of a program of knockd's that
    /// is `pinned` there.
    ///
    /// # Errors
    ///
    /// A sentence that says which interface is missing or taken, and what to do. What was
    /// attached before the error stays so until this is dropped, or for as long as its pin.
    pub fn attach(&mut self, interfaces: &[String], pinned: Option<&Pins>) -> Result<Attached> {
        let mut indices = Vec::new();
        for interface in interfaces {
            indices.push((interface, index_of(interface)?));
            require_ethernet(interface)?;
        }
        // What can fail comes first, so that a start that fails has replaced nothing.
        let links = pinned.map(Pins::links).unwrap_or_default();
        indices.sort_by_key(|(_, ifindex)| links.iter().any(|link| link.ifindex == *ifindex));
        let mut links = Vec::new();
        for (interface, ifindex) in indices {
            let program = self.program()?;
            let (link, mode) = match pinned.and_then(|pinned| take_over(program, ifindex, pinned)) {
                Some((link, mode)) => {
                    info!(
                        "attached to {interface} in {mode} XDP mode, in the place of a knockd before this one"
                    );
                    (link, mode)
                }
                None => attach(program, interface)?,
            };
            links.push(link);
            self.attachments.push(Attachment {
                interface: interface.clone(),
                ifindex,
                mode,
            });
        }
        Ok(Attached(links))
    }

    /// Pins what was `attached`, and the maps of `gate`: from here on they outlive this process.
    ///
    /// # Errors
    ///
    /// The bpf filesystem refuses, or an interface was attached in a way that cannot be pinned.
    pub fn pin(&mut self, attached: Attached, gate: &Gate, pins: &Pins) -> Result<()> {
        let mut kept = Vec::new();
        for (link, attachment) in attached.0.into_iter().zip(self.attachments.clone()) {
            let Attachment { ifindex, mode, .. } = attachment;
            let link = FdLink::try_from(self.program()?.take_link(link)?)?;
            self.pinned.push(pins.pin_link(ifindex, mode, link)?);
            kept.push((ifindex, mode));
        }
        pins.pin_maps(gate)?;
        pins.keep_only(&kept);
        Ok(())
    }
}

/// Puts `program` in the place of the one that is pinned on the interface, if one is.
fn take_over(program: &mut Program, ifindex: u32, pinned: &Pins) -> Option<(XdpLinkId, Mode)> {
    let links = pinned.links();
    let mut links = links.iter().filter(|link| link.ifindex == ifindex);
    links.find_map(|link| {
        let replaced = link
            .open()
            .and_then(|open| Ok(program.attach_to_link(XdpLink::try_from(open)?)?));
        match replaced {
            Ok(id) => Some((id, link.mode)),
            Err(error) => {
                // The interface that it held is gone, and another has its index.
                warn!("a pinned link cannot be taken over: {error:#}");
                None
            }
        }
    })
}

fn index_of(interface: &str) -> Result<u32> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    match name_to_index(&socket, interface) {
        Ok(index) => Ok(index),
        Err(Errno::NODEV) => {
            bail!("there is no interface `{interface}`: `ip link` lists those that are there")
        }
        Err(error) => Err(error).with_context(|| format!("interface `{interface}`")),
    }
}

/// The program reads Ethernet: on an interface of another kind, such as a tunnel, it would see
/// neither a knock nor what the gate is to keep out.
fn require_ethernet(interface: &str) -> Result<()> {
    /// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK` of linux/if_arp.h.
    const WITH_ETHERNET_HEADERS: [u16; 2] = [1, 772];

    // An interface without a hardware address has no link address here either.
    let is_ethernet = getifaddrs()?
        .filter(|address| address.interface_name == interface)
        .filter_map(|address| Some(address.address?.as_link_addr()?.hatype()))
        .any(|kind| WITH_ETHERNET_HEADERS.contains(&kind));
    if !is_ethernet {
        bail!(
            "`{interface}` carries no Ethernet frames (tun, ppp, WireGuard and other tunnels do not): attach to the interface below it"
        );
    }
    Ok(())
}

/// Attaches in native mode, or in generic mode where the driver cannot.
fn attach(program: &mut Program, interface: &str) -> Result<(XdpLinkId, Mode)> {
    let native = match program.attach(interface, XdpMode::Driver) {
        Ok(link) => {
            info!("attached to {interface} in native XDP mode");
            return Ok((link, Mode::Native));
        }
        Err(error) => anyhow!(error),
    };
    match errno(&native) {
        // The driver has no XDP, or none at this MTU or with these features. Where it has
        // a say, RANGE and INVAL are what drivers return for those.
        Some(Errno::OPNOTSUPP | Errno::RANGE | Errno::INVAL) => {}
        _ => return Err(unattachable(native, interface)),
    }
    let link = program
        .attach(interface, XdpMode::Skb)
        .map_err(|error| unattachable(error.into(), interface))?;
    warn!(
        "attached to {interface} in generic XDP mode, since its driver cannot do native: {native:#}"
    );
    Ok((link, Mode::Generic))
}

fn unattachable(error: anyhow::Error, interface: &str) -> anyhow::Error {
    match errno(&error) {
        Some(Errno::BUSY | Errno::EXIST) => anyhow!(
            "another XDP program is attached to {interface}, and knockd does not replace it: `ip link show dev {interface}` names it, `ip link set dev {interface} xdp off` removes it. If it is the gate that a knockd has left in force, `knockd detach` takes it away"
        ),
        Some(Errno::PERM | Errno::ACCESS) => no_rights(),
        _ => error.context(format!("the XDP program cannot be attached to {interface}")),
    }
}
