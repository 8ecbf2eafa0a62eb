//! The history of accepted knocks, for `knockd history`.
//!
//! Each knock that opens a door has a record, and so has the end of that door. A client cannot push
//! the records of others out of the history by knocking all the time: a knock that extends a door
//! again soon has none, and each client has a limited rate of records. What is left out is counted.

mod writer;

use std::{collections::HashMap, net::IpAddr, path::PathBuf, time::Duration};

use knockd_runtime::{clock::unix_ms, history::KNOCK_LEN};
use knockd_types::{
    counters::Counters,
    history::{Accepted, Closed, How, Moment, Record},
};

use self::writer::Writer;
use crate::{doors::DoorKey, reporter::Reporter};

/// A client that extends a door from the same address again within this time has no further record.
const EXTENDS: Duration = Duration::from_mins(10);

/// A client may have a record each interval, and [`BURST`] at once: 288 on a day, so that one that
/// never stops takes a month to fill 10,000.
const INTERVAL: Duration = Duration::from_mins(5);

const BURST: u32 = 256;

/// The history, as far as the process that writes it has to know it.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// `None`: nothing is written.
    writer: Option<Writer>,
    open: HashMap<DoorKey, Opening>,
    /// By the client's number.
    shares: HashMap<usize, Share>,
    left_out: u64,
}

/// An open door that has a record.
#[derive(Debug)]
struct Opening {
    client: usize,
    sender: Option<IpAddr>,
    /// The time of the last record, on the monotonic clock. `None`: it is a previous daemon's.
    recorded: Option<Duration>,
    /// Why it is going to be closed, if not because its time is over.
    how: Option<How>,
}

/// A client's share of the history: a token bucket.
#[derive(Debug, Default)]
struct Share {
    /// When the client may have [`BURST`] records again, on the monotonic clock.
    full_at: Duration,
    /// The knocks without a record since its last record.
    left_out: u64,
}

impl History {
    /// A history in `state_dir`, whose files have room for `knocks` each; none if that is zero.
    pub(crate) fn new(state_dir: PathBuf, knocks: u32, reporter: Reporter) -> Self {
        let mut writer = Writer::new(state_dir, reporter);
        writer.set_max_len(max_len(knocks));
        Self {
            writer: Some(writer),
            ..Self::default()
        }
    }

    /// Changes how many knocks the files have room for.
    pub(crate) fn resize(&mut self, knocks: u32) {
        if let Some(writer) = &mut self.writer {
            writer.set_max_len(max_len(knocks));
        }
    }

    /// Notes a door that a previous daemon has opened for `client`.
    pub(crate) fn restored(&mut self, key: DoorKey, client: usize) {
        self.open.insert(
            key,
            Opening {
                client,
                sender: None,
                recorded: None,
                how: None,
            },
        );
    }

    /// Records what was accepted at `now` for `client`, whose door was open already if it `extends`
    /// it.
    pub(crate) fn accepted(
        &mut self,
        key: DoorKey,
        client: usize,
        accepted: Accepted,
        extends: bool,
        now: Duration,
    ) {
        if !self.writer.as_ref().is_some_and(Writer::is_on) {
            return;
        }
        let mut open = self.open.get_mut(&key);
        if let Some(open) = &mut open {
            open.how = None;
        }
        let is_recent = |open: &Opening| {
            let is_same = open.client == client && open.sender == accepted.sender;
            is_same && open.recorded.is_some_and(|at| now < at + EXTENDS)
        };
        let has_record = extends && open.as_deref().is_some_and(is_recent);
        let share = self.shares.entry(client).or_default();
        let Some(left_out) = share.take(now, has_record) else {
            self.left_out += 1;
            return;
        };
        self.open.insert(
            key,
            Opening {
                client,
                sender: accepted.sender,
                recorded: Some(now),
                how: None,
            },
        );
        let accepted = Accepted {
            left_out,
            ..accepted
        };
        self.write(match extends {
            true => Record::Extended(accepted),
            false => Record::Opened(accepted),
        });
    }

    /// Notes why a door is going to be closed.
    pub(crate) fn closing(&mut self, key: DoorKey, how: How) {
        if let Some(open) = self.open.get_mut(&key) {
            open.how = Some(how);
        }
    }

    /// Notes why every door is going to be closed.
    pub(crate) fn closing_all(&mut self, how: How) {
        for open in self.open.values_mut() {
            open.how.get_or_insert(how);
        }
    }

    /// Records the end of a door. `client_name` returns the name of the client with a number.
    pub(crate) fn closed<'n>(
        &mut self,
        key: DoorKey,
        door: &str,
        client_name: impl FnOnce(usize) -> &'n str,
    ) {
        let Some(open) = self.open.remove(&key) else {
            return;
        };
        self.write(Record::Closed(Closed {
            time: Moment::from_unix_ms(unix_ms()),
            client: client_name(open.client).to_owned(),
            door: door.to_owned(),
            source: key.source,
            how: open.how.unwrap_or(How::Expired),
        }));
    }

    /// The counters of the history.
    pub(crate) fn counters(&self) -> Counters {
        Counters {
            history_left_out: self.left_out,
            history_lost: self.writer.as_ref().map_or(0, Writer::lost),
            ..Counters::default()
        }
    }

    fn write(&mut self, record: Record) {
        if let Some(writer) = &mut self.writer {
            writer.write(record);
        }
    }
}

/// The length of a file that has room for as many `knocks` of the greatest length.
fn max_len(knocks: u32) -> u64 {
    u64::from(knocks) * KNOCK_LEN
}

impl Share {
    /// Takes a record at `now`, unless it is `spared`. Returns the number of knocks without one since
    /// the last; `None` if this knock is one more.
    fn take(&mut self, now: Duration, spared: bool) -> Option<u64> {
        let full_at = self.full_at.max(now) + INTERVAL;
        if spared || full_at > now + INTERVAL * BURST {
            self.left_out += 1;
            return None;
        }
        self.full_at = full_at;
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests;
