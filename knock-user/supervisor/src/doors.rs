//! The open doors, with their sources and deadlines.
//!
//! A state machine without I/O. Inputs are accepted knocks, the clock and finished tasks; outputs
//! are tasks. Each door key (door and source) has at most one running task, so opening and closing
//! never overlap. The state machine is independent of the effect of a task,
//! which may change the gate, run a command, do both, or do nothing.
//!
//! A door ends at the end of its lease, whatever is sent through it. Datagrams keep only its leases of
//! UDP ports in use after that, until a pause or until the door is revoked.

mod room;

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    num::NonZeroUsize,
    time::Duration,
};

use self::room::Room;

/// A door key: a door, and the source address that it is open for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct DoorKey {
    /// The door's number.
    pub door: usize,
    /// The source address that the door is open for.
    pub source: IpAddr,
}

/// The admission that an accepted knock grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Grant {
    /// The client's number.
    pub client: usize,
    /// How long the door stays open.
    pub lease: Duration,
}

/// The kind of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Open the gate, then execute `run`.
    Open,
    /// Close the gate, then execute `close`.
    Close,
}

/// A task for the caller, which reports its end to [`Doors::finished`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// The door key.
    pub key: DoorKey,
    /// The client's number.
    pub client: usize,
    /// The kind of the task.
    pub action: Action,
    /// The duration of the lease.
    pub lease: Duration,
}

/// The effect of an accepted knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The door opens: run this task.
    Opens(Task),
    /// The door was open already. Its lease was renewed.
    Extends,
    /// The door is closing. It opens again when that is done.
    Reopens,
    /// As many doors are open as are allowed, or as this client may have open.
    Full,
}

/// The effect of a deadline or a finished task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Run this task.
    Start(Task),
    /// The door is closed.
    Closed(DoorKey),
    /// The door is closed, and its leases of UDP ports are no longer in use.
    Idle(DoorKey),
    /// Every attempt to close the door failed. It may still be open and is not tried again.
    GaveUp(DoorKey),
}

/// An open door, for `status` and the lease journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenDoor {
    /// The door key.
    pub key: DoorKey,
    /// The number of the client that knocked last.
    pub client: usize,
    /// The duration of its lease.
    pub lease: Duration,
    /// The end of the lease, on the monotonic clock. Of a door that is closed but in use: the time
    /// until which it is.
    pub until: Duration,
    /// Whether `run` has succeeded, and `close` has not been run since.
    pub opened: bool,
    /// Whether the gate admits the source: until the door is closing, even if `run` failed.
    pub admits: bool,
    /// Whether the lease was taken away. Otherwise datagrams keep UDP ports open after its end.
    pub revoked: bool,
    /// Whether the door is closed, and datagrams keep its leases of UDP ports in use.
    pub in_use: bool,
    /// The state, for display.
    pub state: &'static str,
}

/// The number of attempts to run `close`, with pauses of 1, 2, 4 and 8 seconds. A failure may be
/// temporary, such as a firewall's lock, and a door that stays open is worse than one that closes
/// late.
const CLOSING_ATTEMPTS: u32 = 5;

/// All open doors, up to a maximum number.
#[derive(Debug)]
pub(crate) struct Doors {
    leases: HashMap<DoorKey, Lease>,
    /// The deadlines of leases and retries.
    deadlines: BTreeSet<(Duration, DoorKey)>,
    room: Room,
    stopping: bool,
}

#[derive(Debug)]
struct Lease {
    grant: Grant,
    until: Duration,
    revoked: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The opening task is running.
    Opening,
    Open,
    /// `run` failed. It may have had an effect, so `close` is still required. The next knock
    /// tries again.
    Failed,
    /// The closing task is running, for the `attempt`th time.
    Closing {
        attempt: u32,
        reopen: Option<Grant>,
    },
    /// `close` failed `attempt` times and is tried again at `at`.
    Retrying {
        attempt: u32,
        at: Duration,
    },
    /// The door is closed, but datagrams keep its leases of UDP ports in use, at least until the end
    /// of the lease.
    InUse,
}

impl Doors {
    /// No open door, and room for `max`.
    #[must_use]
    pub(crate) fn new(max: NonZeroUsize) -> Self {
        Self {
            leases: HashMap::new(),
            deadlines: BTreeSet::new(),
            room: Room::new(max),
            stopping: false,
        }
    }

    /// Changes the maximum number of open doors. Doors that are open stay open.
    pub(crate) fn set_max(&mut self, max: NonZeroUsize) {
        self.room.resize(max);
    }

