//! Where the program is attached: to the wanted interfaces that there are, in the place of a
//! program of knockd's that is pinned there, and never in that of anybody else's.

use std::collections::HashMap;

use anyhow::{Result, anyhow, bail};
use aya::programs::{
    Xdp as Program, XdpMode,
    links::{FdLink, PinnedLink},
    loaded_programs,
    xdp::{XdpLink, XdpLinkId},
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::{Mode, Xdp, errno, no_rights};
use crate::daemon::{
    gate::{Gate, pins::Pins},
    source::interfaces::{self, Interface, Wanted},
};

/// An interface that the program is attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// The interface's name.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// How the program runs there.
    pub mode: Mode,
}

/// The attachments, and the interfaces that there is none for.
#[derive(Debug, Default)]
pub(super) struct Attached {
    links: Vec<(Attachment, Link)>,
    /// Why there is none, by the interface's index. Told once.
    refused: HashMap<u32, Refusal>,
}

/// What holds the program on an interface. Dropping it detaches the program, unless it is pinned.
#[derive(Debug)]
enum Link {
    Held(XdpLink),
    Pinned(PinnedLink),
}

/// An interface that the program cannot be attached to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The interface's name.
    pub interface: String,
    /// Why, for a person.
    pub reason: String,
}

/// How often interfaces came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Attached to.
    pub attached: u64,
    /// Gone, or renamed to something that is not wanted.
    pub lost: u64,
}

impl Xdp {
    /// Attaches the program to the `wanted` interfaces that there are, at once in the place of a
    /// program of knockd's that is `pinned` there. Returns the names that there is no interface of.
    ///
    /// # Errors
    ///
    /// A sentence that says why a named interface cannot be used, and what to do. What was
    /// attached before the error stays so until this is dropped, or for as long as its pin.
    pub fn attach(&mut self, wanted: &Wanted, pinned: Option<&Pins>) -> Result<Vec<String>> {
        let present = interfaces::list()?;
        // What can fail comes first, so that a start that fails has replaced nothing.
        let links = pinned.map(Pins::links).unwrap_or_default();
        let has_pin = |index: u32| links.iter().any(|link| link.ifindex == index);
        let mut chosen: Vec<_> = present.iter().filter(|one| wanted.includes(one)).collect();
        chosen.sort_by_key(|interface| has_pin(interface.index));
        for interface in chosen {
            if let Err(error) = self.attach_to(interface, pinned) {
                if matches!(wanted, Wanted::Named(_)) {
                    return Err(error);
                }
                self.attached.refuse(interface, &error);
            }
        }
        Ok(wanted.missing(&present))
    }

    /// Brings what is attached in line with the interfaces that there are now. With `pins`, what
    /// is attached is pinned there.
    ///
    /// # Errors
    ///
    /// The kernel does not say which interfaces there are.
    pub fn follow(&mut self, wanted: &Wanted, pins: Option<&Pins>) -> Result<Changes> {
        let present = interfaces::list()?;
        let mut changes = Changes::default();
        self.attached.links.retain_mut(|(attachment, _)| {
            let interface = present.iter().find(|one| one.index == attachment.ifindex);
            let stays = interface.is_some_and(|interface| {
                if interface.name != attachment.interface && wanted.includes(interface) {
                    info!("{} is called {} now", attachment.interface, interface.name);
                    attachment.interface.clone_from(&interface.name);
                }
                interface.name == attachment.interface
            });
            if !stays {
                changes.lost += 1;
                attachment.lost(interface, pins);
            }
            stays
        });
        self.attached.forget_all_but(&present);
        for interface in present.iter().filter(|one| wanted.includes(one)) {
            if self.attached.has(interface) {
                continue;
            }
            let attached = self
                .attach_to(interface, None)
                .and_then(|()| pins.map_or(Ok(()), |pins| self.pin_last(pins)));
            match attached {
                Ok(()) => changes.attached += 1,
                Err(error) => self.attached.refuse(interface, &error),
            }
        }
        Ok(changes)
    }

    /// Puts this program in the place of the one `before` it on the `wanted` interfaces, on each
    /// at once, and attaches it to those that `before` was not on. Returns the names that
    /// there is no interface of. `before` keeps the interfaces that are not wanted any more.
    ///
    /// # Errors
    ///
    /// Like [`Xdp::attach`]; `before` is attached as it was then.
    pub fn succeed(&mut self, before: &mut Self, wanted: &Wanted) -> Result<Vec<String>> {
        let present = interfaces::list()?;
        let (shared, fresh): (Vec<_>, Vec<_>) = present
            .iter()
            .filter(|one| wanted.includes(one))
            .partition(|one| before.attached.has(one));
        for interface in fresh {
            if let Err(error) = self.attach_to(interface, None) {
                if matches!(wanted, Wanted::Named(_)) {
                    return Err(error);
                }
                self.attached.refuse(interface, &error);
            }
        }
        for interface in shared {
            let Some((attachment, link)) = before.attached.take(interface) else {
                continue;
            };
            let program = self.program()?;
            let replaced = program.attach_to_link(link.into_link()?)?;
            let link = Link::Held(program.take_link(replaced)?);
            self.attached.links.push((attachment, link));
        }
        self.counted_before = before.counters()?;
        Ok(wanted.missing(&present))
    }

