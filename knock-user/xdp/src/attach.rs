//! Attaches the program to the configured interfaces that exist. It replaces a pinned program of
//! an earlier knockd, and never a program of other software.

use std::mem;

use anyhow::{Result, bail};
use aya::programs::XdpMode;
use knockd_types::{
    interface::{Hook, Interface, Wanted},
    status::{Attachment, Mode, Refusal},
};
use rustix::io::Errno;
use tracing::{info, warn};

use crate::{
    error::{Exhausted, errno, no_rights},
    interfaces,
    leases::Gate,
    links::{Entry, Link},
    pins::PinDir,
    plan::Plan,
    program::Xdp,
    refusals::Refusals,
    reserve::Reserve,
    tc,
    traffic::{Counted, Proof},
};

impl Xdp {
    /// Attaches the program to the `wanted` interfaces that exist. Atomically replaces a program
    /// of an earlier knockd that is `pinned` there. Returns the names of missing interfaces.
    ///
    /// # Errors
    ///
    /// Returns an error if the program cannot be attached to an interface that is configured by
    /// name. Earlier attachments persist until this value is dropped, or as long as their pins.
    pub fn attach(&mut self, wanted: &Wanted, pinned: Option<&PinDir>) -> Result<Vec<String>> {
        let present = interfaces::list()?;
        let _reserve = Reserve::take();
        self.set_unrouted(&present)?;
        // Attaching to an interface without a pin is more likely to fail, so it comes first: a
        // failed start should not have replaced any program.
        let links = pinned.map(PinDir::links).unwrap_or_default();
        let has_pin = |index: u32| links.iter().any(|link| link.ifindex == index);
        let mut chosen: Vec<_> = chosen(&present, wanted).collect();
        chosen.sort_by_key(|(interface, _)| has_pin(interface.index));
        for (interface, hook) in chosen {
            if let Err(error) = self.attach_to(interface, hook, &present, pinned) {
                self.refused_by(interface, error, wanted)?;
            }
        }
        self.attached.missing = wanted.missing(&present);
        // What depends on this daemon must not start as if it were protected.
        if self.attached.entries.is_empty()
            && let Some(refusal) = self.attached.refused.values().next()
            && matches!(wanted, Wanted::Named(_))
        {
            bail!("{}", refusal.reason);
        }
        Ok(self.attached.missing.clone())
    }

    /// Atomically replaces `before` with this program on each of the `wanted` interfaces, and
    /// attaches it to those where `before` is not attached. Returns the names of missing
    /// interfaces. `before` keeps its other attachments.
    ///
    /// # Errors
    ///
    /// Returns an error in the same cases as [`Xdp::attach`]. Then `before` keeps all of its
    /// attachments.
    pub fn replace(&mut self, before: &mut Self, wanted: &Wanted) -> Result<Vec<String>> {
        let present = interfaces::list()?;
        let _reserve = Reserve::take();
        self.set_unrouted(&present)?;
        // XDP has one slot, which `before` holds: a new attachment could not have it.
        let keeps_mode = |interface: &Interface, hook| {
            let mut entries = before.attached.entries.iter();
            let entry = entries.find(|entry| entry.ifindex == interface.index);
            entry.is_some_and(|entry| {
                entry.hook == hook || (entry.mode != Mode::Tc && hook != Hook::Tc)
            })
        };
        let (shared, fresh): (Vec<_>, Vec<_>) =
            chosen(&present, wanted).partition(|&(interface, hook)| keeps_mode(interface, hook));
        for (interface, hook) in fresh {
            if let Err(error) = self.attach_to(interface, hook, &present, None) {
                self.refused_by(interface, error, wanted)?;
            }
        }
        for (interface, hook) in shared {
            let Some(mut entry) = before.attached.take(interface) else {
                continue;
            };
            entry.link = self.replace_link(entry.link, entry.mode, interface)?;
            entry.hook = hook;
            entry.proof = self.proof(interface);
            self.attached.entries.push(entry);
        }
        self.counted_before = before.counters()?;
        self.attached.missing = wanted.missing(&present);
        Ok(self.attached.missing.clone())
    }

