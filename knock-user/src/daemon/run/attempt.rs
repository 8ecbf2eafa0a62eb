//! From a block to an open door, or to a reason why not.

use std::net::IpAddr;

use anyhow::anyhow;
use knock_common::protocol::block::Block;
use tracing::warn;

use super::Daemon;
use crate::daemon::{
    auth::{Arrival, Grant, Refusal, Refused},
    clock::{monotonic, unix_ms},
    doors::{Admission, Terms, Visit},
    knock::Knock,
    metrics::latency::Stopwatch,
    report::{Event, Visitor},
    store::RememberError,
};

impl Daemon {
    /// Tries one block, which `knock` has completed; whether it was accepted.
    pub(super) fn attempt(&mut self, block: &Block, knock: &Knock) -> bool {
        let source = knock.source;
        self.counters.attempts += 1;
        let arrival = Arrival {
            source,
            now: unix_ms(),
            max_skew: self.config.max_skew,
        };
        self.watch_clock(arrival.now);
        let grant = match self.authenticator.verify(block, &arrival) {
            Ok(grant) => grant,
            Err(Refused { why, client }) => {
                self.count(&why);
                match client {
                    Some(client) => {
                        let name = &self.client_names[client];
                        self.refuse(source, &format!("client={name:?} {why}"));
                    }
                    None => self.refuse(source, &why.to_string()),
                }
                return false;
            }
        };
        if let Some(made_at) = grant.made_at
            && !self.remember(block, made_at, &arrival)
        {
            return false;
        }
        self.counters.accepted += 1;
        self.admit(grant, knock);
        true
    }

    fn count(&mut self, refusal: &Refusal) {
        let counters = &mut self.counters;
        *match refusal {
            Refusal::BadParity => &mut counters.refused_bad_parity,
            Refusal::UnknownSequence => &mut counters.refused_unknown_sequence,
            Refusal::UnknownTag => &mut counters.refused_unknown_tag,
            Refusal::ClientNotAllowed => &mut counters.refused_client_not_allowed,
            Refusal::Stale { .. } => &mut counters.refused_stale,
            Refusal::BoundElsewhere | Refusal::NotBound => &mut counters.refused_binding,
        } += 1;
    }

    pub(super) fn refuse(&self, source: IpAddr, reason: &str) {
        self.reporter.report(Event::Refused {
            source,
            reason: reason.to_owned(),
        });
    }

    /// Whether a sealed block is now on disk and was not before.
    fn remember(&mut self, block: &Block, made_at: u64, arrival: &Arrival) -> bool {
        let source = arrival.source;
        let now = monotonic();
        // The client sends everything twice: its second copy is no attack.
        if let Some((accepted, at)) = self.accepted.get(&source)
            && accepted == block
            && now < *at + self.config.sequence_timeout
        {
            self.counters.copies += 1;
            self.refuse(
                source,
                "replayed: a further copy of the knock that was just accepted",
            );
            return false;
        }
        let remembered = match &mut self.store {
            Some(store) => store.remember(block, made_at, arrival.now, arrival.max_skew),
            None => Err(RememberError::Broken(anyhow!("there is none"))),
        };
        match remembered {
            Ok(()) => {
                self.accepted.put(source, (*block, now));
                true
            }
            Err(error) => {
                match &error {
                    RememberError::Replayed => self.counters.refused_replayed += 1,
                    RememberError::BeyondHorizon => self.counters.refused_stale += 1,
                    RememberError::Full | RememberError::Broken(_) => {
                        self.counters.refused_store += 1;
                        self.reporter.report(Event::Trouble {
                            message: format!("a sealed knock from {source} is refused: {error}"),
                        });
                        return false;
                    }
                }
                self.refuse(source, &error.to_string());
                false
            }
        }
    }

    fn watch_clock(&mut self, now: u64) {
        if let Some(jump) = self.wall_clock.jumped(now, monotonic()) {
            let direction = if jump > 0 { "forward" } else { "back" };
            warn!(
                "this host's clock was set {direction} by {} s: sealed knocks that were made by the old time are stale now, and none that was accepted before is accepted again",
                jump.unsigned_abs() / 1000
            );
        }
    }

    fn admit(&mut self, grant: Grant, knock: &Knock) {
        let source = knock.source;
        let latencies = self.latencies.as_ref();
        let stopwatch = latencies.map(|latencies| latencies.since(knock.at));
        let visit = Visit {
            door: grant.door,
            source,
        };
        let terms = Terms {
            client: grant.client,
            lease: grant.lease,
        };
        if !self.open(visit, terms, stopwatch) {
            self.counters.refused_doors_full += 1;
            self.refuse(
                source,
                "as many doors are open as `limits.open_doors` allows",
            );
        }
    }

    /// Opens the door of `visit`, or keeps it open; `false` if too many are. `knocked` runs if
    /// somebody knocked at it.
    pub(super) fn open(&mut self, visit: Visit, terms: Terms, knocked: Option<Stopwatch>) -> bool {
        let visitor = Visitor {
            client: self.client_names[terms.client].clone(),
            door: self.config.doors[visit.door].name.clone(),
            source: visit.source,
            seconds: terms.lease.as_secs(),
        };
        match self.doors.knock(visit, terms, monotonic()) {
            Admission::Opens(task) => {
                self.reporter.report(Event::Opening(visitor));
                self.keep_lease(visit);
                self.start(&task, knocked);
            }
            Admission::Extends => {
                self.keep_lease(visit);
                self.open_gate(visit);
                self.counters.extended += 1;
                self.reporter.report(Event::Extended(visitor));
            }
            Admission::Reopens => {
                self.keep_lease(visit);
                self.counters.extended += 1;
                self.reporter.report(Event::Extended(visitor));
            }
            Admission::Full => return false,
        }
        true
    }
}
