//! Verifies candidate blocks: each results in a request or in a refusal.

use std::{net::IpAddr, path::Path, time::Duration};

use anyhow::{Result, anyhow};
use knock_common::protocol::block::Block;
use knockd_ipc::request::{OpenDoor, Request};
use knockd_runtime::{
    clock::{monotonic, unix_ms},
    log::log_event,
};
use knockd_types::{event::Event, policy::Policy, reason::Reason, syn::Syn};
use tracing::warn;

use crate::{
    auth::{Arrival, Refusal, Refused, Verified},
    replay_store::{RecordError, ReplayStore},
    state::Listener,
};

/// The time in which further copies of an accepted knock arrive. The client sends up to 8 copies of
/// 16 SYNs up to 500 ms apart, which takes 64 s; the network adds its delay.
const COPIES_TAKE: Duration = Duration::from_secs(80);

impl Listener {
    /// Opens the replay store in the working directory, if a client uses the sealed protocol. If
    /// the store does not work, this is reported and sealed knocks are refused.
    ///
    /// # Errors
    ///
    /// Returns an error if another daemon has the store open.
    pub(crate) fn open_store(&mut self) -> Result<()> {
        let Some(path) = &self.store_path else {
            return Ok(());
        };
        if self.store.is_none() && self.config.auth.has_sealed_clients() {
            let (store, problem) = ReplayStore::open(Path::new("."), path)?;
            self.store = Some(store);
            if let Some(problem) = problem {
                let message = format!("{problem:#}");
                self.reporter.report(Event::Trouble { message });
            }
        }
        Ok(())
    }

    /// Tries `block`, which `syn` has completed. Returns the request to open the door, if the block
    /// is accepted.
    pub(super) fn attempt(&mut self, block: &Block, syn: &Syn) -> Option<Request> {
        let source = syn.source;
        self.counters.attempts += 1;
        let arrival = Arrival {
            source,
            now: unix_ms(),
            max_skew: self.config.max_skew,
        };
        self.check_clock(arrival.now);
        let verified = match self.authenticator.verify(block, &arrival) {
            Ok(verified) => verified,
            Err(Refused { why, client }) => {
                self.count_refusal(&why);
                self.refuse(source, why.into(), client, why.to_string());
                return None;
            }
        };
        if let Some(made_at) = verified.made_at
            && !self.record(block, &verified, made_at, &arrival)
        {
            return None;
        }
        self.counters.accepted += 1;
        Some(self.open_request(&verified, syn))
    }

    fn count_refusal(&mut self, refusal: &Refusal) {
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

    /// Reports the refusal of a knock or a block of `source`.
    pub(super) fn refuse(
        &mut self,
        source: IpAddr,
        reason: Reason,
        client: Option<usize>,
        detail: String,
    ) {
        let event = Event::Refused {
            source,
            reason,
            client: client.map(|client| self.config.auth.clients[client].name.clone()),
            detail,
        };
        if reason.is_noise() {
            self.reporter.report_quietly(event);
        } else {
            self.report_limited(source, event);
        }
    }

    /// Reports an event that `source` can cause at any rate: to the log within its limits, and to
    /// every subscriber.
    fn report_limited(&mut self, source: IpAddr, event: Event) {
        if self.refusals.admit(source, monotonic()) {
            self.reporter.report(event);
        } else {
            self.reporter.report_quietly(event);
        }
    }

    /// Logs the numbers of refusals that the rate limit kept out of the log.
    pub(super) fn log_refusal_sums(&mut self) {
        for left_out in self.refusals.take() {
            log_event(&left_out);
        }
    }

    /// Records a sealed block in the replay store. If its knock has to be refused, reports the
    /// refusal and returns `false`.
    fn record(
        &mut self,
        block: &Block,
        verified: &Verified,
        made_at: u64,
        arrival: &Arrival,
    ) -> bool {
        let source = arrival.source;
        let now = monotonic();
        // A client sends each knock several times. A further copy is not a replay.
        if let Some((from, at)) = self.accepted.get(block)
            && *from == source
            && now < *at + COPIES_TAKE
        {
            self.counters.copies += 1;
            let detail = "a further copy of the knock that was just accepted".to_owned();
            self.refuse(source, Reason::Copy, Some(verified.client), detail);
            return false;
        }
        let recorded = match &mut self.store {
            Some(store) => store.record(block, made_at, arrival.now, arrival.max_skew),
            None => Err(RecordError::Broken(anyhow!("there is no directory for it"))),
        };
        let Err(error) = recorded else {
            self.accepted.put(*block, (source, now));
            return true;
        };
        let reason = match &error {
            RecordError::Replayed => {
                self.counters.refused_replayed += 1;
                self.replay_reason(block, verified, source)
            }
            RecordError::BeyondHorizon => {
                self.counters.refused_stale += 1;
                Reason::Stale
            }
            RecordError::Full | RecordError::Broken(_) => {
                self.counters.refused_store += 1;
                let message = format!("a sealed knock from {source} is refused: {error}");
                self.report_limited(source, Event::Trouble { message });
                return false;
            }
        };
        self.refuse(source, reason, Some(verified.client), error.to_string());
        false
    }

    /// The reason for refusing a stored block: a repetition from the client's own address, or a
    /// replay from another one.
    fn replay_reason(&mut self, block: &Block, verified: &Verified, source: IpAddr) -> Reason {
        let is_clients_address = match self.accepted.get(block) {
            _ if verified.is_bound => true,
            Some((from, _)) => *from == source,
            // Accepted before this process started. The store does not contain the address, and
            // the client may still be sending copies.
            None => monotonic() < self.started + COPIES_TAKE,
        };
        if is_clients_address {
            Reason::Repeated
        } else {
            Reason::Replayed
        }
    }

    /// Warns if the wall clock was set.
    fn check_clock(&mut self, now: u64) {
        if let Some(jump) = self.wall_clock.jumped(now, monotonic()) {
            let direction = if jump > 0 { "forward" } else { "back" };
            warn!(
                "this host's clock was set {direction} by {} s: sealed knocks that were made by the old time are stale now, and none that was accepted before is accepted again",
                jump.unsigned_abs() / 1000
            );
        }
    }

    /// The request to open the door.
    fn open_request(&self, verified: &Verified, syn: &Syn) -> Request {
        let Policy { clients, doors } = &self.config.auth;
        Request::Open(OpenDoor {
            query: 0,
            door: doors[verified.door].number,
            client: clients[verified.client].number,
            source: syn.source,
            lease: verified.lease,
            at: syn.at,
        })
    }
}