    /// Pins the links and the maps of `gate`, so that they outlive this process.
    ///
    /// # Errors
    ///
    /// Returns an error if the maps cannot be pinned. A link that cannot be pinned is detached, and its
    /// interface recorded as refused.
    pub fn pin(&mut self, gate: &Gate, pins: &PinDir) -> Result<()> {
        for entry in mem::take(&mut self.attached.entries) {
            self.pin_entry(entry, pins);
        }
        pins.pin_maps(gate)?;
        let entries = self.attached.entries.iter();
        let kept: Vec<_> = entries.map(|entry| (entry.ifindex, entry.mode)).collect();
        // Where this program cannot be attached, that of an earlier knockd stays in force.
        let refused: Vec<_> = self.attached.refused.keys().copied().collect();
        pins.keep_only(&kept, &refused);
        Ok(())
    }

    /// The interfaces that the program is attached to.
    pub fn attachments(&self) -> impl Iterator<Item = Attachment> {
        self.attached.entries.iter().map(Entry::attachment)
    }

    /// The configured interfaces that do not exist.
    pub fn missing(&self) -> &[String] {
        &self.attached.missing
    }

    /// The number of refusals since the last call.
    pub fn take_refusals(&mut self) -> u64 {
        self.attached.take_refusals()
    }

    /// The configured interfaces that the program cannot be attached to.
    pub fn refused(&self) -> impl Iterator<Item = &Refusal> {
        self.attached.refused.values()
    }

    /// Returns `error` if `interface` is configured by name, else records it. What is used up now may
    /// be free later: it keeps no daemon from starting.
    fn refused_by(
        &mut self,
        interface: &Interface,
        error: anyhow::Error,
        wanted: &Wanted,
    ) -> Result<()> {
        match wanted {
            Wanted::Named(_) if !error.is::<Exhausted>() => Err(error),
            Wanted::Named(_) | Wanted::Any(_) => {
                self.attached.refuse(interface, &error);
                Ok(())
            }
        }
    }

    pub(crate) fn attach_to(
        &mut self,
        interface: &Interface,
        hook: Hook,
        present: &[Interface],
        pinned: Option<&PinDir>,
    ) -> Result<()> {
        let plan = Plan::new(interface, hook, present)?;
        let taken_over = pinned.and_then(|pinned| self.take_over(interface, &plan, pinned));
        let (link, mode) = match taken_over {
            Some(taken_over) => taken_over,
            None => {
                let links = pinned.map(PinDir::links).unwrap_or_default();
                let is_ours = links.iter().any(|link| link.ifindex == interface.index);
                self.attach_best(interface, &plan, is_ours)?
            }
        };
        self.attached.refused.remove(&interface.index);
        self.add_entry(interface, hook, mode, link);
        Ok(())
    }

    /// Records that the program is attached to `interface` by `link`.
    pub(crate) fn add_entry(&mut self, interface: &Interface, hook: Hook, mode: Mode, link: Link) {
        self.attached.entries.push(Entry {
            interface: interface.name.clone(),
            ifindex: interface.index,
            mode,
            hook,
            mtu: interface.mtu,
            proof: self.proof(interface),
            link,
        });
    }

    /// Replaces the program in the pinned link of `interface`, if there is one of a mode of
    /// `plan`.
    fn take_over(
        &mut self,
        interface: &Interface,
        plan: &Plan,
        pinned: &PinDir,
    ) -> Option<(Link, Mode)> {
        let links = pinned.links();
        let mut links = links
            .iter()
            .filter(|found| found.ifindex == interface.index && plan.modes.contains(&found.mode));
        links.find_map(|found| {
            let replaced = found
                .open()
                .and_then(|open| self.replace_link(Link::Pinned(open), found.mode, interface));
            match replaced {
                Ok(link) => {
                    info!(
                        "attached to {} in {}, replacing the program of an earlier knockd",
                        interface.name,
                        found.mode.described()
                    );
                    Some((link, found.mode))
                }
                Err(error) => {
                    // The link's interface was deleted, and another one has its index; or its
                    // driver refuses changes.
                    warn!(
                        "the pinned link of {} cannot be reused: {error:#}",
                        interface.name
                    );
                    None
                }
            }
        })
    }

