//! What the listener asks for, held against the configuration.

use std::{net::IpAddr, time::Duration};

use tracing::{info, warn};

use crate::doors::{Admission, DoorKey, Grant};
use crate::{
    resources::Source,
    state::{Entry, Supervisor},
};
use knockd_ipc::{message::Message, request::Request};
use knockd_runtime::clock::monotonic;
use knockd_types::{
    event::{AdmissionInfo, Event},
    names::BY_HAND_NUMBER,
};

/// Why something that the listener asks for is not done.
enum Refused {
    /// For whoever asked.
    Not(String),
    /// No listener of ours asks for that.
    Never(&'static str),
}

impl Supervisor {
    /// Does what the listener asks for, if the configuration has it.
    pub(crate) fn handle_request(&mut self, order: Request) {
        match order {
            Request::Ready => self.listener_is_ready(),
            Request::Open {
                question,
                door,
                client,
                source,
                lease,
                at,
            } => {
                let outcome = if client == BY_HAND_NUMBER {
                    self.open_by_hand(door, source, lease)
                } else {
                    self.admit(door, client, source, lease, at)
                };
                self.answer(question, outcome);
            }
            Request::Close {
                question,
                door,
                source,
            } => {
                let outcome = self.close_by_hand(door, source);
                self.answer(question, outcome);
            }
            Request::Reload { question } => self.reread(Some(question)),
            Request::Report {
                question,
                count_leases,
            } => self.report(question, count_leases),
            Request::Follow(followed) => self.set_kernel_log(followed),
            Request::Notify(wanted) => self.outbox.want_notices(wanted),
            Request::Flush => {
                self.flush_kernel_log();
                self.send(Message::Flushed);
            }
            Request::Ended => {
                if matches!(self.source, Source::Lines(..)) {
                    info!("the lines have ended: waiting until every open door is closed");
                    self.source = Source::Ended;
                }
            }
            Request::Alive => {
                if let Some(child) = &mut self.child {
                    child.has_answered();
                }
            }
        }
    }

    fn answer(&mut self, question: u32, outcome: Result<Vec<String>, Refused>) {
        let outcome = match outcome {
            Ok(doors) => Ok(doors),
            Err(Refused::Not(why)) => Err(why),
            Err(Refused::Never(why)) => return self.kill(&why),
        };
        if question != 0 {
            self.send(Message::Answer(question, outcome));
        } else if let Err(why) = outcome {
            warn!("a knock opens nothing: {why}");
        }
    }

    /// Opens the door to a client who has knocked: one of the configuration's, who may.
    fn admit(
        &mut self,
        door: u32,
        client: u32,
        source: IpAddr,
        lease: Duration,
        at: Duration,
    ) -> Result<Vec<String>, Refused> {
        let (door, client) = (self.door_numbered(door)?, self.client_numbered(client)?);
        if !self.catalog.may_open(&self.config, client, door) {
            return Err(Refused::Not(format!(
                "client {:?} may not open door {:?}",
                self.catalog.client(client),
                self.catalog.door(door).name
            )));
        }
        let visit = DoorKey { door, source };
        let terms = Grant {
            client,
            // A knock that was verified before a reload may ask for more than there is now.
            lease: lease.min(self.catalog.door(door).max_lease),
        };
        let knocked = self.config.metrics.is_some().then_some(at);
        if !self.open(visit, terms, knocked) {
            self.counters.refused_doors_full += 1;
            let client = u32::try_from(client).unwrap_or(u32::MAX);
            self.send(Message::Full { client, source });
        }
        Ok(Vec::new())
    }

    /// Opens a door without a knock.
    fn open_by_hand(
        &mut self,
        door: u32,
        source: IpAddr,
        lease: Duration,
    ) -> Result<Vec<String>, Refused> {
        let door = self.door_numbered(door)?;
        let name = self.catalog.door(door).name.clone();
        info!("opening door {name:?} to {source} by hand");
        let visit = DoorKey { door, source };
        let terms = Grant {
            client: BY_HAND_NUMBER as usize,
            lease,
        };
        if !self.open(visit, terms, None) {
            let full = "as many doors are open as `limits.open_doors` allows";
            return Err(Refused::Not(full.into()));
        }
        match self.doors.get(&visit) {
            Some(_) => Ok(vec![name]),
            None => Err(Refused::Not(
                "the gate has no room for a lease; look at knockd's log".into(),
            )),
        }
    }

    /// Closes a source's doors, or one of them; the names of those that were not closed.
    fn close_by_hand(&mut self, door: Option<u32>, source: IpAddr) -> Result<Vec<String>, Refused> {
        let door = door.map(|door| self.door_numbered(door)).transpose()?;
        let visits: Vec<_> = self
            .doors
            .open()
            .map(|open| open.visit)
            .filter(|visit| door.is_none_or(|door| visit.door == door))
            .filter(|visit| self.is_for(*visit, source))
            .collect();
        let name = |visit: &DoorKey| self.catalog.door(visit.door).name.clone();
        let names: Vec<_> = visits.iter().map(name).collect();
        for (visit, name) in visits.iter().zip(&names) {
            info!("closing door {name:?} to {} by hand", visit.source);
            self.revoke(*visit);
        }
        Ok(names)
    }

    /// Opens the door of `visit`, or keeps it open; `false` if too many are. If somebody
    /// knocked at it, his last SYN came at `knocked`.
    fn open(&mut self, visit: DoorKey, terms: Grant, knocked: Option<Duration>) -> bool {
        let visitor = AdmissionInfo {
            client: self.catalog.client(terms.client).to_owned(),
            door: self.catalog.door(visit.door).name.clone(),
            source: visit.source,
            seconds: terms.lease.as_secs(),
        };
        match self.doors.knock(visit, terms, monotonic()) {
            Admission::Opens(task) => {
                self.keep_lease(visit);
                self.start(&task, Some(Entry { visitor, knocked }));
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

    /// Ends the lease of `visit` now.
    pub(crate) fn revoke(&mut self, visit: DoorKey) {
        let step = self.doors.revoke(visit, monotonic());
        // Closed also if this process ends before the door is.
        self.keep_lease(visit);
        if let Some(step) = step {
            self.step(step);
        }
    }

    /// Whether the door of `visit` lets `source` in: the very address, or one of its prefix.
    fn is_for(&self, visit: DoorKey, source: IpAddr) -> bool {
        let keys = self.keys(visit);
        visit.source == source || !keys.is_empty() && keys == self.opening_keys(visit.door, source)
    }

    /// The door of this number, if the configuration has it still.
    fn door_numbered(&self, number: u32) -> Result<usize, Refused> {
        let number = number as usize;
        if number >= self.catalog.doors() {
            return Err(Refused::Never("it asked for a door that never was"));
        }
        if !self.catalog.has_door(number) {
            let gone = format!(
                "there is no door {:?} any more",
                self.catalog.door(number).name
            );
            return Err(Refused::Not(gone));
        }
        Ok(number)
    }

    /// The client of this number, if the configuration has him still.
    fn client_numbered(&self, number: u32) -> Result<usize, Refused> {
        let number = number as usize;
        if number >= self.catalog.clients() {
            return Err(Refused::Never("it asked for a client who never was"));
        }
        if !self.catalog.has_client(number) {
            let gone = format!(
                "there is no client {:?} any more",
                self.catalog.client(number)
            );
            return Err(Refused::Not(gone));
        }
        Ok(number)
    }
}
