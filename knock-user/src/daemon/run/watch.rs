//! What people who watch the daemon are told.

use tracing::warn;

use super::{Daemon, Source};
use crate::daemon::{
    clock::monotonic,
    control::{DoorStatus, Request, Status},
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

    fn listening(&self) -> String {
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
        let mut doors: Vec<_> = self
            .doors
            .open()
            .map(|open| DoorStatus {
                door: self.config.doors[open.visit.door].name.clone(),
                client: self.client_names[open.client].clone(),
                source: open.visit.source,
                state: open.state.to_owned(),
                seconds_left: open.until.saturating_sub(now).as_secs(),
            })
            .collect();
        doors.sort_by(|a, b| (&a.door, a.source).cmp(&(&b.door, b.source)));
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: now.saturating_sub(self.started).as_secs(),
            listening: self.listening(),
            window_base: self.config.window.base(),
            attachments,
            doors,
            sources_in_progress: self.assembler.sources(),
            tails: self.tails,
            kernel,
            daemon: self.counters,
        }
    }
}
