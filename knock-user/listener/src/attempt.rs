//! Verifies knocks: each results in a request or in a refusal.

use std::{net::IpAddr, path::Path, time::Duration};

use anyhow::{Result, anyhow};
use arrayvec::ArrayVec;
use knock_common::protocol::{block::Block, tile::TILE_LEN};
use knockd_ipc::request::{OpenDoor, Request, WithdrawDoor};
use knockd_runtime::{
    clock::{monotonic, unix_ms},
    log::log_event,
};
use knockd_types::{
    datagram::Datagram, event::Event, history::Via, policy::Policy, reason::Reason, syn::Syn, utc,
};
use tracing::warn;

use crate::{
    accepted::{AcceptedKnock, OldKey},
    auth::{Arrival, Attempt, Refusal, Refused, SingleUse, Verified, Wish},
    replay_store::{RecordError, ReplayStore},
    state::Listener,
    trials::Trial,
};

/// The time in which further copies of an accepted knock arrive. The client sends up to 8 copies of
/// 16 SYNs up to 500 ms apart, which takes 64 s; the network adds its delay.
const COPIES_TAKE: Duration = Duration::from_secs(80);

impl Listener {
    /// Opens the replay store in the working directory, if a client has a key pair. If the store does
    /// not work, this is reported, and single-use knocks are refused.
    ///
    /// # Errors
    ///
    /// Returns an error if another daemon has the store open.
    pub(crate) fn open_store(&mut self) -> Result<()> {
        let Some(path) = &self.store_path else {
            return Ok(());
        };
        if self.store.is_none() && self.config.auth.has_single_use_knocks() {
            let (store, problem) = ReplayStore::open(Path::new("."), path)?;
            self.store = Some(store);
            if let Some(problem) = problem {
                let message = format!("{problem:#}");
                self.reporter.report(Event::Trouble { message });
            }
        }
        Ok(())
    }

    /// Tries the blocks of `trials`. The accepted ones are in [`Listener::accepted_knocks`] then.
    pub(super) fn attempt(&mut self, trials: &[Trial]) {
        let arrivals = trials.iter().map(|trial| Attempt {
            block: trial.block,
            arrival: self.arrival(trial.source),
        });
        let attempts: Vec<_> = arrivals.collect();
        self.counters.attempts += attempts.len() as u64;
        let outcomes = self.authenticator.verify(&attempts);
        let mut accepted: ArrayVec<&Trial, TILE_LEN> = ArrayVec::new();
        for ((trial, attempt), outcome) in trials.iter().zip(&attempts).zip(outcomes) {
            // As if it had been removed from those that wait.
            if accepted.iter().any(|other| trial.overlaps(other)) {
                continue;
            }
            if self.decide(outcome, &attempt.arrival, Via::Syn, trial.at) {
                self.assembler.accept(&trial.source, trial.until);
                self.trials.accept(trial);
                accepted.push(trial);
                self.count_whole();
            }
        }
    }

    /// Tries the `block` of SYNs from several addresses, the last of which is `syn`. It opens nothing:
    /// which of them is the client's is unknown. If it is a client's, that is reported.
    pub(super) fn try_scattered(&mut self, block: Block, syn: &Syn) {
        let attempt = Attempt {
            block,
            arrival: self.arrival(syn.source),
        };
        let outcome = self.authenticator.verify(&[attempt]).into_iter().next();
        let client = match outcome {
            Some(Ok(verified)) => verified.client,
            Some(Err(Refused {
                why:
                    Refusal::Stale { .. }
                    | Refusal::Expired
                    | Refusal::OldKey
                    | Refusal::Outside
                    | Refusal::BoundElsewhere
                    | Refusal::NotBound
                    | Refusal::ClientNotAllowed,
                client: Some(client),
            })) => client,
            _ => return,
        };
        self.counters.scattered += 1;
        let addresses = self.scattered.take();
        let detail = format!(
            "its SYNs came from {addresses} addresses, as behind a NAT that gives each connection another one: use a datagram knock"
        );
        self.refuse(syn.source, Reason::Scattered, Some(client), detail);
    }

    /// Tries `datagram`. Returns whether it is accepted.
    pub(super) fn attempt_datagram(&mut self, datagram: &Datagram) -> bool {
        let arrival = self.arrival(datagram.source);
        let (decrypted, is_known) = self.decrypted.get(&self.authenticator, &datagram.bytes);
        self.counters.datagrams_repeated += u64::from(is_known);
        let verified = self
            .authenticator
            .verify_datagram(&datagram.bytes, &decrypted, &arrival);
        self.decide(verified, &arrival, Via::Datagram, datagram.at)
    }