    fn replace_link(&mut self, link: Link, mode: Mode, interface: &Interface) -> Result<Link> {
        match mode {
            Mode::Native | Mode::Generic => link.replace_xdp(self.program()?),
            Mode::Tc => link.replace_tc(self.classifier(interface.framing)?),
        }
    }

    /// Attaches in the best mode that the kernel accepts. Beside the XDP program of a knockd only if
    /// it `is_ours` and its driver does not give it up: two daemons would act on the same knocks.
    pub(crate) fn attach_best(
        &mut self,
        interface: &Interface,
        plan: &Plan,
        is_ours: bool,
    ) -> Result<(Link, Mode)> {
        let mut refusals = Refusals::new(interface, plan);
        for &mode in &plan.modes {
            if refusals.rules_out(mode, is_ours) {
                continue;
            }
            match self.attach_in(interface, mode) {
                Ok(link) => {
                    refusals.log_success(mode);
                    return Ok((link, mode));
                }
                Err(error) if matches!(errno(&error), Some(Errno::PERM | Errno::ACCESS)) => {
                    return Err(no_rights());
                }
                Err(error) => {
                    let is_out_of_files =
                        matches!(errno(&error), Some(Errno::MFILE | Errno::NFILE));
                    refusals.add(mode, error);
                    // No mode needs fewer, and the kernel tells only after it has verified the
                    // program of another one.
                    if is_out_of_files {
                        break;
                    }
                }
            }
        }
        Err(refusals.into_error())
    }

    fn attach_in(&mut self, interface: &Interface, mode: Mode) -> Result<Link> {
        let flags = match mode {
            Mode::Native => XdpMode::Driver,
            Mode::Generic => XdpMode::Skb,
            Mode::Tc => {
                let program = self.classifier(interface.framing)?;
                return Ok(Link::Tc(tc::attach(program, interface.index)?));
            }
        };
        let program = self.program()?;
        let id = program.attach_to_if_index(interface.index, flags)?;
        Ok(Link::Xdp(program.take_link(id)?))
    }

    pub(crate) fn pin_last(&mut self, pins: &PinDir) -> Result<()> {
        let Some(mut entry) = self.attached.entries.pop() else {
            return Ok(());
        };
        entry.link = entry.link.pin(entry.ifindex, entry.mode, pins)?;
        self.attached.entries.push(entry);
        Ok(())
    }

    fn pin_entry(&mut self, mut entry: Entry, pins: &PinDir) {
        match entry.link.pin(entry.ifindex, entry.mode, pins) {
            Ok(link) => {
                entry.link = link;
                self.attached.entries.push(entry);
            }
            Err(error) => {
                let error = error.context(format!("{} cannot be pinned", entry.interface));
                self.attached
                    .refuse_named(entry.ifindex, &entry.interface, &error);
            }
        }
    }

    /// A proof that starts with the counters of now.
    fn proof(&self, interface: &Interface) -> Proof {
        Proof::new(self.counted(interface))
    }

    pub(crate) fn counted(&self, interface: &Interface) -> Counted {
        Counted {
            received: interface.received,
            seen: self.seen(interface.index),
        }
    }
}

/// The `wanted` interfaces of `present`, with the way to attach to each.
pub(crate) fn chosen<'a>(
    present: &'a [Interface],
    wanted: &'a Wanted,
) -> impl Iterator<Item = (&'a Interface, Hook)> {
    let hooks = present.iter().map(|one| (one, wanted.hook(one)));
    hooks.filter_map(|(interface, hook)| Some((interface, hook?)))
}
