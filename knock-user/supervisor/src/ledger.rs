//! The doors and their leases.
//!
//! The ledger decides when a door opens and closes, and keeps everything that belongs to an open
//! door in step: its lease in the gate, its record in the journal, and its command. A record is
//! written before anything opens, and is removed after everything is closed.

mod commands;
mod history;
mod journal;
mod restore;
mod status;

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use knock_common::gate::{HOST, LeaseKey};
use knockd_config::Config;
use knockd_ipc::message::Effect;
use knockd_runtime::clock::monotonic;
use knockd_types::{
    counters::Counters,
    event::{AdmissionInfo, Event},
    history::{How, Via},
    rules::Port,
};
use knockd_xdp::leases::OpenError;
use tokio::sync::mpsc;
use tracing::warn;

use crate::{
    allowed::Allowed,
    catalog::Catalog,
    doors::{Action, Admission, DoorKey, Doors, Grant, OpenDoor, Step, Task},
    exec::{Ending, Executor},
    history::History,
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
    history: History,
    reporter: Reporter,
    counters: Counters,
    /// Whether commands and the journal are only simulated.
    is_dry_run: bool,
}

/// The knock that opens a door, or the administrator's command.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Knock {
    /// The address that it came from, if the door is opened for another one.
    pub(crate) sender: Option<IpAddr>,
    /// Its kind, if it was a knock.
    pub(crate) via: Option<Via>,
    /// The arrival of its last packet, if it was a knock and its latency is measured.
    pub(crate) arrival: Option<Duration>,
}