    fn arrival(&mut self, source: IpAddr) -> Arrival {
        let arrival = Arrival {
            source,
            now: unix_ms(),
            max_skew: self.config.max_skew,
        };
        self.check_clock(arrival.now);
        arrival
    }

    /// Reports a refused knock, or enters an accepted one, whose last packet arrived `at`. Returns
    /// whether it is accepted.
    fn decide(
        &mut self,
        verified: Result<Verified, Refused>,
        arrival: &Arrival,
        via: Via,
        at: Duration,
    ) -> bool {
        let verified = match verified {
            Ok(verified) => verified,
            Err(Refused { why, client }) => {
                self.count_refusal(&why);
                self.refuse(arrival.source, why.into(), client, why.to_string());
                return false;
            }
        };
        let number = self.config.auth.clients[verified.client].number;
        if self
            .fleet
            .as_ref()
            .is_some_and(|fleet| fleet.is_revoked(number))
        {
            self.counters.refused_revoked += 1;
            let detail = "the fleet has revoked this client's key".to_owned();
            self.refuse(
                arrival.source,
                Reason::Revoked,
                Some(verified.client),
                detail,
            );
            return false;
        }
        if let Some(single_use) = verified.single_use
            && !self.enter(&verified, &single_use, arrival)
        {
            return false;
        }
        self.accepted_knocks.push(AcceptedKnock {
            request: self.request_for(&verified, arrival.source, via, at),
            source: arrival.source,
            single_use: verified.single_use,
            is_bound: verified.is_bound,
            old_key: verified.old_key_until.map(|until| OldKey {
                client: verified.client,
                until,
            }),
        });
        true
    }

    /// Writes the accepted knocks to the replay store, all at once, and returns them. If they cannot be
    /// written, they are refused.
    pub(super) fn commit_knocks(&mut self) -> Vec<AcceptedKnock> {
        let mut knocks = std::mem::take(&mut self.accepted_knocks);
        let committed = self.store.as_mut().map_or(Ok(()), ReplayStore::commit);
        if let Err(error) = committed {
            let error = format!("the replay store has failed: {error:#}");
            knocks.retain(|knock| {
                let Some(SingleUse { id, .. }) = knock.single_use else {
                    return true;
                };
                self.accepted.pop(&id);
                self.refuse_unstored(knock.source, &error);
                false
            });
        }
        knocks
    }

    /// Counts a knock that is accepted for good. Returns the request for the supervisor.
    pub(super) fn accept(&mut self, knock: AcceptedKnock) -> Request {
        self.counters.accepted += 1;
        // A claim cannot be given back.
        if let (Request::Open(open), Some(single_use), true, None) = (
            &knock.request,
            knock.single_use,
            knock.is_bound,
            &self.fleet,
        ) {
            let key = (open.client, open.source, open.at);
            self.returnable.put(key, single_use);
        }
        if let Some(old_key) = knock.old_key {
            self.report_old_key(knock.source, &old_key);
        }
        knock.request
    }

    /// The index of the client that a request is for.
    pub(super) fn client_of(&self, request: &Request) -> Option<usize> {
        let number = match request {
            Request::Open(open) => open.client,
            Request::Withdraw(withdraw) => withdraw.client,
            _ => return None,
        };
        let mut clients = self.config.auth.clients.iter();
        clients.position(|client| client.number == number)
    }

    /// Reports that the supervisor has no room for the door that a knock asked for.
    ///
    /// The knock is given back: until it is stale, it is accepted when it comes again. One that is not
    /// bound stays used, since whoever has recorded it could open the door for an address of their own.
    pub(super) fn refuse_full(&mut self, client: u32, source: IpAddr, at: Duration) {
        if let Some(SingleUse { id, made_at }) = self.returnable.pop(&(client, source, at)) {
            self.accepted.pop(&id);
            if let Some(store) = &mut self.store {
                store.give_back(&id, made_at);
            }
        }
        let mut clients = self.config.auth.clients.iter();
        let client = clients.position(|one| one.number == client);
        let detail = "as many doors are open as `limits.open_doors` allows".to_owned();
        self.refuse(source, Reason::DoorsFull, client, detail);
    }

