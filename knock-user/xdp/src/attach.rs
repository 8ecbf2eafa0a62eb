//! Where the program is attached: to the wanted interfaces that there are, in the place of a
//! program of knockd's that is pinned there, and never in that of anybody else's.

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
    /// Attaches the program to the `wanted` interfaces that there are, at once in the place of a
    /// program of knockd's that is `pinned` there. Returns the names that there is no interface of.
    ///
    /// # Errors
    ///
    /// A sentence that says why a named interface cannot be used, and what to do. What was
    /// attached before the error stays so until this is dropped, or for as long as its pin.
    pub fn attach(&mut self, wanted: &Wanted, pinned: Option<&PinDir>) -> Result<Vec<String>> {
        let present = interfaces::list()?;
        // What can fail comes first, so that a start that fails has replaced nothing.
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

    /// Brings what is attached in line with the interfaces that there are now. With `pins`, what
    /// is attached is pinned there.
    ///
    /// # Errors
    ///
    /// The kernel does not say which interfaces there are.
    pub fn follow(&mut self, wanted: &Wanted, pins: Option<&PinDir>) -> Result<Changes> {
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

    /// Puts this program in the place of the one `before` it on the `wanted` interfaces, on each
    /// at once, and attaches it to those that `before` was not on. Returns the names that
    /// there is no interface of. `before` keeps the interfaces that are not wanted any more.
    ///
    /// # Errors
    ///
    /// Like [`Xdp::attach`]; `before` is attached as it was then.
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

    /// PinDir what is attached, and the maps of `gate`: from here on they outlive this process.
    ///
    /// # Errors
    ///
    /// The bpf filesystem refuses, or an interface was attached in a way that cannot be pinned.
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

    /// Where the program is attached.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.attached.links.iter().map(|(attachment, _)| attachment)
    }

    /// The wanted interfaces to which it cannot be attached.
    pub fn refused(&self) -> impl Iterator<Item = &Refusal> {
        self.attached.refused.values()
    }

    fn attach_to(&mut self, interface: &Interface, pinned: Option<&PinDir>) -> Result<()> {
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

    fn pin_last(&mut self, pins: &PinDir) -> Result<()> {
        let Some((attachment, link)) = self.attached.links.pop() else {
            return Ok(());
        };
        let link = link.pin(&attachment, pins)?;
        self.attached.links.push((attachment, link));
        Ok(())
    }
}
