//! What people ask through the control socket, and the HTTP server in their place: what this
//! process knows by itself, and what the keeper has to be asked for.

use std::{net::IpAddr, time::Duration};

use anyhow::Result;
use knock_common::gate::Mode;
use knockd_ipc::{
    message::Report,
    request::{CloseDoors, GetReport, OpenDoor, ReloadConfig, Request},
};
use knockd_runtime::clock::monotonic;
use knockd_types::{
    control::{CloseRequest, OpenRequest},
    names::{BY_HAND_NUMBER, MAX_LEASE, is_unicast},
    status::Status,
};
use tokio::sync::oneshot;

use crate::{
    metrics::snapshot::Snapshot,
    pending::{Outcome, PendingQuery},
    query::Query,
    state::Listener,
};

impl Listener {
    /// Answers `request`, or asks the keeper for the answer.
    pub(crate) async fn answer(&mut self, query: Query) -> Result<()> {
        let report = |asker| (asker, false);
        let (asker, count_leases) = match query {
            Query::Status(reply) => report(PendingQuery::Status(reply)),
            Query::Leases(reply) => report(PendingQuery::Leases(reply)),
            Query::Verdicts(reply) => report(PendingQuery::Tail(reply)),
            Query::Metrics(reply) => (PendingQuery::Metrics(reply), true),
            Query::Tail(reply) => {
                self.tails += 1;
                self.keeper.send(&Request::Follow(true)).await?;
                report(PendingQuery::Tail(reply))
            }
            Query::TailEnded => {
                self.tails = self.tails.saturating_sub(1);
                if self.tails == 0 {
                    self.keeper.send(&Request::Follow(false)).await?;
                }
                return Ok(());
            }
            Query::Reload(reply) => {
                let question = self.questions.ask(PendingQuery::CommandReply(reply));
                self.keeper
                    .send(&Request::Reload(ReloadConfig { query: question }))
                    .await?;
                return Ok(());
            }
            Query::Open(request, reply) => return self.open(&request, reply).await,
            Query::Close(request, reply) => return self.close(&request, reply).await,
        };
        if matches!(asker, PendingQuery::Tail(_)) && !self.notified {
            self.notified = true;
            self.keeper.send(&Request::Notify(true)).await?;
        }
        let question = self.questions.ask(asker);
        let order = Request::Report(GetReport {
            query: question,
            count_leases,
        });
        Ok(self.keeper.send(&order).await?)
    }

    async fn open(&mut self, request: &OpenRequest, reply: oneshot::Sender<Outcome>) -> Result<()> {
        match self.opening(request) {
            Ok((door, lease)) => {
                let order = Request::Open(OpenDoor {
                    query: self.questions.ask(PendingQuery::CommandReply(reply)),
                    door,
                    client: BY_HAND_NUMBER,
                    source: request.source,
                    lease,
                    at: monotonic(),
                });
                self.keeper.send(&order).await?;
            }
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
            }
        }
        Ok(())
    }

    /// The number of the door that is to be opened by hand, and for how long.
    fn opening(&self, request: &OpenRequest) -> Result<(u32, Duration), String> {
        let index = self.door_named(&request.door)?;
        let door = &self.terms.auth.doors[index];
        let lease = request.seconds.map_or(door.lease, Duration::from_secs);
        if lease.is_zero() || lease > MAX_LEASE {
            return Err("a lease lasts from a second to 365 days".into());
        }
        one_host(request.source)?;
        Ok((door.number, lease))
    }

    async fn close(
        &mut self,
        request: &CloseRequest,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<()> {
        let door = match &request.door {
            Some(name) => self.door_named(name).map(Some),
            None => Ok(None),
        };
        match one_host(request.source).and(door) {
            Ok(door) => {
                let order = Request::Close(CloseDoors {
                    query: self.questions.ask(PendingQuery::CommandReply(reply)),
                    door: door.map(|door| self.terms.auth.doors[door].number),
                    source: request.source,
                });
                self.keeper.send(&order).await?;
            }
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
            }
        }
        Ok(())
    }

    fn door_named(&self, name: &str) -> Result<usize, String> {
        let doors = &self.terms.auth.doors;
        doors
            .iter()
            .position(|door| door.name == name)
            .ok_or_else(|| format!("there is no door {name:?} in the configuration"))
    }

    /// Passes on how the keeper is doing, with what this process knows.
    pub(crate) fn report(&mut self, question: u32, report: Report) {
        let Some(asker) = self.questions.open.remove(&question) else {
            return;
        };
        // Whoever asked may have gone.
        match asker {
            PendingQuery::Status(reply) => {
                let _ = reply.send(self.status(report));
            }
            PendingQuery::Metrics(reply) => {
                let _ = reply.send(self.snapshot(report));
            }
            PendingQuery::Tail(reply) => {
                let _ = reply.send((self.reporter.tail(), report.listening));
            }
            PendingQuery::Leases(reply) => {
                let _ = reply.send(report.doors);
            }
            PendingQuery::CommandReply(_) => {}
        }
    }

    fn status(&mut self, report: Report) -> Status {
        let now = monotonic();
        self.assembler.forget(now);
        Status {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_seconds: now.saturating_sub(self.started).as_secs(),
            listening: report.listening,
            window_base: self.terms.window().base(),
            awaited: report.awaited,
            attachments: report.attachments,
            refused: report.refused,
            gate: report.gate,
            doors: report.doors,
            sources_in_progress: self.assembler.sources(),
            tails: self.tails,
            kernel: report.kernel,
            daemon: report.counters.with(&self.counters),
        }
    }

    fn snapshot(&mut self, report: Report) -> Snapshot {
        self.assembler.forget(monotonic());
        let open_doors = self.terms.auth.doors.iter().map(|door| {
            let open = report.doors.iter().filter(|open| open.door == door.name);
            (door.name.clone(), open.count())
        });
        Snapshot {
            open_doors: open_doors.collect(),
            kernel: report.kernel,
            daemon: report.counters.with(&self.counters),
            gate: report.gate.map(|gate| {
                if gate.mode == "observe" {
                    Mode::Observe
                } else {
                    Mode::Enforce
                }
            }),
            leases: report.leases,
            attachments: report.attachments,
            sources_in_progress: self.assembler.sources(),
            tails: self.tails,
        }
    }
}

fn one_host(source: IpAddr) -> Result<(), String> {
    if is_unicast(source) {
        Ok(())
    } else {
        Err(format!("{source} is no single host's address"))
    }
}