    /// Reports that an accepted knock of `source` was made with the key that its client had before.
    fn report_old_key(&mut self, source: IpAddr, OldKey { client, until }: &OldKey) {
        self.counters.accepted_old_key += 1;
        self.reporter.report(Event::OldKey {
            client: self.config.auth.clients[*client].name.clone(),
            source,
            until: utc::seconds(Duration::from_millis(*until)),
        });
    }

    /// Reports that a knock of `source` is refused because it cannot be stored.
    fn refuse_unstored(&mut self, source: IpAddr, error: &str) {
        self.counters.refused_store += 1;
        let message = format!("a knock from {source} is refused: {error}");
        self.report_limited(source, Event::Trouble { message });
    }

    fn count_refusal(&mut self, refusal: &Refusal) {
        let counters = &mut self.counters;
        *match refusal {
            Refusal::BadParity => &mut counters.refused_bad_parity,
            Refusal::UnknownSequence => &mut counters.refused_unknown_sequence,
            Refusal::UnknownTag => &mut counters.refused_unknown_tag,
            Refusal::ClientNotAllowed => &mut counters.refused_client_not_allowed,
            Refusal::Stale { .. } => &mut counters.refused_stale,
            Refusal::Forged => &mut counters.refused_forged,
            Refusal::Invalid => &mut counters.refused_invalid,
            Refusal::Expired => &mut counters.refused_expired,
            Refusal::OldKey => &mut counters.refused_old_key,
            Refusal::Outside => &mut counters.refused_outside,
            Refusal::BoundElsewhere | Refusal::NotBound | Refusal::ForOther => {
                &mut counters.refused_binding
            }
        } += 1;
    }

    /// Reports the refusal of a knock of `source`.
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

    /// Enters a single-use knock in the replay store. If it has to be refused, reports the refusal and
    /// returns `false`.
    fn enter(
        &mut self,
        verified: &Verified,
        SingleUse { id, made_at }: &SingleUse,
        arrival: &Arrival,
    ) -> bool {
        let source = arrival.source;
        let now = monotonic();
        // A client sends each knock several times. A further copy is not a replay.
        if let Some((from, at)) = self.accepted.get(id)
            && *from == source
            && now < *at + COPIES_TAKE
        {
            self.counters.copies += 1;
            let detail = "a further copy of the knock that was just accepted".to_owned();
            self.refuse(source, Reason::Copy, Some(verified.client), detail);
            return false;
        }
        let entered = match &mut self.store {
            // Spares the store a recording that is sent in a flood.
            _ if self.accepted.contains(id) => Err(RecordError::Replayed),
            Some(store) => store.enter(id, *made_at, arrival.now, arrival.max_skew),
            None => Err(RecordError::Broken(anyhow!("there is no directory for it"))),
        };
        let Err(error) = entered else {
            self.accepted.put(*id, (source, now));
            return true;
        };
        let reason = match &error {
            RecordError::Replayed => {
                self.counters.refused_replayed += 1;
                self.replay_reason(id, verified, source)
            }
            RecordError::BeyondHorizon => {
                self.counters.refused_stale += 1;
                Reason::Stale
            }
            RecordError::Full | RecordError::Broken(_) => {
                self.refuse_unstored(source, &error.to_string());
                return false;
            }
        };
        self.refuse(source, reason, Some(verified.client), error.to_string());
        false
    }

    /// The reason for refusing a stored knock: a repetition from the client's own address, or a
    /// replay from another one.
    fn replay_reason(&mut self, id: &[u8; 16], verified: &Verified, source: IpAddr) -> Reason {
        let is_clients_address = match self.accepted.get(id) {
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
                "this host's clock was set {direction} by {} s: knocks that were made by the old time are stale now, and none that was accepted before is accepted again",
                jump.unsigned_abs() / 1000
            );
        }
    }

    /// The request to open or close the door, for a knock from `sender`.
    fn request_for(&self, verified: &Verified, sender: IpAddr, via: Via, at: Duration) -> Request {
        let Policy { clients, doors, .. } = &self.config.auth;
        let door = doors[verified.door].number;
        let client = clients[verified.client].number;
        let source = verified.beneficiary;
        match verified.wish {
            Wish::Open(lease) => Request::Open(OpenDoor {
                query: 0,
                door,
                client,
                source,
                lease,
                at,
                sender,
                is_datagram: via == Via::Datagram,
            }),
            Wish::Close => Request::Withdraw(WithdrawDoor {
                door,
                client,
                source,
            }),
        }
    }
}
