//! From a block to an order, or to a reason why not.

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
    replay_store::{RememberError, ReplayStore},
    state::Listener,
};

/// Within this time a knock that was accepted comes again as a further copy: the client sends
/// up to 8 of 16 SYNs that are up to 500 ms apart, which takes 64 s, and a network its time.
const COPIES_TAKE: Duration = Duration::from_secs(80);

impl Listener {
    /// Opens the store in the folder that this process is in, if there is something to remember
    /// from now on. One that does not work is told, and keeps sealed knocks out, but nobody else.
    pub(crate) fn open_store(&mut self) -> Result<()> {
        let Some(folder) = &self.store_folder else {
            return Ok(());
        };
        if self.store.is_none() && self.terms.auth.has_sealed_clients() {
            let (store, trouble) = ReplayStore::open(Path::new("."), folder)?;
            self.store = Some(store);
            if let Some(trouble) = trouble {
                let message = format!("{trouble:#}");
                self.reporter.report(Event::Trouble { message });
            }
        }
        Ok(())
    }

    /// Tries one block, which `knock` has completed; if it is accepted, what it asks for.
    pub(super) fn attempt(&mut self, block: &Block, knock: &Syn) -> Option<Request> {
        let source = knock.source;
        self.counters.attempts += 1;
        let arrival = Arrival {
            source,
            now: unix_ms(),
            max_skew: self.terms.max_skew,
        };
        self.watch_clock(arrival.now);
        let grant = match self.authenticator.verify(block, &arrival) {
            Ok(grant) => grant,
            Err(Refused { why, client }) => {
                self.count(&why);
                self.refuse(source, why.into(), client, why.to_string());
                return None;
            }
        };
        if let Some(made_at) = grant.made_at
            && !self.remember(block, &grant, made_at, &arrival)
        {
            return None;
        }
        self.counters.accepted += 1;
        Some(self.order(&grant, knock))
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
            client: client.map(|client| self.terms.auth.clients[client].name.clone()),
            detail,
        };
        if reason.is_noise() {
            self.reporter.report_quietly(event);
        } else {
            self.report_within_bounds(source, event);
        }
    }

    /// Reports what whoever is at `source` can bring about as often as he likes.
    fn report_within_bounds(&mut self, source: IpAddr, event: Event) {
        if self.refusals.admit(source, monotonic()) {
            self.reporter.report(event);
        } else {
            self.reporter.report_quietly(event);
        }
    }

    /// Sums up the refusals that the log has no lines of.
    pub(super) fn sum_up_refusals(&mut self) {
        for left_out in self.refusals.take() {
            log_event(&left_out);
        }
    }

    /// Whether a sealed block is now on disk and was not before.
    fn remember(
        &mut self,
        block: &Block,
        grant: &Verified,
        made_at: u64,
        arrival: &Arrival,
    ) -> bool {
        let source = arrival.source;
        let now = monotonic();
        // The client sends everything several times: a further copy is no attack.
        if let Some((from, at)) = self.accepted.get(block)
            && *from == source
            && now < *at + COPIES_TAKE
        {
            self.counters.copies += 1;
            let detail = "a further copy of the knock that was just accepted".to_owned();
            self.refuse(source, Reason::Copy, Some(grant.client), detail);
            return false;
        }
        let remembered = match &mut self.store {
            Some(store) => store.remember(block, made_at, arrival.now, arrival.max_skew),
            None => Err(RememberError::Broken(anyhow!("there is none"))),
        };
        let Err(error) = remembered else {
            self.accepted.put(*block, (source, now));
            return true;
        };
        let reason = match &error {
            RememberError::Replayed => {
                self.counters.refused_replayed += 1;
                self.replay(block, grant, source)
            }
            RememberError::BeyondHorizon => {
                self.counters.refused_stale += 1;
                Reason::Stale
            }
            RememberError::Full | RememberError::Broken(_) => {
                self.counters.refused_store += 1;
                let message = format!("a sealed knock from {source} is refused: {error}");
                self.report_within_bounds(source, Event::Trouble { message });
                return false;
            }
        };
        self.refuse(source, reason, Some(grant.client), error.to_string());
        false
    }

    /// Whether a knock that was accepted before speaks against `source`: not where its client
    /// is, and may be sending it still.
    fn replay(&mut self, block: &Block, grant: &Verified, source: IpAddr) -> Reason {
        let is_its_clients = match self.accepted.get(block) {
            _ if grant.is_bound => true,
            Some((from, _)) => *from == source,
            // It was accepted by a daemon before this one, from nobody knows where.
            None => monotonic() < self.started + COPIES_TAKE,
        };
        if is_its_clients {
            Reason::Repeated
        } else {
            Reason::Replayed
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

    /// What the keeper is asked for.
    fn order(&self, grant: &Verified, knock: &Syn) -> Request {
        let Policy { clients, doors } = &self.terms.auth;
        Request::Open(OpenDoor {
            query: 0,
            door: doors[grant.door].number,
            client: clients[grant.client].number,
            source: knock.source,
            lease: grant.lease,
            at: knock.at,
        })
    }
}