/// What opens a door, with its names.
struct Entry {
    admission: AdmissionInfo,
    knock: Knock,
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
            history: History::new(config.state_dir.clone(), limits.history, reporter.clone()),
            executor,
            endings,
            reporter,
            counters: Counters::default(),
            is_dry_run: false,
        })
    }

    /// Runs each command in a session of its own.
    pub(crate) fn use_own_sessions(&mut self) {
        self.executor.use_own_sessions();
    }

    /// Stops running commands and writing the journal and the history.
    pub(crate) fn dry_run(&mut self) {
        self.is_dry_run = true;
        self.history = History::default();
    }

    /// Adopts the doors, clients and limits of another configuration, with the store that it
    /// requires if there was none.
    pub(crate) fn configure(&mut self, config: &Config, store: Option<LeaseStore>) {
        if let Some(store) = store {
            self.journal.set_store(store);
        }
        let had_no_close = |open: &OpenDoor| self.catalog.door(open.key.door).close.is_none();
        let open: Vec<_> = self.doors.open().filter(had_no_close).collect();
        self.catalog.update(config);
        // A door that has a closing command now has to be closed also after a power failure.
        for open in open {
            if self.catalog.door(open.key.door).close.is_some() {
                self.write_journal(open.key);
            }
        }
        let limits = config.limits;
        self.history.resize(limits.history);
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

    /// This door as it is open to this source.
    pub(crate) fn open_door(&self, key: DoorKey) -> Option<OpenDoor> {
        self.doors.get(&key)
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
        self.counters.with(&self.history.counters())
    }

    /// Opens a door, or extends its lease, for `knock`. Returns `false` if too many doors are open.
    pub(crate) fn open(
        &mut self,
        gate: &mut dyn LeaseGate,
        key: DoorKey,
        grant: Grant,
        knock: Knock,
    ) -> bool {
        let admission = AdmissionInfo {
            client: self.catalog.client(grant.client).to_owned(),
            door: self.catalog.door(key.door).name.clone(),
            source: key.source,
            seconds: grant.lease.as_secs(),
        };
        match self.doors.admit(key, grant, monotonic()) {
            Admission::Opens(task) => {
                self.journal_grant(key);
                let entry = Entry { admission, knock };
                self.start(gate, &task, Some(entry));
            }
            Admission::Extends => {
                self.journal_grant(key);
                self.renew(gate, key);
                self.extended(key, admission, &knock);
            }
            Admission::Reopens => {
                self.journal_grant(key);
                self.extended(key, admission, &knock);
            }
            Admission::Full => return false,
        }
        true
    }

    fn extended(&mut self, key: DoorKey, admission: AdmissionInfo, knock: &Knock) {
        self.counters.extended += 1;
        self.record_knock(key, &admission, knock, true);
        self.reporter.report(Event::Extended(admission));
    }

    /// Ends a lease before it expires, for the reason `how`. The gate refuses the source at once,
    /// whichever command is running.
    pub(crate) fn revoke(&mut self, gate: &mut dyn LeaseGate, key: DoorKey, how: How) {
        self.history.closing(key, how);
        let is_first = self.doors.get(&key).is_some_and(|open| !open.revoked);
        let step = self.doors.revoke(key, monotonic());
        // Before the gate changes: if this process dies, the next one does not open it again. The door
        // is also closed then.
        self.write_journal(key);
        if is_first {
            self.close_gate(gate, key);
        }
        if let Some(step) = step {
            self.step(gate, step);
        }
    }

    /// Revokes the leases that the adopted configuration does not allow, and shortens those that it
    /// does not allow for so long.
    pub(crate) fn revoke_disallowed(&mut self, gate: &mut dyn LeaseGate, allowed: &Allowed<'_>) {
        let open: Vec<_> = self.doors.open().collect();
        for open in open {
            let Some(limit) = self.limit(&open, allowed) else {
                self.revoke(gate, open.key, How::Revoked);
                continue;
            };
            let until = monotonic().saturating_add(limit);
            if open.admits && open.until > until {
                self.doors.shorten(open.key, until);
                self.write_journal(open.key);
            }
        }
    }

    /// The longest time for which the door may be open from now on; `None` if it may not be open.
    fn limit(&self, open: &OpenDoor, allowed: &Allowed<'_>) -> Option<Duration> {
        let door = &self.catalog.door(open.key.door).name;
        let client = self.catalog.client(open.client);
        Some(allowed.door(client, door, open.key.source)?.1)
    }

    /// Closes the doors whose leases have expired. After that, only datagrams keep the leases of UDP
    /// ports in use.
    pub(crate) fn expire(&mut self, gate: &mut dyn LeaseGate) {
        let now = monotonic();
        while let Some(key) = self.doors.due(now) {
            let used_until = self.used_until(gate, key, now);
            if let Some(step) = self.doors.expire(key, used_until) {
                self.step(gate, step);
            }
        }
    }

    /// The time until which datagrams keep leases of a door in use, if they do.
    fn used_until(&self, gate: &dyn LeaseGate, key: DoorKey, now: Duration) -> Option<Duration> {
        let time = gate.in_use(&self.keys(gate, key))?;
        Some(now + time)
    }

    /// Closes every door and opens none again. If `gate_stays`, the gate closes those without a
    /// closing command by itself, and those that are closed but in use.
    pub(crate) fn close_all(&mut self, gate: &mut dyn LeaseGate, gate_stays: bool) {
        let catalog = &self.catalog;
        let stays = |open: &OpenDoor| {
            let closes_itself = open.in_use || catalog.door(open.key.door).close.is_none();
            gate_stays && closes_itself
        };
        self.history.closing_all(How::Stopped);
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

    /// The leases of every open door that another configuration allows too, and how long each is
    /// still valid.
    pub(crate) fn leases_under(
        &self,
        gate: &dyn LeaseGate,
        allowed: &Allowed<'_>,
    ) -> Vec<(LeaseKey, Duration)> {
        let now = monotonic();
        let mut leases = Vec::new();
        for open in self.doors.open().filter(|open| !open.revoked) {
            let door = &self.catalog.door(open.key.door).name;
            let client = self.catalog.client(open.client);
            let source = open.key.source;
            let Some((door, limit)) = allowed.door(client, door, source) else {
                continue;
            };
            let granted = if open.admits {
                open.until.saturating_sub(now).min(limit)
            } else {
                Duration::ZERO
            };
            for key in door.opening.keys(open.key.source) {
                let in_use = gate.in_use(&[key]).unwrap_or_default();
                leases.push((key, granted.max(in_use)));
            }
        }
        leases.retain(|(_, left)| !left.is_zero());
        leases
    }

    /// Executes `task`: the gate first, then the command. The log is slower than both, so the task
    /// and the `entry` that caused it are reported after that.
    fn start(&mut self, gate: &mut dyn LeaseGate, task: &Task, entry: Option<Entry>) {
        let granted = match task.action {
            Action::Open => Some(self.grant(gate, task.key)),
            Action::Close => {
                // Otherwise the gate was closed then.
                if self.doors.get(&task.key).is_some_and(|open| !open.revoked) {
                    self.close_gate(gate, task.key);
                }
                None
            }
        };
        let is_refused = matches!(granted, Some(Err(_)));
        let arrival = entry.as_ref().and_then(|entry| entry.knock.arrival);
        if let (Some(Ok(true)), Some(arrival)) = (&granted, arrival) {
            self.reporter.latency(Effect::Gate, arrival);
        }
        let is_running = !is_refused && self.run_command(task, arrival);
        if let Some(entry) = entry {
            self.record_knock(task.key, &entry.admission, &entry.knock, false);
            self.reporter.report(Event::Opening(entry.admission));
        }
        if let Some(granted) = granted {
            self.report_grant(task.key, granted);
        }
        if is_refused {
            self.doors.forget(task.key);
            self.remove_from_journal(task.key);
            self.record_failure(task.key, How::NotOpened);
        } else if !is_running {
            self.log_dry_run(task);
            if let Some(step) = self.finish(gate, task, true) {
                self.step(gate, step);
            }
        }
    }

    fn finish(&mut self, gate: &dyn LeaseGate, task: &Task, ok: bool) -> Option<Step> {
        let now = monotonic();
        let used_until = self.used_until(gate, task.key, now);
        let step = self.doors.finished(task.key, ok, now, used_until);
        if step.is_none() {
            self.journal_grant(task.key);
        }
        step
    }

    fn step(&mut self, gate: &mut dyn LeaseGate, step: Step) {
        match step {
            Step::Start(task) => {
                if task.action == Action::Open {
                    self.journal_grant(task.key);
                }
                self.start(gate, &task, None);
            }
            Step::Closed(key) => self.closed(key),
            Step::Idle(key) => {
                self.close_gate(gate, key);
                self.closed(key);
            }
            // The record stays in the journal: the next start tries again.
            Step::GaveUp(key) => {
                self.close_gate(gate, key);
                self.counters.closings_given_up += 1;
                self.record_failure(key, How::CloseFailed);
                self.reporter.problem(format!(
                    "door {:?} may still be open to {}: its `close` command failed, and is run again at the next start",
                    self.catalog.door(key.door).name, key.source
                ));
            }
        }
    }

    fn closed(&mut self, key: DoorKey) {
        self.remove_from_journal(key);
        self.record_end(key);
        self.reporter.report(Event::Closed {
            door: self.catalog.door(key.door).name.clone(),
            source: key.source,
        });
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
            Ok(true) => {
                let ports = self.catalog.door(key.door).opening.ports.clone();
                self.report_gate(key, &ports, true);
            }
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

    /// Ends the leases of a door, except for the time that other doors grant them. Unless the door
    /// was revoked, leases of UDP ports that are in use stay so.
    fn close_gate(&mut self, gate: &mut dyn LeaseGate, key: DoorKey) {
        let now = monotonic();
        let may_be_used = self.doors.get(&key).is_some_and(|open| !open.revoked);
        let ports = self.catalog.door(key.door).opening.ports.clone();
        let mut closed = Vec::new();
        for (lease, port) in self.keys(gate, key).into_iter().zip(ports) {
            let others = self.doors.open().filter(|open| {
                open.key != key
                    && open.admits
                    // Compared first, since it is cheap: only a prefix has several sources.
                    && (open.key.source == key.source || lease.prefix_len != HOST)
                    && self.keys(gate, open.key).contains(&lease)
            });
            let until = others.map(|open| open.until).max();
            let left = until.map(|until| until.saturating_sub(now));
            let in_use = may_be_used && gate.in_use(&[lease]).is_some();
            let left = left.or(in_use.then_some(Duration::ZERO));
            if let Err(error) = gate.shorten(lease, left) {
                warn!("a lease cannot be revoked, and expires as granted: {error}");
            }
            if !in_use {
                closed.push(port);
            }
        }
        if !closed.is_empty() {
            self.report_gate(key, &closed, false);
        }
    }

    /// The leases of a door; none without a gate.
    fn keys(&self, gate: &dyn LeaseGate, key: DoorKey) -> Vec<LeaseKey> {
        if !gate.exists() {
            return Vec::new();
        }
        self.catalog.door(key.door).opening.keys(key.source)
    }

    fn report_gate(&self, key: DoorKey, ports: &[Port], is_open: bool) {
        let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
        self.reporter.report(Event::Gate {
            door: self.catalog.door(key.door).name.clone(),
            source: key.source,
            ports: ports.join(","),
            is_open,
        });
    }
}

#[cfg(test)]
mod tests;