    /// Restores a door that a previous daemon process opened. If `run` is not known to have
    /// succeeded (`opened`), the next knock runs it. `close` is required in any case.
    pub(crate) fn restore(&mut self, key: DoorKey, grant: Grant, until: Duration, opened: bool) {
        let phase = if opened { Phase::Open } else { Phase::Failed };
        let lease = Lease {
            grant,
            until,
            revoked: false,
            phase,
        };
        self.room.take(grant.client, key.door);
        self.leases.insert(key, lease);
        self.deadlines.insert((until, key));
    }

    /// The open door with this key, if any.
    #[must_use]
    pub(crate) fn get(&self, key: &DoorKey) -> Option<OpenDoor> {
        let lease = self.leases.get(key)?;
        Some(lease.open_door(*key))
    }

    /// Handles an accepted knock at `now`.
    pub(crate) fn admit(&mut self, key: DoorKey, grant: Grant, now: Duration) -> Admission {
        let until = now + grant.lease;
        let Some(lease) = self.leases.get_mut(&key) else {
            if !self.room.has_place(grant.client, key.door) {
                return Admission::Full;
            }
            let lease = Lease {
                grant,
                until,
                revoked: false,
                phase: Phase::Opening,
            };
            let task = lease.task(key, Action::Open);
            self.room.take(grant.client, key.door);
            self.leases.insert(key, lease);
            return Admission::Opens(task);
        };
        match &mut lease.phase {
            Phase::Opening | Phase::Open => {
                self.deadlines.remove(&(lease.until, key));
                lease.until = if lease.revoked {
                    until
                } else {
                    lease.until.max(until)
                };
                lease.grant(&mut self.room, key, grant);
                if lease.phase == Phase::Open {
                    self.deadlines.insert((lease.until, key));
                }
                Admission::Extends
            }
            Phase::Closing { reopen, .. } => {
                *reopen = Some(grant);
                Admission::Reopens
            }
            Phase::Failed | Phase::Retrying { .. } | Phase::InUse => {
                self.deadlines.remove(&(lease.deadline(), key));
                lease.phase = Phase::Opening;
                lease.grant(&mut self.room, key, grant);
                lease.until = until;
                Admission::Opens(lease.task(key, Action::Open))
            }
        }
    }

    /// Shortens the lease of a door to end at `until`, if it ends later.
    pub(crate) fn shorten(&mut self, key: DoorKey, until: Duration) {
        if let Some(lease) = self.leases.get_mut(&key)
            && lease.until > until
        {
            let had_deadline = self.deadlines.remove(&(lease.until, key));
            lease.until = until;
            if had_deadline {
                self.deadlines.insert((until, key));
            }
        }
    }

    /// Removes a door that could not be opened.
    pub(crate) fn forget(&mut self, key: DoorKey) {
        if let Some(lease) = self.leases.remove(&key) {
            self.room.leave(lease.grant.client, key.door);
            self.deadlines.remove(&(lease.deadline(), key));
        }
    }

    /// Revokes the lease at `now`: it no longer admits the source. Returns the first step if the
    /// door can be closed at once.
    pub(crate) fn revoke(&mut self, key: DoorKey, now: Duration) -> Option<Step> {
        let lease = self.leases.get_mut(&key)?;
        self.deadlines.remove(&(lease.deadline(), key));
        lease.until = now;
        lease.revoked = true;
        match &mut lease.phase {
            Phase::Opening => None,
            Phase::Closing { reopen, .. } => {
                *reopen = None;
                None
            }
            Phase::Open | Phase::Failed | Phase::Retrying { .. } => Some(self.close(key)),
            Phase::InUse => {
                self.forget(key);
                Some(Step::Closed(key))
            }
        }
    }

    /// Handles the end of a task; `ok` means success. `used_until` is the time until which datagrams
    /// keep the leases of UDP ports in use, if they do.
    pub(crate) fn finished(
        &mut self,
        key: DoorKey,
        ok: bool,
        now: Duration,
        used_until: Option<Duration>,
    ) -> Option<Step> {
        let lease = self.leases.get_mut(&key)?;
        match lease.phase {
            Phase::Opening => {
                lease.phase = if ok { Phase::Open } else { Phase::Failed };
                if self.stopping || lease.until <= now {
                    return Some(self.close(key));
                }
                self.deadlines.insert((lease.until, key));
                None
            }
            Phase::Closing {
                reopen: Some(grant),
                ..
            } if !self.stopping => {
                lease.grant(&mut self.room, key, grant);
                lease.until = now + grant.lease;
                lease.phase = Phase::Opening;
                Some(Step::Start(lease.task(key, Action::Open)))
            }
            Phase::Closing { .. } if ok => {
                if let Some(until) = used_until
                    && !lease.revoked
                    && !self.stopping
                {
                    lease.phase = Phase::InUse;
                    lease.until = until;
                    self.deadlines.insert((until, key));
                    return None;
                }
                self.forget(key);
                Some(Step::Closed(key))
            }
            Phase::Closing { attempt, .. } => {
                if attempt >= CLOSING_ATTEMPTS || self.stopping {
                    self.forget(key);
                    return Some(Step::GaveUp(key));
                }
                let at = now + Duration::from_secs(1 << (attempt - 1));
                lease.phase = Phase::Retrying { attempt, at };
                self.deadlines.insert((at, key));
                None
            }
            // No task is running in these phases.
            Phase::Open | Phase::Failed | Phase::Retrying { .. } | Phase::InUse => None,
        }
    }