    /// Pins what is attached, and the maps of `gate`: from here on they outlive this process.
    ///
    /// # Errors
    ///
    /// The bpf filesystem refuses, or an interface was attached in a way that cannot be pinned.
    pub fn pin(&mut self, gate: &Gate, pins: &Pins) -> Result<()> {
        for (attachment, link) in std::mem::take(&mut self.attached.links) {
            let link = link.pin(&attachment, pins)?;
            self.attached.links.push((attachment, link));
        }
        pins.pin_maps(gate)?;
        let kept: Vec<_> = self
            .attachments()
            .map(|attachment| (attachment.ifindex, attachment.mode))
            .collect();
        pins.keep_only(&kept);
        Ok(())
    }

    /// Where the program is attached.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attached.links.iter().map(|(attachment, _)| attachment)
    }

    /// The wanted interfaces to which it cannot be attached.
    pub fn refused(&self) -> impl Iterator<Item = &Refusal> {
        self.attached.refused.values()
    }

    fn attach_to(&mut self, interface: &Interface, pinned: Option<&Pins>) -> Result<()> {
        let program = self.program()?;
        let taken_over = pinned.and_then(|pinned| take_over(program, interface, pinned));
        let (link, mode) = match taken_over {
            Some((link, mode)) => {
                info!(
                    "attached to {} in {mode} XDP mode, in the place of a knockd before this one",
                    interface.name
                );
                (link, mode)
            }
            None => attach(program, interface)?,
        };
        let link = Link::Held(program.take_link(link)?);
        self.attached.refused.remove(&interface.index);
        let attachment = Attachment {
            interface: interface.name.clone(),
            ifindex: interface.index,
            mode,
        };
        self.attached.links.push((attachment, link));
        Ok(())
    }

    fn pin_last(&mut self, pins: &Pins) -> Result<()> {
        let Some((attachment, link)) = self.attached.links.pop() else {
            return Ok(());
        };
        let link = link.pin(&attachment, pins)?;
        self.attached.links.push((attachment, link));
        Ok(())
    }
}

impl Attached {
    fn has(&self, interface: &Interface) -> bool {
        let mut indices = self.links.iter().map(|(attachment, _)| attachment.ifindex);
        indices.any(|index| index == interface.index)
    }

    fn take(&mut self, interface: &Interface) -> Option<(Attachment, Link)> {
        let mut links = self.links.iter();
        let place = links.position(|(attachment, _)| attachment.ifindex == interface.index)?;
        Some(self.links.swap_remove(place))
    }

    fn refuse(&mut self, interface: &Interface, error: &anyhow::Error) {
        let refusal = Refusal {
            interface: interface.name.clone(),
            reason: format!("{error:#}"),
        };
        if self.refused.get(&interface.index) != Some(&refusal) {
            warn!("{}", refusal.reason);
            self.refused.insert(interface.index, refusal);
        }
    }

    fn forget_all_but(&mut self, present: &[Interface]) {
        self.refused
            .retain(|index, _| present.iter().any(|one| one.index == *index));
    }
}

impl Attachment {
    /// Tells that the interface is gone, or that `now` it is one that is not wanted.
    fn lost(&self, now: Option<&Interface>, pins: Option<&Pins>) {
        match now {
            Some(now) => warn!(
                "{} is called {} now, and left alone",
                self.interface, now.name
            ),
            None => warn!("{} is gone: waiting for it", self.interface),
        }
        if let Some(pins) = pins {
            pins.remove_link(self.ifindex, self.mode);
        }
    }
}

impl Link {
    fn into_link(self) -> Result<XdpLink> {
        match self {
            Self::Held(link) => Ok(link),
            Self::Pinned(link) => Ok(XdpLink::try_from(FdLink::from(link))?),
        }
    }

    fn pin(self, attachment: &Attachment, pins: &Pins) -> Result<Self> {
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

/// Puts `program` in the place of the one that is pinned on the interface, if one is.
fn take_over(
    program: &mut Program,
    interface: &Interface,
    pinned: &Pins,
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
                // The interface that it held is gone, and another has its index.
                warn!("a pinned link cannot be taken over: {error:#}");
                None
            }
        }
    })
}

/// Attaches in native mode, or in generic mode where the driver cannot.
fn attach(program: &mut Program, interface: &Interface) -> Result<(XdpLinkId, Mode)> {
    let name = &interface.name;
    if !interface.has_ethernet {
        bail!(
            "`{name}` carries no Ethernet frames (tun, ppp, WireGuard and other tunnels do not): attach to the interface below it"
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
        // The driver has no XDP, or none at this MTU or with these features. Where it has
        // a say, RANGE and INVAL are what drivers return for those.
        Some(Errno::OPNOTSUPP | Errno::RANGE | Errno::INVAL) => {}
        _ => return Err(unattachable(native, interface)),
    }
    let link = program
        .attach_to_if_index(interface.index, XdpMode::Skb)
        .map_err(|error| unattachable(error.into(), interface))?;
    warn!("attached to {name} in generic XDP mode, since its driver cannot do native: {native:#}");
    Ok((link, Mode::Generic))
}

fn unattachable(error: anyhow::Error, interface: &Interface) -> anyhow::Error {
    let name = &interface.name;
    match errno(&error) {
        Some(Errno::BUSY | Errno::EXIST) => anyhow!(
            "another XDP program{} is attached to {name}, and knockd does not replace it: `ip link show dev {name}` shows it, `ip link set dev {name} xdp off` removes it. If it is the gate that a knockd has left in force, `knockd detach` takes it away",
            described(interface.program)
        ),
        Some(Errno::PERM | Errno::ACCESS) => no_rights(),
        _ => error.context(format!("the XDP program cannot be attached to {name}")),
    }
}

/// The name and the id of a loaded program, as far as the kernel tells.
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
