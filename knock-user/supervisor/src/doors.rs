//! Which doors are open to whom, and until when.
//!
//! A state machine without I/O: knocks, the clock and what has been done go in, what is to
//! be done comes out. A source has at most one task at a door under way, so that opening and
//! closing never overtake each other. What a task consists of, the gate, a command, both or
//! nothing, is not known here.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
    num::NonZeroUsize,
    time::Duration,
};

/// A door, by its index in the configuration, and the source that it is open to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Visit {
    /// The door's index.
    pub door: usize,
    /// Who it is open to.
    pub source: IpAddr,
}

/// How a door that opens behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// The client that knocked, by its index.
    pub client: usize,
    /// How long the door stays open.
    pub lease: Duration,
}

/// What is to be done at a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Open the gate, then `run`.
    Open,
    /// Close the gate, then `close`.
    Close,
}

/// Something that has to be done; [`Doors::finished`] waits to hear of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// The door and the source.
    pub visit: Visit,
    /// For which client.
    pub client: usize,
    /// What to do.
    pub action: Action,
    /// The lease that it is for.
    pub lease: Duration,
}

/// What became of an accepted knock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The door opens: do this.
    Opens(Task),
    /// The door was open already, and stays so for a whole lease from now.
    Extends,
    /// The door is being closed, and opens again when that is done.
    Reopens,
    /// As many doors are open as the configuration allows.
    Full,
}

/// What the clock or the end of a task led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Do this.
    Start(Task),
    /// The door is closed now.
    Closed(Visit),
    /// `close` failed again and again: the door may be open still, and nobody is looking.
    GaveUp(Visit),
}

/// One open door, for `status` and for the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OpenDoor {
    /// The door and the source.
    pub visit: Visit,
    /// Who knocked last.
    pub client: usize,
    /// The lease that he was given.
    pub lease: Duration,
    /// When it closes.
    pub until: Duration,
    /// Whether `run` has succeeded.
    pub opened: bool,
    /// Whether its gate is open: until it is being closed, whatever became of `run`.
    pub lets_in: bool,
    /// What it is doing.
    pub state: &'static str,
}

/// A closing command that fails is run again this often, after 1, 2, 4 and 8 seconds: a
/// firewall's lock may be taken, and a door that stays open is worse than a late one.
const CLOSING_ATTEMPTS: u32 = 5;

/// All open doors, bounded in number.
#[derive(Debug)]
pub(crate) struct Doors {
    leases: HashMap<Visit, Lease>,
    /// When which lease wants to be looked at again.
    deadlines: BTreeSet<(Duration, Visit)>,
    max: NonZeroUsize,
    stopping: bool,
}

#[derive(Debug)]
struct Lease {
    terms: Terms,
    until: Duration,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// `run` is under way.
    Opening,
    Open,
    /// `run` failed. It may have done half its work, so `close` is owed all the same; the
    /// next knock runs it again.
    Failed,
    /// `close` is under way for the `attempt`th time.
    Closing {
        attempt: u32,
        reopen: Option<Terms>,
    },
    /// `close` failed `attempt` times and is run again at the deadline.
    Retrying {
        attempt: u32,
        at: Duration,
    },
}

impl Doors {
    /// No door is open; at most `max` ever will be at the same time.
    #[must_use]
    pub(crate) fn new(max: NonZeroUsize) -> Self {
        Self {
            leases: HashMap::new(),
            deadlines: BTreeSet::new(),
            max,
            stopping: false,
        }
    }

    /// From here on at most `max` doors are open at the same time; those that are stay so.
    pub(crate) fn set_max(&mut self, max: NonZeroUsize) {
        self.max = max;
    }

    /// Takes over a door that a daemon before this one opened. If its `run` is not known to
    /// have succeeded, the next knock runs it; `close` is owed in any case.
    pub(crate) fn restore(&mut self, visit: Visit, terms: Terms, until: Duration, opened: bool) {
        let phase = if opened { Phase::Open } else { Phase::Failed };
        let lease = Lease {
            terms,
            until,
            phase,
        };
        self.leases.insert(visit, lease);
        self.deadlines.insert((until, visit));
    }

    /// The door of `visit`, unless it is closed.
    #[must_use]
    pub(crate) fn get(&self, visit: &Visit) -> Option<OpenDoor> {
        let lease = self.leases.get(visit)?;
        Some(lease.open_door(*visit))
    }

    /// Admits an accepted knock at `now`.
    pub(crate) fn knock(&mut self, visit: Visit, terms: Terms, now: Duration) -> Admission {
        let until = now + terms.lease;
        let Some(lease) = self.leases.get_mut(&visit) else {
            if self.leases.len() >= self.max.get() {
                return Admission::Full;
            }
            let lease = Lease {
                terms,
                until,
                phase: Phase::Opening,
            };
            let task = lease.task(visit, Action::Open);
            self.leases.insert(visit, lease);
            return Admission::Opens(task);
        };
        match &mut lease.phase {
            Phase::Opening | Phase::Open => {
                self.deadlines.remove(&(lease.until, visit));
                lease.until = lease.until.max(until);
                lease.terms = terms;
                if lease.phase == Phase::Open {
                    self.deadlines.insert((lease.until, visit));
                }
                Admission::Extends
            }
            Phase::Closing { reopen, .. } => {
                *reopen = Some(terms);
                Admission::Reopens
            }
            Phase::Failed | Phase::Retrying { .. } => {
                self.deadlines.remove(&(lease.deadline(), visit));
                lease.phase = Phase::Opening;
                lease.terms = terms;
                lease.until = until;
                Admission::Opens(lease.task(visit, Action::Open))
            }
        }
    }

