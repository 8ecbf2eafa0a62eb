//! What people who watch the daemon are told.

use knock_common::gate::Mode;
use tracing::warn;

use super::{Daemon, Source};
use crate::daemon::{
    clock::monotonic,
    control::{DoorStatus, GateStatus, Request, Status},
    source::{
        interfaces::Wanted,
        xdp::{Attachment, Refusal},
    },
};

impl Daemon {
    pub(super) fn answer(&mut self, request: Request) {
        match request {
            Request::Status(reply) => {
                let status = self.status();
                // Whoever asked may have gone.
                let _ = reply.send(status);
            }
            Request::Metrics(reply) => {
                let snapshot = self.snapshot();
                let _ = reply.send(snapshot);
            }
            Request::Tail(reply) => {
                self.tails += 1;
                self.set_kernel_log();
                let _ = reply.send((self.reporter.tail(), self.listening()));
            }
            Request::Reload(reply) => self.reread(Some(reply)),
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
        if let Source::Xdp(xdp, _) = &mut self.source
            && let Err(error) = xdp.set_log(self.tails > 0)
        {
            warn!("the kernel's log lines cannot be switched: {error:#}");
        }
    }

    pub(super) fn listening(&self) -> String {
        match &self.source {
            Source::Xdp(xdp, _) => {
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

    fn status(&mut self) -> Status {
        let now = monotonic();
        self.assembler.forget(now);
        let (attachments, refused, kernel) = match &self.source {
            Source::Xdp(xdp, _) => {
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
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: now.saturating_sub(self.started).as_secs(),
            listening: self.listening(),
            window_base: self.config.window.base(),
            awaited: self.awaited(&attachments, &refused),
            attachments,
            refused,
            gate: self.gate_status(),
            doors: self.door_statuses(),
            sources_in_progress: self.assembler.sources(),
            tails: self.tails,
            kernel,
            daemon: self.counters,
        }
    }

    /// The wanted interfaces that are not there.
    fn awaited(&self, attachments: &[Attachment], refused: &[Refusal]) -> Vec<String> {
        let (Source::Xdp(..), Wanted::Named(names)) = (&self.source, &self.config.interfaces)
        else {
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
