//! BPF links, which attach the program to an interface.
//!
//! A pinned link of an earlier knockd is reused. An XDP program of other software is never
//! replaced.

use std::collections::HashMap;

use anyhow::{Result, anyhow, bail};
use aya::programs::{
    Xdp as Program, XdpMode,
    links::{FdLink, PinnedLink},
    loaded_programs,
    xdp::{XdpLink, XdpLinkId},
};
use knockd_types::{
    interface::Interface,
    status::{Attachment, Mode, Refusal},
};
use rustix::io::Errno;
use tracing::{info, warn};

use crate::{
    error::{errno, no_rights},
    pins::PinDir,
};

/// The attachments, and the interfaces that the program cannot be attached to.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    pub(crate) links: Vec<(Attachment, Link)>,
    /// The reasons, by interface index. Each is logged once.
    pub(crate) refused: HashMap<u32, Refusal>,
}

/// A BPF link. Dropping it detaches the program, unless the link is pinned.
#[derive(Debug)]
pub(crate) enum Link {
    Held(XdpLink),
    Pinned(PinnedLink),
}

/// The number of interfaces whose attachment has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New attachments.
    pub attached: u64,
    /// Lost attachments: the interface disappeared, or has a new name that is not configured.
    pub lost: u64,
}

impl Attached {
    /// Whether the program is attached to `interface`.
    pub(crate) fn has(&self, interface: &Interface) -> bool {
        let mut indices = self.links.iter().map(|(attachment, _)| attachment.ifindex);
        indices.any(|index| index == interface.index)
    }

    /// Removes and returns the attachment to `interface`.
    pub(crate) fn take(&mut self, interface: &Interface) -> Option<(Attachment, Link)> {
        let mut links = self.links.iter();
        let place = links.position(|(attachment, _)| attachment.ifindex == interface.index)?;
        Some(self.links.swap_remove(place))
    }

    /// Records and logs that the program cannot be attached to `interface` because of `error`.
    pub(crate) fn refuse(&mut self, interface: &Interface, error: &anyhow::Error) {
        let refusal = Refusal {
            interface: interface.name.clone(),
            reason: format!("{error:#}"),
        };
        if self.refused.get(&interface.index) != Some(&refusal) {
            warn!("{}", refusal.reason);
            self.refused.insert(interface.index, refusal);
        }
    }

    /// Removes the refusals of interfaces that are not `present`.
    pub(crate) fn forget_all_but(&mut self, present: &[Interface]) {
        self.refused
            .retain(|index, _| present.iter().any(|one| one.index == *index));
    }
}

impl Link {
    /// The link in the form that aya can update.
    ///
    /// # Errors
    ///
    /// Returns an error if a pinned link is not an XDP link.
    pub(crate) fn into_link(self) -> Result<XdpLink> {
        match self {
            Self::Held(link) => Ok(link),
            Self::Pinned(link) => Ok(XdpLink::try_from(FdLink::from(link))?),
        }
    }

    /// Pins the link, unless it is pinned already.
    ///
    /// # Errors
    ///
    /// Returns an error if the pin cannot be created or the interface is attached without a BPF
    /// link.
    pub(crate) fn pin(self, attachment: &Attachment, pins: &PinDir) -> Result<Self> {
        match self {
            Self::Held(link) => {
                let link = FdLink::try_from(link)?;
                let pinned = pins.pin_link(attachment.ifindex, attachment.mode, link)?;
                Ok(Self::Pinned(pinned))
            }
            Self::Pinned(_) => Ok(self),
        }
    }
}

/// Replaces the program in the pinned link of `interface` with `program`, if there is such a
/// link.
pub(crate) fn take_over(
    program: &mut Program,
    interface: &Interface,
    pinned: &PinDir,
) -> Option<(XdpLinkId, Mode)> {
    let links = pinned.links();
    let mut links = links.iter().filter(|link| link.ifindex == interface.index);
    links.find_map(|link| {
        let replaced = link
            .open()
            .and_then(|open| Ok(program.attach_to_link(XdpLink::try_from(open)?)?));
        match replaced {
            Ok(id) => Some((id, link.mode)),
            Err(error) => {
                // The link's interface was deleted, and another one has its index.
                warn!("a pinned link cannot be reused: {error:#}");
                None
            }
        }
    })
}

/// Attaches in native mode, or in generic mode if the driver does not support native mode.
pub(crate) fn attach(program: &mut Program, interface: &Interface) -> Result<(XdpLinkId, Mode)> {
    let name = &interface.name;
    if !interface.has_ethernet {
        bail!(
            "`{name}` carries no Ethernet frames (like all tun, ppp, WireGuard and other tunnel interfaces): attach to the interface below it"
        );
    }
    let native = match program.attach_to_if_index(interface.index, XdpMode::Driver) {
        Ok(link) => {
            info!("attached to {name} in native XDP mode");
            return Ok((link, Mode::Native));
        }
        Err(error) => anyhow!(error),
    };
    match errno(&native) {
        // The driver does not support XDP (OPNOTSUPP), or not with the current MTU or features
        // (RANGE or INVAL, depending on the driver).
        Some(Errno::OPNOTSUPP | Errno::RANGE | Errno::INVAL) => {}
        _ => return Err(unattachable(native, interface)),
    }
    let link = program
        .attach_to_if_index(interface.index, XdpMode::Skb)
        .map_err(|error| unattachable(error.into(), interface))?;
    warn!(
        "attached to {name} in generic XDP mode, because its driver does not support native mode: {native:#}"
    );
    Ok((link, Mode::Generic))
}

/// The error for the administrator if attaching the program to `interface` fails with `error`.
fn unattachable(error: anyhow::Error, interface: &Interface) -> anyhow::Error {
    let name = &interface.name;
    match errno(&error) {
        Some(Errno::BUSY | Errno::EXIST) => anyhow!(
            "another XDP program{} is attached to {name}, and knockd does not replace it: `ip link show dev {name}` shows it, `ip link set dev {name} xdp off` removes it. If it is the gate of a knockd that has exited, `knockd detach` removes it",
            described(interface.program)
        ),
        Some(Errno::PERM | Errno::ACCESS) => no_rights(),
        _ => error.context(format!("the XDP program cannot be attached to {name}")),
    }
}

/// The name and id of a loaded program, as far as known, worded to follow "program".
fn described(id: Option<u32>) -> String {
    let Some(id) = id else { return String::new() };
    let mut programs = loaded_programs().filter_map(Result::ok);
    let name = programs
        .find(|program| program.id() == id)
        .and_then(|program| program.name_as_str().map(str::to_owned));
    match name {
        Some(name) => format!(", `{name}` with id {id},"),
        None => format!(" with id {id}"),
    }
}

/// Logs that the interface of `attachment` disappeared, or was renamed to `renamed`, and removes
/// its pin.
pub(crate) fn lost(attachment: &Attachment, renamed: Option<&Interface>, pins: Option<&PinDir>) {
    match renamed {
        Some(renamed) => warn!(
            "{} was renamed to {}, which is not configured: detaching from it",
            attachment.interface, renamed.name
        ),
        None => warn!("{} disappeared: waiting for it", attachment.interface),
    }
    if let Some(pins) = pins {
        pins.remove_link(attachment.ifindex, attachment.mode);
    }
}