    /// Lets an open door stay open until `until`, if that is later: it is in use.
    pub(crate) fn prolong(&mut self, visit: Visit, until: Duration) {
        if let Some(lease) = self.leases.get_mut(&visit)
            && matches!(lease.phase, Phase::Open | Phase::Failed)
            && lease.until < until
        {
            self.deadlines.remove(&(lease.until, visit));
            lease.until = until;
            self.deadlines.insert((until, visit));
        }
    }

    /// Takes a door that could not be opened for closed.
    pub(crate) fn forget(&mut self, visit: Visit) {
        if let Some(lease) = self.leases.remove(&visit) {
            self.deadlines.remove(&(lease.deadline(), visit));
        }
    }

    /// Ends the lease of `visit` at `now`. If its door can be closed at once: the first step.
    pub(crate) fn revoke(&mut self, visit: Visit, now: Duration) -> Option<Step> {
        let lease = self.leases.get_mut(&visit)?;
        let deadline = lease.deadline();
        lease.until = now;
        match &mut lease.phase {
            Phase::Opening => None,
            Phase::Closing { reopen, .. } => {
                *reopen = None;
                None
            }
            Phase::Open | Phase::Failed | Phase::Retrying { .. } => {
                self.deadlines.remove(&(deadline, visit));
                Some(self.close(visit))
            }
        }
    }

    /// Hears that a task has ended, and how.
    pub(crate) fn finished(&mut self, visit: Visit, ok: bool, now: Duration) -> Option<Step> {
        let lease = self.leases.get_mut(&visit)?;
        match lease.phase {
            Phase::Opening => {
                lease.phase = if ok { Phase::Open } else { Phase::Failed };
                if self.stopping || lease.until <= now {
                    return Some(self.close(visit));
                }
                self.deadlines.insert((lease.until, visit));
                None
            }
            Phase::Closing {
                reopen: Some(terms),
                ..
            } if !self.stopping => {
                lease.terms = terms;
                lease.until = now + terms.lease;
                lease.phase = Phase::Opening;
                Some(Step::Start(lease.task(visit, Action::Open)))
            }
            Phase::Closing { .. } if ok => {
                self.leases.remove(&visit);
                Some(Step::Closed(visit))
            }
            Phase::Closing { attempt, .. } => {
                if attempt >= CLOSING_ATTEMPTS || self.stopping {
                    self.leases.remove(&visit);
                    return Some(Step::GaveUp(visit));
                }
                let at = now + Duration::from_secs(1 << (attempt - 1));
                lease.phase = Phase::Retrying { attempt, at };
                self.deadlines.insert((at, visit));
                None
            }
            // No command is under way in these.
            Phase::Open | Phase::Failed | Phase::Retrying { .. } => None,
        }
    }

    /// A door whose time has come by `now`.
    #[must_use]
    pub(crate) fn due(&self, now: Duration) -> Option<Visit> {
        let (at, visit) = *self.deadlines.first()?;
        (at <= now).then_some(visit)
    }

    /// Closes one door whose time has come by `now`; call it until it returns `None`.
    pub(crate) fn expire(&mut self, now: Duration) -> Option<Step> {
        let visit = self.due(now)?;
        self.deadlines.pop_first();
        Some(self.close(visit))
    }

    /// When [`Doors::expire`] has to be called next.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Closes every door and opens none again. A door whose command is under way is closed
    /// when that has ended. One that `stays` open without this process is not closed, only
    /// forgotten.
    pub(crate) fn stop(&mut self, stays: impl Fn(&Visit) -> bool) -> Vec<Step> {
        self.stopping = true;
        let due = std::mem::take(&mut self.deadlines);
        due.into_iter()
            .filter_map(|(_, visit)| {
                if stays(&visit) {
                    self.leases.remove(&visit);
                    return None;
                }
                Some(self.close(visit))
            })
            .collect()
    }

    /// Whether no door is open and no command under way.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.leases.is_empty()
    }

    /// Every door that is not closed.
    pub(crate) fn open(&self) -> impl Iterator<Item = OpenDoor> {
        self.leases
            .iter()
            .map(|(visit, lease)| lease.open_door(*visit))
    }

    /// Begins to close a door that has no task under way and no deadline any more.
    fn close(&mut self, visit: Visit) -> Step {
        let Some(lease) = self.leases.get_mut(&visit) else {
            return Step::Closed(visit);
        };
        let attempt = match lease.phase {
            Phase::Retrying { attempt, .. } => attempt + 1,
            _ => 1,
        };
        lease.phase = Phase::Closing {
            attempt,
            reopen: None,
        };
        Step::Start(lease.task(visit, Action::Close))
    }
}

impl Lease {
    /// When it wants to be looked at, in the phases that have a deadline.
    fn deadline(&self) -> Duration {
        match self.phase {
            Phase::Retrying { at, .. } => at,
            _ => self.until,
        }
    }

    fn open_door(&self, visit: Visit) -> OpenDoor {
        OpenDoor {
            visit,
            client: self.terms.client,
            lease: self.terms.lease,
            until: self.until,
            opened: !matches!(self.phase, Phase::Opening | Phase::Failed),
            lets_in: !matches!(self.phase, Phase::Closing { .. } | Phase::Retrying { .. }),
            state: match self.phase {
                Phase::Opening => "opening",
                Phase::Open => "open",
                Phase::Failed => "run failed",
                Phase::Closing { .. } => "closing",
                Phase::Retrying { .. } => "close failed",
            },
        }
    }

    fn task(&self, visit: Visit, action: Action) -> Task {
        Task {
            visit,
            client: self.terms.client,
            action,
            lease: self.terms.lease,
        }
    }
}

#[cfg(test)]
mod tests;
