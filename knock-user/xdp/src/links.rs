//! Links, which attach a program to an interface.
//!
//! A pinned link of an earlier knockd is reused. A program of other software is never replaced.

use std::{collections::HashMap, mem};

use anyhow::{Result, bail};
use aya::programs::{
    SchedClassifier, Xdp as Program, links::FdLink, loaded_programs, tc::SchedClassifierLink,
    xdp::XdpLink,
};
use knockd_types::{
    interface::{Hook, Interface},
    status::{Attachment, Mode, Refusal},
};
use tracing::warn;

use crate::{
    pins::{PinDir, Pinned},
    tc::{Filter, is_filter},
    traffic::Proof,
};

/// The attachments, and the interfaces that the program cannot be attached to.
#[derive(Debug, Default)]
pub(crate) struct Attached {
    pub(crate) entries: Vec<Entry>,
    /// The reasons, by interface index. Each is logged once.
    pub(crate) refused: HashMap<u32, Refusal>,
    /// The wanted interfaces that did not exist when they were last listed, by the wanted name.
    pub(crate) missing: Vec<String>,
    /// How often one was recorded.
    refusals: u64,
}

/// An attachment.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) interface: String,
    pub(crate) ifindex: u32,
    pub(crate) mode: Mode,
    /// How it was wanted to be attached.
    pub(crate) hook: Hook,
    /// The MTU for which the mode was chosen.
    pub(crate) mtu: u32,
    pub(crate) proof: Proof,
    pub(crate) link: Link,
}

impl Entry {
    /// Detaches the program and removes its pin.
    pub(crate) fn detach(self, pins: Option<&PinDir>) {
        if let Some(pins) = pins {
            pins.remove_link(self.ifindex, self.mode);
        }
        // Any other link is released when it is dropped.
        if let Link::Pinned(Pinned::Filter(filter)) = self.link {
            filter.remove();
        }
    }

    /// For display.
    pub(crate) fn attachment(&self) -> Attachment {
        Attachment {
            interface: self.interface.clone(),
            ifindex: self.ifindex,
            mode: self.mode,
            traffic: self.proof.traffic,
        }
    }
}

/// What keeps the program attached. Dropping it detaches the program, unless it is pinned.
#[derive(Debug)]
pub(crate) enum Link {
    Xdp(XdpLink),
    Tc(SchedClassifierLink),
    Pinned(Pinned),
}

/// The number of interfaces whose attachment has changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// New attachments.
    pub attached: u64,
    /// Lost attachments: the interface disappeared, or has a new name that is not configured.
    pub lost: u64,
    /// Interfaces that the program cannot be attached to, each counted once for each reason.
    pub refused: u64,
}

impl Attached {
    /// Whether the program is attached to `interface`.
    pub(crate) fn has(&self, interface: &Interface) -> bool {
        let mut entries = self.entries.iter();
        entries.any(|entry| entry.ifindex == interface.index)
    }

    /// Removes and returns the attachment to `interface`.
    pub(crate) fn take(&mut self, interface: &Interface) -> Option<Entry> {
        let mut entries = self.entries.iter();
        let place = entries.position(|entry| entry.ifindex == interface.index)?;
        Some(self.entries.swap_remove(place))
    }

    /// Records and logs that the program cannot be attached to `interface` because of `error`.
    pub(crate) fn refuse(&mut self, interface: &Interface, error: &anyhow::Error) {
        self.refuse_named(interface.index, &interface.name, error);
    }

    /// The same for the interface with this index and name.
    pub(crate) fn refuse_named(&mut self, index: u32, name: &str, error: &anyhow::Error) {
        let refusal = Refusal {
            interface: name.to_owned(),
            reason: format!("{error:#}"),
        };
        if self.refused.get(&index) != Some(&refusal) {
            warn!("{}", refusal.reason);
            self.refused.insert(index, refusal);
            self.refusals += 1;
        }
    }

    /// The number of refusals that were recorded since the last call.
    pub(crate) fn take_refusals(&mut self) -> u64 {
        mem::take(&mut self.refusals)
    }