    /// A door whose deadline is not after `now`.
    #[must_use]
    pub(crate) fn due(&self, now: Duration) -> Option<DoorKey> {
        let (at, key) = *self.deadlines.first()?;
        (at <= now).then_some(key)
    }

    /// Handles the deadline of a door that is [due](Self::due): closes it, unless it is closed and
    /// in use until `used_until`.
    pub(crate) fn expire(&mut self, key: DoorKey, used_until: Option<Duration>) -> Option<Step> {
        let lease = self.leases.get_mut(&key)?;
        let deadline = lease.deadline();
        if lease.phase != Phase::InUse {
            self.deadlines.remove(&(deadline, key));
            return Some(self.close(key));
        }
        let Some(until) = used_until.filter(|until| *until > deadline) else {
            self.forget(key);
            return Some(Step::Idle(key));
        };
        self.deadlines.remove(&(deadline, key));
        lease.until = until;
        self.deadlines.insert((until, key));
        None
    }

    /// The time at which [`Doors::expire`] has to be called next.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Closes every door and opens none again. A door with a running task is closed when the task
    /// ends. A door that `stays` open without this process is removed without being closed.
    pub(crate) fn stop(&mut self, stays: impl Fn(&OpenDoor) -> bool) -> Vec<Step> {
        self.stopping = true;
        let due = std::mem::take(&mut self.deadlines);
        due.into_iter()
            .filter_map(|(_, key)| {
                let lease = self.leases.get(&key)?;
                if stays(&lease.open_door(key)) {
                    self.forget(key);
                    return None;
                }
                if lease.phase == Phase::InUse {
                    self.forget(key);
                    return Some(Step::Idle(key));
                }
                Some(self.close(key))
            })
            .collect()
    }

    /// Whether no door is open and no task is running.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Every door that is not closed.
    pub(crate) fn open(&self) -> impl Iterator<Item = OpenDoor> {
        self.leases.iter().map(|(key, lease)| lease.open_door(*key))
    }

    /// Starts to close a door that has no running task and no deadline.
    fn close(&mut self, key: DoorKey) -> Step {
        let Some(lease) = self.leases.get_mut(&key) else {
            return Step::Closed(key);
        };
        let attempt = match lease.phase {
            Phase::Retrying { attempt, .. } => attempt + 1,
            _ => 1,
        };
        lease.phase = Phase::Closing {
            attempt,
            reopen: None,
        };
        Step::Start(lease.task(key, Action::Close))
    }
}

impl Lease {
    /// Gives the lease to the client of `grant`.
    fn grant(&mut self, room: &mut Room, key: DoorKey, grant: Grant) {
        room.leave(self.grant.client, key.door);
        room.take(grant.client, key.door);
        self.grant = grant;
        self.revoked = false;
    }

    /// The entry in `deadlines`, in the phases that have one.
    fn deadline(&self) -> Duration {
        match self.phase {
            Phase::Retrying { at, .. } => at,
            _ => self.until,
        }
    }

    fn open_door(&self, key: DoorKey) -> OpenDoor {
        let grant = match self.phase {
            Phase::Closing {
                reopen: Some(grant),
                ..
            } => grant,
            _ => self.grant,
        };
        OpenDoor {
            key,
            client: grant.client,
            lease: grant.lease,
            until: self.until,
            opened: !matches!(self.phase, Phase::Opening | Phase::Failed | Phase::InUse),
            admits: !self.revoked
                && matches!(self.phase, Phase::Opening | Phase::Open | Phase::Failed),
            revoked: self.revoked,
            in_use: self.phase == Phase::InUse,
            state: match self.phase {
                Phase::Opening => "opening",
                Phase::Open => "open",
                Phase::Failed => "run failed",
                Phase::Closing { .. } => "closing",
                Phase::Retrying { .. } => "close failed",
                Phase::InUse => "in use",
            },
        }
    }

    fn task(&self, key: DoorKey, action: Action) -> Task {
        Task {
            key,
            client: self.grant.client,
            action,
            lease: self.grant.lease,
        }
    }
}

#[cfg(test)]
mod tests;
