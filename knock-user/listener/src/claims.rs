//! Carries out what the [fleet](crate::fleet) decides.

use anyhow::{Context as _, Result};
use knockd_ipc::{fleet::Report, request::CloseDoors};
use knockd_runtime::clock::{monotonic, sleep_until_monotonic, unix_ms};
use knockd_types::{
    reason::Reason,
    status::{FleetLease, FleetStatus},
};
use tokio::sync::oneshot;
use tracing::warn;

use crate::{
    accepted::AcceptedKnock,
    fleet::{Command, Effect, Fleet, Now},
    pending::Outcome,
    replay_store::{MAX_BATCH, RecordError},
    state::Listener,
};

/// What wakes the fleet.
pub(crate) enum Wake {
    /// The fleet process has sent these.
    Reports(Vec<Report>),
    /// A deadline.
    Due,
}

/// The next of both; never without a fleet. Cancel-safe.
pub(crate) async fn next(fleet: &mut Option<Fleet>) -> Wake {
    let Some(fleet) = fleet else {
        return std::future::pending().await;
    };
    let deadline = fleet.next_deadline();
    let mut reports = Vec::new();
    tokio::select! {
        biased;
        () = sleep_until_monotonic(deadline) => Wake::Due,
        () = fleet.next(&mut reports) => Wake::Reports(reports),
    }
}

fn now() -> Now {
    Now {
        unix_ms: unix_ms(),
        monotonic: monotonic(),
    }
}

impl Listener {
    /// Handles what has woken the fleet.
    ///
    /// # Errors
    ///
    /// Returns an error if the supervisor has exited.
    pub(crate) async fn wake_fleet(&mut self, wake: Wake) -> Result<()> {
        // Nothing else may arrive for long, and the beats of the nodes do.
        self.forget_sources();
        let mut effects = Vec::new();
        if let Some(fleet) = &mut self.fleet {
            match wake {
                Wake::Reports(reports) => {
                    for report in reports {
                        fleet.handle(report, now(), &mut effects);
                    }
                }
                Wake::Due => fleet.wake(now(), &mut effects),
            }
        }
        self.carry_out(effects).await
    }

    /// Claims the accepted `knocks`, which are on disk.
    ///
    /// # Errors
    ///
    /// Returns an error if the supervisor has exited.
    pub(crate) async fn claim(&mut self, knocks: Vec<AcceptedKnock>) -> Result<()> {
        let mut effects = Vec::new();
        if let Some(fleet) = &mut self.fleet {
            for knock in knocks {
                fleet.claim(knock, now(), &mut effects);
            }
        }
        self.carry_out(effects).await
    }

    /// Closes doors on the other nodes too, if there are any.
    ///
    /// # Errors
    ///
    /// Returns an error if the supervisor has exited.
    pub(crate) async fn close_everywhere(
        &mut self,
        close: &CloseDoors,
        reply: Option<oneshot::Sender<Outcome>>,
    ) -> Result<()> {
        let mut effects = Vec::new();
        let names = vec![match close.door {
            Some(door) => self.door_name(door),
            None => "every door".to_owned(),
        }];
        let command = reply.map(|reply| Command { reply, names });
        match (&mut self.fleet, command) {
            (Some(fleet), command) => fleet.close(close, command, now(), &mut effects),
            (None, Some(command)) => effects.push(no_fleet(command)),
            (None, None) => {}
        }
        self.carry_out(effects).await
    }

    /// Revokes the key of a client on every node.
    ///
    /// # Errors
    ///
    /// Returns an error if the supervisor has exited.
    pub(crate) async fn revoke_everywhere(
        &mut self,
        client: &str,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<()> {
        let mut effects = Vec::new();
        let names = vec![client.to_owned()];
        let command = Command { reply, names };
        match &mut self.fleet {
            Some(fleet) => fleet.revoke(client, command, now(), &mut effects),
            None => effects.push(no_fleet(command)),
        }
        self.carry_out(effects).await
    }

    /// The state of the fleet, for `status`.
    pub(crate) fn fleet_status(&self) -> Option<FleetStatus> {
        self.fleet.as_ref().map(|fleet| fleet.status(now()))
    }

    /// The doors that the fleet has opened; none without one.
    pub(crate) fn fleet_leases(&self) -> Vec<FleetLease> {
        let fleet = self.fleet.as_ref();
        fleet.map(|fleet| fleet.leases(now())).unwrap_or_default()
    }

    fn door_name(&self, number: u32) -> String {
        let mut doors = self.config.auth.doors.iter();
        let door = doors.find(|door| door.number == number);
        door.map_or_else(String::new, |door| door.name.clone())
    }

    async fn carry_out(&mut self, effects: Vec<Effect>) -> Result<()> {
        // First, so that a knock is refused here before its door is open.
        self.remember(&effects);
        for effect in effects {
            match effect {
                Effect::Accept(knock) => {
                    let request = self.accept(knock);
                    self.send(&request).await?;
                }
                Effect::Refuse(knock, reason, detail) => {
                    self.refuse_claimed(&knock, reason, detail);
                }
                Effect::Remember(..) => {}
                Effect::Request(request) => {
                    self.counters.fleet_actions += 1;
                    self.send(&request).await?;
                }
                Effect::Answer(command, outcome) => {
                    // Fails if the administrator has left.
                    let _ = command.reply.send(outcome.map(|()| command.names));
                }
            }
        }
        Ok(())
    }

    async fn send(&self, request: &knockd_ipc::request::Request) -> Result<()> {
        let sent = self.supervisor.send(request).await;
        sent.context("the supervisor does not receive requests")
    }

    /// Enters the knocks in the replay store that other nodes have accepted.
    fn remember(&mut self, effects: &[Effect]) {
        let Some(store) = &mut self.store else {
            return;
        };
        let knocks: Vec<_> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Remember(id, made_at) => Some((id, *made_at)),
                _ => None,
            })
            .collect();
        for batch in knocks.chunks(MAX_BATCH) {
            let now = unix_ms();
            let entered = batch.iter().try_for_each(|(id, made_at)| {
                match store.enter(id, *made_at, now, self.config.max_skew) {
                    // Then it is refused anyway.
                    Ok(()) | Err(RecordError::Replayed | RecordError::BeyondHorizon) => Ok(()),
                    Err(error) => Err(error),
                }
            });
            let kept = entered
                .map_err(anyhow::Error::from)
                .and_then(|()| store.commit());
            if let Err(error) = kept {
                // The engine refuses them nevertheless, as long as it is reached.
                warn!("knocks that other nodes have accepted cannot be stored: {error:#}");
            }
        }
    }

    fn refuse_claimed(&mut self, knock: &AcceptedKnock, reason: Reason, detail: String) {
        *match reason {
            Reason::Unreachable => &mut self.counters.refused_unreachable,
            Reason::Revoked => &mut self.counters.refused_revoked,
            _ => &mut self.counters.refused_replayed,
        } += 1;
        let client = self.client_of(&knock.request);
        self.refuse(knock.source, reason, client, detail);
    }
}

fn no_fleet(command: Command) -> Effect {
    let error = "this daemon is no node of a fleet: its configuration has no [fleet]";
    Effect::Answer(command, Err(error.into()))
}
