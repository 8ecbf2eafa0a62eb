//! What people who watch the daemon are told.

use knock_common::gate::Mode;
use tracing::warn;

use super::{Daemon, Source};
use crate::daemon::{
    clock::monotonic,
    control::{DoorStatus, GateStatus, Request, Status},
};

impl Daemon {
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::Status(reply) => {
                let status = self.status();
                // Whoever asked may have gone.
                let _ = reply.send(status);
            }
            Request::Tail(reply) => {
                self.tails += 1;
                self.set_kernel_log();
                let _ = reply.send((self.reporter.tail(), self.listening()));
            }
            Request::Verdicts(reply) => {
                let _ = reply.send((self.reporter.tail(), self.listening()));
            }
            Request::Leases(reply) => {
                let doors = self.door_statuses();
                let _ = reply.send(doors);
            }
            Request::Open(request, reply) => {
                let opened = self.open_by_hand(&request);
                let _ = reply.send(opened.map(|()| vec![request.door]));
            }
            Request::Close(request, reply) => {
                let closed = self.close_by_hand(&request);
                let _ = reply.send(closed);
            }
            Request::TailEnded => {
                self.tails = self.tails.saturating_sub(1);
                self.set_kernel_log();
            }
        }
    }

    /// Lets the kernel write a line per knock exactly while somebody reads them.
    fn set_kernel_log(&mut self) {
        if let Source::Xdp(xdp) = &mut self.source
            && let Err(error) = xdp.set_log(self.tails > 0)
        {
            warn!("the kernel's log lines cannot be switched: {error:#}");
        }
    }

    pub(super) fn listening(&self) -> String {
        match &self.source {
            Source::Xdp(xdp) => xdp
                .attachments()
                .iter()
                .map(|attachment| attachment.interface.as_str())
                .collect::<Vec<_>>()
                .join(", "),
            Source::Lines(_, path) => format!("lines from {}", path.display()),
            Source::Ended => "lines that have ended".into(),
        }
    }

    fn status(&mut self) -> Status {
        let now = monotonic();
        self.assembler.forget(now);
        let (attachments, kernel) = match &self.source {
            Source::Xdp(xdp) => {
                let counters = xdp.counters().unwrap_or_else(|error| {
                    warn!("the kernel's counters cannot be read: {error:#}");
                    Default::default()
                });
                (xdp.attachments().to_vec(), counters)
            }
            Source::Lines(..) | Source::Ended => Default::default(),
        };
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: now.saturating_sub(self.started).as_secs(),
            listening: self.listening(),
            window_base: self.config.window.base(),
            attachments,
            gate: self.gate_status(),
            doors: self.door_statuses(),
            sources_in_progress: self.assembler.sources(),
            tails: self.tails,
            kernel,
            daemon: self.counters,
        }
    }

    fn gate_status(&self) -> Option<GateStatus> {
        let rules = &self.config.gate.as_ref()?.rules;
        let gate = self.gate.as_ref()?;
        let leases = gate.leases().unwrap_or_else(|error| {
            warn!("the kernel's leases cannot be read: {error}");
            Vec::new()
        });
        Some(GateStatus {
            mode: match rules.mode {
                Mode::Enforce => "enforce".into(),
                Mode::Observe => "observe".into(),
            },
            protect: rules.protect.iter().map(ToString::to_string).collect(),
            trusted: rules.trusted.iter().map(ToString::to_string).collect(),
            leases: leases.len(),
            outlives_daemon: self.pins.is_some(),
        })
    }

    fn door_statuses(&self) -> Vec<DoorStatus> {
        let now = monotonic();
        let mut doors: Vec<_> = self
            .doors
            .open()
            .map(|open| {
                let door = &self.config.doors[open.visit.door];
                DoorStatus {
                    door: door.name.clone(),
                    client: self.client_names[open.client].clone(),
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
