//! What people who watch the daemon are told through the listener.

use knock_common::gate::Mode;
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::{resources::Source, state::Supervisor};
use knockd_ipc::message::{Message, Report};
use knockd_runtime::clock::monotonic;
use knockd_types::{
    interface::Wanted,
    status::{Attachment, DoorStatus, GateStatus, Refusal},
};
use knockd_xdp::leases::Gate;

impl Supervisor {
    /// Answers `question`, with the number of the kernel's leases if they are to be counted.
    /// That is done beside everything else, and by one at a time.
    pub(crate) fn report(&mut self, question: u32, count_leases: bool) {
        let Ok(reporting) = self.reporting.clone().try_acquire_owned() else {
            return self.kill(&"it asks for too much at once");
        };
        let report = self.state();
        let counting = self.counting.clone().try_acquire_owned().ok();
        let gate = self.gate.as_ref().filter(|_| count_leases);
        let gate = gate.and_then(|gate| {
            gate.try_clone()
                .inspect_err(|error| warn!("the kernel's leases cannot be counted: {error}"))
                .ok()
        });
        let (Some(counting), Some(gate)) = (counting, gate) else {
            let told = Message::Report(question, Box::new(report));
            if let Err(stuck) = self.outbox.send_holding(told, reporting) {
                self.kill(&stuck);
            }
            return;
        };
        let outbox = self.outbox.clone();
        tokio::spawn(async move {
            let count = move |gate: &Gate| {
                let _counting = counting;
                gate.leases().map(|leases| leases.len())
            };
            let leases = match spawn_blocking(move || count(&gate)).await {
                Ok(Ok(leases)) => Some(leases),
                Ok(Err(error)) => {
                    warn!("the kernel's leases cannot be counted: {error}");
                    None
                }
                Err(_) => None,
            };
            let report = Report { leases, ..report };
            // A listener that takes nothing is found out by the next thing that it has to take.
            let told = Message::Report(question, Box::new(report));
            let _ = outbox.send_holding(told, reporting);
        });
    }

    /// Lets the kernel write a line per knock exactly while somebody reads them.
    pub(crate) fn set_kernel_log(&mut self, followed: bool) {
        self.followed = followed;
        if let Source::Xdp(xdp) = &mut self.source
            && let Err(error) = xdp.set_log(followed)
        {
            warn!("the kernel's log lines cannot be switched: {error:#}");
        }
    }

    /// Passes on what the kernel has logged.
    pub(crate) fn flush_kernel_log(&mut self) {
        if let Source::Xdp(xdp) = &mut self.source {
            xdp.flush_log();
        }
    }

    pub(crate) fn listening(&self) -> String {
        match &self.source {
            Source::Xdp(xdp) => {
                let names: Vec<_> = xdp
                    .attachments()
                    .map(|attachment| attachment.interface.as_str())
                    .collect();
                if names.is_empty() {
                    return "no interface yet".into();
                }
                names.join(", ")
            }
            Source::Lines(_, path) => format!("lines from {}", path.display()),
            Source::Ended => "lines that have ended".into(),
        }
    }

    fn state(&self) -> Report {
        let (attachments, refused, kernel) = match &self.source {
            Source::Xdp(xdp) => {
                let counters = xdp.counters().unwrap_or_else(|error| {
                    warn!("the kernel's counters cannot be read: {error:#}");
                    Default::default()
                });
                (
                    xdp.attachments().cloned().collect::<Vec<_>>(),
                    xdp.refused().cloned().collect::<Vec<_>>(),
                    counters,
                )
            }
            Source::Lines(..) | Source::Ended => Default::default(),
        };
        Report {
            listening: self.listening(),
            awaited: self.awaited(&attachments, &refused),
            attachments,
            refused,
            gate: self.gate_status(),
            doors: self.door_statuses(),
            leases: None,
            kernel,
            counters: self.counters,
        }
    }

    /// The wanted interfaces that are not there.
    fn awaited(&self, attachments: &[Attachment], refused: &[Refusal]) -> Vec<String> {
        let (Source::Xdp(_), Wanted::Named(names)) = (&self.source, &self.config.interfaces) else {
            return Vec::new();
        };
        let is_there = |name: &String| {
            attachments.iter().any(|one| one.interface == *name)
                || refused.iter().any(|one| one.interface == *name)
        };
        names
            .iter()
            .filter(|name| !is_there(name))
            .cloned()
            .collect()
    }

    fn gate_status(&self) -> Option<GateStatus> {
        let rules = &self.config.gate.as_ref()?.rules;
        self.gate.as_ref()?;
        // Not counted in the kernel, which takes long where there are many.
        let letting_in = self.doors.open().filter(|open| open.lets_in);
        let ports = letting_in.map(|open| self.catalog.door(open.visit.door).opening.ports.len());
        Some(GateStatus {
            mode: match rules.mode {
                Mode::Enforce => "enforce".into(),
                Mode::Observe => "observe".into(),
            },
            protect: rules.protect.iter().map(ToString::to_string).collect(),
            trusted: rules.trusted.iter().map(ToString::to_string).collect(),
            leases: ports.sum(),
            outlives_daemon: self.pins.is_some(),
        })
    }

    fn door_statuses(&self) -> Vec<DoorStatus> {
        let now = monotonic();
        let mut doors: Vec<_> = self
            .doors
            .open()
            .map(|open| {
                let door = self.catalog.door(open.visit.door);
                DoorStatus {
                    door: door.name.clone(),
                    client: self.catalog.client(open.client).to_owned(),
                    source: open.visit.source,
                    ports: door.opening.ports.iter().map(ToString::to_string).collect(),
                    state: open.state.to_owned(),
                    seconds_left: open.until.saturating_sub(now).as_secs(),
                }
            })
            .collect();
        doors.sort_by(|a, b| (&a.door, a.source).cmp(&(&b.door, b.source)));
        doors
    }
}
