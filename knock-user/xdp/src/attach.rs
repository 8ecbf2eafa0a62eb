//! Attaches the program to the configured interfaces that exist. It replaces a pinned program of
//! an earlier knockd, and never a program of other software.

use anyhow::Result;
use knockd_types::{
    interface::{Interface, Wanted},
    status::{Attachment, Refusal},
};
use tracing::info;

use crate::{
    interfaces,
    leases::Gate,
    links::{Changes, Link, attach, lost, take_over},
    pins::PinDir,
    program::Xdp,
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
        // Attaching to an interface without a pin is more likely to fail, so it comes first: a
        // failed start should not have replaced any program.
        let links = pinned.map(PinDir::links).unwrap_or_default();
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

    /// Updates the attachments after a change of the host's interfaces. With `pins`, new links
    /// are pinned there.
    ///
    /// # Errors
    ///
    /// Returns an error if the interfaces cannot be listed.
    pub fn follow(&mut self, wanted: &Wanted, pins: Option<&PinDir>) -> Result<Changes> {
        let present = interfaces::list()?;
        let mut changes = Changes::default();
        self.attached.links.retain_mut(|(attachment, _)| {
            let interface = present.iter().find(|one| one.index == attachment.ifindex);
            let stays = interface.is_some_and(|interface| {
                if interface.name != attachment.interface && wanted.includes(interface) {
                    info!("{} was renamed to {}", attachment.interface, interface.name);
                    attachment.interface.clone_from(&interface.name);
                }
                interface.name == attachment.interface
            });
            if !stays {
                changes.lost += 1;
                lost(attachment, interface, pins);
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

    /// Pins the links and the maps of `gate`, so that they outlive this process.
    ///
    /// # Errors
    ///
    /// Returns an error if a pin cannot be created, or if an interface is attached without a BPF
    /// link.
    pub fn pin(&mut self, gate: &Gate, pins: &PinDir) -> Result<()> {
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

    /// The interfaces that the program is attached to.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attached.links.iter().map(|(attachment, _)| attachment)
    }

    /// The configured interfaces that the program cannot be attached to.
    pub fn refused(&self) -> impl Iterator<Item = &Refusal> {
        self.attached.refused.values()
    }

    fn attach_to(&mut self, interface: &Interface, pinned: Option<&PinDir>) -> Result<()> {
        let program = self.program()?;
        let taken_over = pinned.and_then(|pinned| take_over(program, interface, pinned));
        let (link, mode) = match taken_over {
            Some((link, mode)) => {
                info!(
                    "attached to {} in {mode} XDP mode, replacing the program of an earlier knockd",
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

    fn pin_last(&mut self, pins: &PinDir) -> Result<()> {
        let Some((attachment, link)) = self.attached.links.pop() else {
            return Ok(());
        };
        let link = link.pin(&attachment, pins)?;
        self.attached.links.push((attachment, link));
        Ok(())
    }
}