    /// Removes the refusals of interfaces that are not `present`.
    pub(crate) fn forget_all_but(&mut self, present: &[Interface]) {
        self.refused
            .retain(|index, _| present.iter().any(|one| one.index == *index));
    }
}

impl Link {
    /// Replaces the XDP program atomically.
    ///
    /// # Errors
    ///
    /// Returns an error if this is not an XDP link, or if the kernel refuses the program.
    pub(crate) fn replace_xdp(self, program: &mut Program) -> Result<Self> {
        let link = match self {
            Self::Xdp(link) => link,
            Self::Pinned(Pinned::Link(link)) => XdpLink::try_from(FdLink::from(link))?,
            Self::Tc(_) | Self::Pinned(Pinned::Filter(_)) => bail!("not an XDP link"),
        };
        let id = program.attach_to_link(link)?;
        Ok(Self::Xdp(program.take_link(id)?))
    }

    /// Replaces the tc program atomically.
    ///
    /// # Errors
    ///
    /// Returns an error if this is an XDP link, or if the kernel refuses the program.
    pub(crate) fn replace_tc(self, program: &mut SchedClassifier) -> Result<Self> {
        let link = match self {
            Self::Tc(link) => link,
            Self::Pinned(Pinned::Link(link)) => SchedClassifierLink::try_from(FdLink::from(link))?,
            // It stays pinned: if this process fails now, the filter must not go with it.
            Self::Pinned(Pinned::Filter(filter)) => {
                filter.replace(program)?;
                return Ok(Self::Pinned(Pinned::Filter(filter)));
            }
            Self::Xdp(_) => bail!("not a tc link"),
        };
        let id = program.attach_to_link(link)?;
        Ok(Self::Tc(program.take_link(id)?))
    }

    /// Pins the link, unless it is pinned already.
    ///
    /// # Errors
    ///
    /// Returns an error if the pin cannot be created or the interface is attached without a BPF
    /// link.
    pub(crate) fn pin(self, ifindex: u32, mode: Mode, pins: &PinDir) -> Result<Self> {
        let link = match self {
            Self::Xdp(link) => FdLink::try_from(link)?,
            Self::Tc(link) if is_filter(&link) => {
                pins.mark_filter(ifindex)?;
                Filter::keep(link);
                return Ok(Self::Pinned(Pinned::Filter(Filter(ifindex))));
            }
            Self::Tc(link) => FdLink::try_from(link)?,
            Self::Pinned(_) => return Ok(self),
        };
        let link = pins.pin_link(ifindex, mode, link)?;
        Ok(Self::Pinned(Pinned::Link(link)))
    }
}

/// The name and id of a loaded program, as far as known, worded to follow "program".
pub(crate) fn described(id: Option<u32>) -> String {
    let Some(id) = id else { return String::new() };
    match name(id).as_deref() {
        Some(name @ "xdp_dispatcher") => {
            format!(", libxdp's dispatcher `{name}` with id {id},")
        }
        Some(name) => format!(", `{name}` with id {id},"),
        None => format!(" with id {id}"),
    }
}

/// Whether the program with this id is one of a knockd.
pub(crate) fn is_of_knockd(id: Option<u32>) -> bool {
    id.and_then(name)
        .is_some_and(|name| name.starts_with("knock_xdp"))
}

fn name(id: u32) -> Option<String> {
    let mut programs = loaded_programs().filter_map(Result::ok);
    let program = programs.find(|program| program.id() == id)?;
    program.name_as_str().map(str::to_owned)
}

/// Detaches from an interface that disappeared, or is no longer selected as it is `now`, and removes
/// the pin.
pub(crate) fn lost(entry: Entry, now: Option<&Interface>, pins: Option<&PinDir>) {
    let name = &entry.interface;
    match now {
        Some(now) if now.name != *name => warn!(
            "{name} was renamed to {}, which is not configured: detaching from it",
            now.name
        ),
        Some(now) if now.is_member => warn!(
            "{name} has become a member of another interface, which receives its packets: detaching from it"
        ),
        Some(_) => warn!("{name} is no longer one of the configured interfaces: detaching from it"),
        None => warn!("{name} disappeared: waiting for it"),
    }
    entry.detach(pins);
}
