//! The doors and their leases.
//!
//! The ledger decides when a door opens and closes, and keeps everything that belongs to an open
//! door in step: its lease in the gate, its record in the journal, and its command. A record is on
//! disk before anything opens, and is removed after everything is closed.

mod commands;
mod restore;
mod status;

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use knock_common::gate::LeaseKey;
use knockd_config::Config;
use knockd_ipc::message::Effect;
use knockd_runtime::clock::monotonic;
use knockd_types::{
    counters::Counters,
    event::{AdmissionInfo, Event},
};
use knockd_xdp::leases::OpenError;
use tokio::sync::mpsc;
use tracing::warn;

use crate::{
    catalog::Catalog,
    doors::{Action, Admission, DoorKey, Doors, Grant, OpenDoor, Step, Task},
    exec::{Ending, Executor},
    lease_gate::LeaseGate,
    lease_journal::LeaseJournal,
    lease_store::LeaseStore,
    reporter::Reporter,
};

/// All doors and clients, and the open doors with their leases, commands and journal.
#[derive(Debug)]
pub(crate) struct Ledger {
    catalog: Catalog,
    doors: Doors,
    journal: LeaseJournal,
    executor: Executor<Task>,
    endings: mpsc::UnboundedReceiver<(Task, Ending)>,
    reporter: Reporter,
    counters: Counters,
    /// Whether commands and the journal are only simulated.
    is_dry_run: bool,
}

/// The knock or the administrator's command that opens a door.
struct Entry {
    admission: AdmissionInfo,
    /// The arrival of the knock's last packet, if there was a knock and its latency is measured.
    arrival: Option<Duration>,
}

impl Ledger {
    /// A ledger of the doors of `config` in which none is open. Without a `store` the
    /// configuration must have no door that has to be closed.
    ///
    /// # Errors
    ///
    /// Returns an error if commands cannot be run.
    pub(crate) fn new(
        config: &Config,
        store: Option<LeaseStore>,
        reporter: Reporter,
    ) -> Result<Self> {
        let limits = config.limits;
        let (executor, endings) = Executor::new(limits.commands, limits.command_timeout)?;
        Ok(Self {
            catalog: Catalog::new(config),
            doors: Doors::new(limits.open_doors),
            journal: LeaseJournal::new(store, reporter.clone()),
            executor,
            endings,
            reporter,
            counters: Counters::default(),
            is_dry_run: false,
        })
    }

    /// Stops running commands and writing the journal.
    pub(crate) fn dry_run(&mut self) {
        self.is_dry_run = true;
    }

    /// Adopts the doors, clients and limits of another configuration, with the store that it
    /// requires if there was none.
    pub(crate) fn configure(&mut self, config: &Config, store: Option<LeaseStore>) {
        if let Some(store) = store {
            self.journal.set_store(store);
        }
        self.catalog.update(config);
        let limits = config.limits;
        self.doors.set_max(limits.open_doors);
        self.executor
            .set_limits(limits.commands, limits.command_timeout);
    }

    /// The doors and clients.
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Whether there is a store for the journal.
    pub(crate) fn has_store(&self) -> bool {
        self.journal.has_store()
    }

    /// Whether no door is open and no command is running.
    pub(crate) fn is_empty(&self) -> bool {
        self.doors.is_empty()
    }

    /// Every door that is not closed.
    pub(crate) fn open_doors(&self) -> impl Iterator<Item = OpenDoor> {
        self.doors.open()
    }

    /// Whether this door is open to this source.
    pub(crate) fn has_open(&self, key: DoorKey) -> bool {
        self.doors.get(&key).is_some()
    }

    /// The number of the client whose knock was the last that opened or extended this door.
    pub(crate) fn holder(&self, key: DoorKey) -> Option<usize> {
        self.doors.get(&key).map(|open| open.client)
    }

