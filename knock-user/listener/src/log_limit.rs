//! A limit for refusals in the log, so that a flood does not fill the disk.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use knockd_types::event::Event;

/// The interval at which the numbers of omitted refusals are logged.
const PERIOD: Duration = Duration::from_secs(60);

/// Lines per source and [`PERIOD`]: the default `maxretry` of fail2ban.
const LINES_PER_SOURCE: u32 = 5;

/// Lines of all sources per [`PERIOD`]. This also bounds the table of sources: a source without a
/// line has no entry.
const LINES: u32 = 100;

/// The refusals of one [`PERIOD`], which begins with the first of them.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    /// The end of the period.
    ends: Option<Duration>,
    sources: HashMap<Origin, Tally>,
    /// Lines of all sources.
    lines: u32,
    /// Omitted refusals of sources that have no entry.
    others: u64,
}

#[derive(Debug, Default)]
struct Tally {
    lines: u32,
    left_out: u64,
}

/// The unit of the limit: an IPv4 address, or an IPv6 /64, because one host can use all addresses
/// of a /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    Address(IpAddr),
    Network(Ipv6Addr),
}

impl Refusals {
    /// Whether the log has room for a refusal of `source` at `now`. If not, the refusal is counted.
    pub(crate) fn admit(&mut self, source: IpAddr, now: Duration) -> bool {
        let is_over = self.ends.is_none_or(|ends| ends <= now);
        if is_over && !self.has_left_out() {
            *self = Self {
                ends: Some(now + PERIOD),
                ..Self::default()
            };
        }
        let origin = Origin::of(source);
        let has_room = self.lines < LINES;
        if has_room {
            let tally = self.sources.entry(origin).or_default();
            if tally.lines < LINES_PER_SOURCE {
                tally.lines += 1;
                self.lines += 1;
                return true;
            }
        }
        match self.sources.get_mut(&origin) {
            Some(tally) => tally.left_out += 1,
            None => self.others += 1,
        }
        false
    }

    /// The time at which the numbers of omitted refusals are due; `None` if there are none.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        self.ends.filter(|_| self.has_left_out())
    }

    /// The numbers of omitted refusals. Resets the limit.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = Event> {
        let Self {
            sources, others, ..
        } = std::mem::take(self);
        let sources = sources
            .into_iter()
            .map(|(origin, tally)| (Some(origin.to_string()), tally.left_out));
        sources
            .chain([(None, others)])
            .filter(|(_, refusals)| *refusals > 0)
            .map(|(from, refusals)| Event::LeftOut { refusals, from })
    }

    fn has_left_out(&self) -> bool {
        self.others > 0 || self.sources.values().any(|tally| tally.left_out > 0)
    }
}

impl Origin {
    fn of(source: IpAddr) -> Self {
        match source {
            IpAddr::V4(_) => Self::Address(source),
            IpAddr::V6(address) => Self::Network((address.to_bits() >> 64 << 64).into()),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Network(network) => write!(f, "{network}/64"),
        }
    }
}

#[cfg(test)]
mod tests;
