//! Follows changes of the host's interfaces: new ones, lost ones, and attached ones on which the
//! program no longer sees packets.

use std::mem;

use anyhow::Result;
use knockd_types::{
    interface::{Hook, Interface, Kind, Wanted},
    status::{Mode, Traffic},
};
use tracing::{info, warn};

use crate::{
    attach::chosen,
    interfaces,
    links::{Changes, lost},
    pins::PinDir,
    plan::Plan,
    program::Xdp,
    reserve::Reserve,
};

/// Why an attached program has to be attached in another way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The program does not see the packets.
    Blind,
    /// The kernel or the driver has removed it.
    Removed,
    /// The interface's MTU has changed, for which the mode may be wrong.
    OtherMtu,
}

impl Xdp {
    /// Updates the attachments after a change of the host's interfaces, and checks which programs see
    /// packets. With `pins`, new links are pinned there.
    ///
    /// # Errors
    ///
    /// Returns an error if the interfaces cannot be listed.
    pub fn follow(&mut self, wanted: &Wanted, pins: Option<&PinDir>) -> Result<Changes> {
        let present = interfaces::list()?;
        let _reserve = Reserve::take();
        self.set_unrouted(&present)?;
        self.attached.missing = wanted.missing(&present);
        let mut changes = Changes::default();
        let mut gone = Vec::new();
        for mut entry in mem::take(&mut self.attached.entries) {
            let interface = present.iter().find(|one| one.index == entry.ifindex);
            if let Some(interface) = interface
                && wanted.includes(interface)
            {
                if interface.name != entry.interface {
                    info!("{} was renamed to {}", entry.interface, interface.name);
                    entry.interface.clone_from(&interface.name);
                }
                self.attached.entries.push(entry);
            } else {
                gone.push((entry, interface));
            }
        }
        self.attached.forget_all_but(&present);
        for (interface, hook) in chosen(&present, wanted) {
            if self.attached.has(interface) {
                self.adapt(interface, hook, &present, pins, &mut changes);
                continue;
            }
            let attached = self
                .attach_to(interface, hook, &present, pins)
                .and_then(|()| pins.map_or(Ok(()), |pins| self.pin_last(pins)));
            match attached {
                Ok(()) => changes.attached += 1,
                Err(error) => self.attached.refuse(interface, &error),
            }
        }
        // Last, so that the gate on a bond is in force before the one on its member ends.
        for (entry, interface) in gone {
            changes.lost += 1;
            lost(entry, interface, pins);
        }
        changes.refused = self.attached.take_refusals();
        Ok(changes)
    }

    /// Checks whether the program sees the packets of an attached interface, and whether its mode is
    /// still possible; attaches it in another way if not.
    fn adapt(
        &mut self,
        interface: &Interface,
        hook: Hook,
        present: &[Interface],
        pins: Option<&PinDir>,
        changes: &mut Changes,
    ) {
        let Some((fault, mode)) = self.fault(interface) else {
            return;
        };
        let mut plan = match Plan::new(interface, hook, present) {
            Ok(plan) => plan,
            Err(error) => {
                // It has become an interface whose packets no program sees.
                if let Some(entry) = self.attached.take(interface) {
                    entry.detach(pins);
                    changes.lost += 1;
                }
                self.attached.refuse(interface, &error);
                return;
            }
        };
        match fault {
            Fault::Blind => {
                // Only later ones, so that it does not change back and forth.
                plan.modes.retain(|other| *other > mode);
                plan.not_native = Some("the program did not see its packets in another mode");
            }
            Fault::OtherMtu if plan.modes.contains(&mode) => return,
            Fault::OtherMtu | Fault::Removed => {}
        }
        if !plan.modes.is_empty() {
            self.attach_again(interface, fault, plan, pins, changes);
        }
    }

    /// Updates what is known about an attached interface. Returns the fault and the present mode.
    fn fault(&mut self, interface: &Interface) -> Option<(Fault, Mode)> {
        let counted = self.counted(interface);
        let mut entries = self.attached.entries.iter_mut();
        let entry = entries.find(|entry| entry.ifindex == interface.index)?;
        let before = entry.proof.traffic;
        // After an XDP program of other software, tc sees only what that one passes.
        if entry.mode != Mode::Tc || interface.program.is_none() {
            entry.proof.update(counted);
        }
        let has_other_mtu = entry.mtu != interface.mtu;
        entry.mtu = interface.mtu;
        let fault = if entry.proof.traffic == Traffic::Missed {
            if before != Traffic::Missed {
                warn!(
                    "{} has received packets that the program in {} has not seen: without another mode, they pass unchecked",
                    interface.name,
                    entry.mode.described()
                );
            }
            Fault::Blind
        } else if matches!(interface.kind, Kind::Blind(_)) {
            Fault::Blind
        } else if entry.mode != Mode::Tc && interface.program.is_none() {
            warn!("the program is no longer attached to {}", interface.name);
            Fault::Removed
        } else if has_other_mtu {
            Fault::OtherMtu
        } else {
            return None;
        };
        Some((fault, entry.mode))
    }

    /// Attaches in a mode of `plan`. The present program stays until then if it is in force and tc
    /// is possible. Otherwise the interface is without a program for a moment: the kernel allows no
    /// second XDP mode.
    fn attach_again(
        &mut self,
        interface: &Interface,
        fault: Fault,
        mut plan: Plan,
        pins: Option<&PinDir>,
        changes: &mut Changes,
    ) {
        let Some(old) = self.attached.take(interface) else {
            return;
        };
        let hook = old.hook;
        let kept = if fault != Fault::Removed && plan.modes.contains(&Mode::Tc) {
            plan.modes = vec![Mode::Tc];
            Some(old)
        } else {
            old.detach(pins);
            None
        };
        match self.attach_best(interface, &plan, true) {
            Ok((link, mode)) => {
                self.add_entry(interface, hook, mode, link);
                if let Some(pins) = pins
                    && let Err(error) = self.pin_last(pins)
                {
                    // The new attachment is gone with its link.
                    warn!("{} cannot be pinned: {error:#}", interface.name);
                    self.attached.entries.extend(kept);
                    return;
                }
                if let Some(old) = kept {
                    old.detach(pins);
                }
                changes.attached += 1;
            }
            Err(error) => match kept {
                Some(old) => {
                    warn!("{error:#}");
                    self.attached.entries.push(old);
                }
                None => {
                    self.attached.refuse(interface, &error);
                    changes.lost += 1;
                }
            },
        }
    }
}