    /// The time at which [`Ledger::expire`] has to be called next.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.doors.next_deadline()
    }

    /// The next command that ends, for [`Ledger::ended`]. Cancel-safe.
    pub(crate) async fn next_ending(&mut self) -> Option<(Task, Ending)> {
        self.endings.recv().await
    }

    /// The counters of doors and commands.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Opens a door, or extends its lease. Returns `false` if too many doors are open. `arrival`
    /// is the arrival of the knock's last packet, if the latency is measured.
    pub(crate) fn open(
        &mut self,
        gate: &mut dyn LeaseGate,
        key: DoorKey,
        grant: Grant,
        arrival: Option<Duration>,
    ) -> bool {
        let admission = AdmissionInfo {
            client: self.catalog.client(grant.client).to_owned(),
            door: self.catalog.door(key.door).name.clone(),
            source: key.source,
            seconds: grant.lease.as_secs(),
        };
        match self.doors.admit(key, grant, monotonic()) {
            Admission::Opens(task) => {
                self.write_journal(key);
                let entry = Entry { admission, arrival };
                self.start(gate, &task, Some(entry));
            }
            Admission::Extends => {
                self.write_journal(key);
                self.renew(gate, key);
                self.extended(admission);
            }
            Admission::Reopens => {
                self.write_journal(key);
                self.extended(admission);
            }
            Admission::Full => return false,
        }
        true
    }

    fn extended(&mut self, admission: AdmissionInfo) {
        self.counters.extended += 1;
        self.reporter.report(Event::Extended(admission));
    }

    /// Ends a lease before it expires.
    pub(crate) fn revoke(&mut self, gate: &mut dyn LeaseGate, key: DoorKey) {
        let step = self.doors.revoke(key, monotonic());
        // The door is also closed if this process dies before its command ends.
        self.write_journal(key);
        if let Some(step) = step {
            self.step(gate, step);
        }
    }

    /// Revokes the leases of doors and clients that the configuration does not have.
    pub(crate) fn revoke_removed(&mut self, gate: &mut dyn LeaseGate) {
        let removed: Vec<_> = self
            .doors
            .open()
            .filter(|open| {
                !self.catalog.has_door(open.key.door) || !self.catalog.has_client(open.client)
            })
            .map(|open| open.key)
            .collect();
        for key in removed {
            self.revoke(gate, key);
        }
    }

    /// Closes the doors whose leases have expired. A lease that is in use is extended.
    pub(crate) fn expire(&mut self, gate: &mut dyn LeaseGate) {
        let now = monotonic();
        while let Some(key) = self.doors.due(now) {
            if let Some(time) = gate.in_use(&self.keys(gate, key)) {
                self.doors.prolong(key, now + time);
                self.write_journal(key);
            } else if let Some(step) = self.doors.expire(now) {
                self.step(gate, step);
            }
        }
    }

    /// Closes every door and opens none again. If `gate_stays`, the gate closes those without a
    /// closing command by itself.
    pub(crate) fn close_all(&mut self, gate: &mut dyn LeaseGate, gate_stays: bool) {
        let catalog = &self.catalog;
        let stays = |key: &DoorKey| gate_stays && catalog.door(key.door).close.is_none();
        for step in self.doors.stop(stays) {
            self.step(gate, step);
        }
    }

    /// The open doors of `source`: those of this address, or of its IPv6 prefix.
    pub(crate) fn open_for(&self, gate: &dyn LeaseGate, source: IpAddr) -> Vec<DoorKey> {
        let is_for = |key: &DoorKey| {
            let keys = self.keys(gate, *key);
            key.source == source
                || !keys.is_empty() && keys == self.catalog.door(key.door).opening.keys(source)
        };
        let open = self.doors.open().map(|open| open.key);
        open.filter(is_for).collect()
    }

    /// The leases of every open door that `config` has too, and how long each is still valid.
    pub(crate) fn leases_under(
        &self,
        gate: &dyn LeaseGate,
        config: &Config,
    ) -> Vec<(Vec<LeaseKey>, Duration)> {
        let now = monotonic();
        self.doors
            .open()
            .filter(|open| open.admits && self.catalog.has_client(open.client))
            .filter_map(|open| {
                let name = &self.catalog.door(open.key.door).name;
                let door = config.doors.iter().find(|door| door.name == *name)?;
                let in_use = gate.in_use(&self.keys(gate, open.key));
                let left = open.until.saturating_sub(now);
                let left = left.max(in_use.unwrap_or_default());
                Some((door.opening.keys(open.key.source), left))
            })
            .collect()
    }

    /// Executes `task`: the gate first, then the command. The log is slower than both, so the task
    /// and the `entry` that caused it are reported after that.
    fn start(&mut self, gate: &mut dyn LeaseGate, task: &Task, entry: Option<Entry>) {
        let granted = match task.action {
            Action::Open => Some(self.grant(gate, task.key)),
            Action::Close => {
                self.close_gate(gate, task.key);
                None
            }
        };
        let is_refused = matches!(granted, Some(Err(_)));
        let arrival = entry.as_ref().and_then(|entry| entry.arrival);
        if let (Some(Ok(true)), Some(arrival)) = (&granted, arrival) {
            self.reporter.latency(Effect::Gate, arrival);
        }
        let is_running = !is_refused && self.run_command(task, arrival);
        if let Some(entry) = entry {
            self.reporter.report(Event::Opening(entry.admission));
        }
        if let Some(granted) = granted {
            self.report_grant(task.key, granted);
        }
        if is_refused {
            self.doors.forget(task.key);
            self.remove_from_journal(task.key);
        } else if !is_running {
            self.log_dry_run(task);
            if let Some(step) = self.finish(task, true) {
                self.step(gate, step);
            }
        }
    }

    fn finish(&mut self, task: &Task, ok: bool) -> Option<Step> {
        let step = self.doors.finished(task.key, ok, monotonic());
        if step.is_none() {
            self.write_journal(task.key);
        }
        step
    }

    fn step(&mut self, gate: &mut dyn LeaseGate, step: Step) {
        match step {
            Step::Start(task) => {
                if task.action == Action::Open {
                    self.write_journal(task.key);
                }
                self.start(gate, &task, None);
            }
            Step::Closed(key) => {
                self.remove_from_journal(key);
                self.reporter.report(Event::Closed {
                    door: self.catalog.door(key.door).name.clone(),
                    source: key.source,
                });
            }
            // The record stays in the journal: the next start tries again.
            Step::GaveUp(key) => {
                self.counters.closings_given_up += 1;
                self.reporter.problem(format!(
                    "door {:?} may still be open to {}: its `close` command failed, and is run again at the next start",
                    self.catalog.door(key.door).name, key.source
                ));
            }
        }
    }

    /// Renews the leases of an open door and reports the outcome.
    fn renew(&mut self, gate: &mut dyn LeaseGate, key: DoorKey) {
        let granted = self.grant(gate, key);
        self.report_grant(key, granted);
    }

    /// Grants the leases of an open door. Returns whether it has any.
    fn grant(&mut self, gate: &mut dyn LeaseGate, key: DoorKey) -> Result<bool, OpenError> {
        let keys = self.keys(gate, key);
        let Some(open) = self.doors.get(&key).filter(|_| !keys.is_empty()) else {
            return Ok(false);
        };
        gate.grant(&keys, open.until.saturating_sub(monotonic()))?;
        Ok(true)
    }

    fn report_grant(&mut self, key: DoorKey, granted: Result<bool, OpenError>) {
        match granted {
            Ok(true) => self.report_gate(key, true),
            Ok(false) => {}
            Err(error) => {
                if let OpenError::Full = error {
                    self.counters.refused_gate_full += 1;
                }
                let door = &self.catalog.door(key.door).name;
                self.reporter.problem(format!(
                    "door {door:?} is not opened to {}: {error}",
                    key.source
                ));
            }
        }
    }

    /// Revokes the leases of a door, except for the time that other doors grant them.
    fn close_gate(&mut self, gate: &mut dyn LeaseGate, key: DoorKey) {
        let now = monotonic();
        let keys = self.keys(gate, key);
        for lease in &keys {
            let others = self.doors.open().filter(|open| {
                open.key != key
                    && open.admits
                    // Compared first, since it is cheap: only IPv6 leases may have several sources.
                    && (open.key.source == key.source || key.source.is_ipv6())
                    && self.keys(gate, open.key).contains(lease)
            });
            let until = others.map(|open| open.until).max();
            let left = until.map(|until| until.saturating_sub(now));
            if let Err(error) = gate.shorten(*lease, left) {
                warn!("a lease cannot be revoked, and expires as granted: {error}");
            }
        }
        if !keys.is_empty() {
            self.report_gate(key, false);
        }
    }

    /// The leases of a door; none without a gate.
    fn keys(&self, gate: &dyn LeaseGate, key: DoorKey) -> Vec<LeaseKey> {
        if !gate.exists() {
            return Vec::new();
        }
        self.catalog.door(key.door).opening.keys(key.source)
    }

    fn report_gate(&self, key: DoorKey, is_open: bool) {
        let door = self.catalog.door(key.door);
        let ports: Vec<_> = door.opening.ports.iter().map(ToString::to_string).collect();
        self.reporter.report(Event::Gate {
            door: door.name.clone(),
            source: key.source,
            ports: ports.join(","),
            is_open,
        });
    }

    /// Writes the state of an open door to the journal, if it has to be closed.
    fn write_journal(&mut self, key: DoorKey) {
        let door = self.catalog.door(key.door);
        if self.is_dry_run || !door.has_to_be_closed() {
            return;
        }
        if let Some(open) = self.doors.get(&key) {
            let client = self.catalog.client(open.client);
            self.journal.write(&open, &door.name, client);
        }
    }

    /// Removes a closed door from the journal.
    fn remove_from_journal(&mut self, key: DoorKey) {
        let door = self.catalog.door(key.door);
        if !self.is_dry_run && door.has_to_be_closed() {
            self.journal.remove(&door.name, key.source);
        }
    }
}

#[cfg(test)]
mod tests;
