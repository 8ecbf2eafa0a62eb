//! What is measured, at one moment.

use tracing::warn;

use super::{Daemon, Source};
use crate::daemon::{clock::monotonic, gate::Gate, metrics::Snapshot};

impl Daemon {
    /// Everything but the leases, which take long to count where there are many, and the gate
    /// that they are counted in.
    pub(super) fn snapshot(&mut self) -> (Snapshot, Option<Gate>) {
        self.assembler.forget(monotonic());
        let mut snapshot = Snapshot {
            daemon: self.counters,
            open_doors: self.open_doors(),
            sources_in_progress: self.assembler.sources(),
            tails: self.tails,
            ..Snapshot::default()
        };
        if let Source::Xdp(xdp, _) = &self.source {
            for attachment in xdp.attachments() {
                snapshot.attachments.push(attachment.clone());
            }
            match xdp.counters() {
                Ok(counters) => snapshot.kernel = counters,
                Err(error) => warn!("the kernel's counters cannot be read: {error:#}"),
            }
        }
        let rules = self.config.gate.as_ref().map(|gate| &gate.rules);
        let (Some(rules), Some(gate)) = (rules, &self.gate) else {
            return (snapshot, None);
        };
        snapshot.gate = Some(rules.mode);
        let gate = gate
            .try_clone()
            .inspect_err(|error| warn!("the kernel's leases cannot be counted: {error}"));
        (snapshot, gate.ok())
    }

    /// How many have a door open, by its name.
    fn open_doors(&self) -> Vec<(String, usize)> {
        let doors = self.config.doors.iter();
        let mut open_doors: Vec<_> = doors.map(|door| (door.name.clone(), 0)).collect();
        for open in self.doors.open() {
            let name = &self.catalog.door(open.visit.door).name;
            if let Some((_, count)) = open_doors.iter_mut().find(|(door, _)| door == name) {
                *count += 1;
            }
        }
        open_doors
    }
}
