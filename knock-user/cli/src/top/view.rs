//! The data on the screen: the last status, the rates, and the last verdicts. All are bounded.

use std::{collections::VecDeque, time::Duration};

use knockd_types::{
    event::Notice,
    status::{DoorStatus, Status},
};

use crate::top::{rates::Rates, verdict::Verdict};

/// The number of verdicts that are kept. More than the lines of a screen.
pub const MAX_VERDICTS: usize = 256;

/// An update from the feed.
#[derive(Debug)]
pub enum Update {
    /// The daemon's status.
    Status(Box<Status>),
    /// The daemon does not answer. The reason is worded to follow "knockd".
    Unanswered(String),
    /// A notice of the daemon.
    Notice(Notice),
    /// The subscription to notices has ended.
    Unsubscribed,
}

/// The known state of the daemon.
#[derive(Debug, Default)]
pub struct View {
    status: Option<Status>,
    /// When `status` was received.
    updated: Duration,
    /// Why the daemon has not answered since.
    unanswered: Option<String>,
    rates: Rates,
    /// The newest first.
    verdicts: VecDeque<Verdict>,
    is_following: bool,
    /// The index of the first visible door. Drawing clamps it.
    pub first_door: usize,
}

impl View {
    /// Applies `update`, received at `now` on `CLOCK_MONOTONIC`.
    pub fn apply(&mut self, update: Update, now: Duration) {
        match update {
            Update::Status(status) => {
                self.rates.read(&status, now);
                self.status = Some(*status);
                self.updated = now;
                self.unanswered = None;
            }
            Update::Unanswered(why) => self.unanswered = Some(why),
            Update::Notice(notice) => {
                self.is_following = true;
                self.add_verdict(&notice);
            }
            Update::Unsubscribed => self.is_following = false,
        }
    }

    fn add_verdict(&mut self, notice: &Notice) {
        let Some(verdict) = Verdict::of(notice) else {
            return;
        };
        match self.verdicts.front_mut() {
            // A repeated verdict must not push out earlier ones.
            Some(last) if last.repeats(&verdict) => {
                last.times = last.times.saturating_add(1);
                last.time = verdict.time;
            }
            _ => {
                self.verdicts.truncate(MAX_VERDICTS - 1);
                self.verdicts.push_front(verdict);
            }
        }
    }

    /// The last status.
    #[must_use]
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// The open doors in the last status.
    #[must_use]
    pub fn doors(&self) -> &[DoorStatus] {
        self.status.as_ref().map_or(&[], |status| &status.doors)
    }

    /// Why there is no newer status, and the time of the last one; `None` while the daemon
    /// answers.
    #[must_use]
    pub fn unanswered(&self) -> Option<(&str, Duration)> {
        self.unanswered.as_deref().map(|why| (why, self.updated))
    }

    /// The rates.
    #[must_use]
    pub fn rates(&self) -> &Rates {
        &self.rates
    }

    /// The last verdicts, the newest first.
    #[must_use]
    pub fn verdicts(&self) -> &VecDeque<Verdict> {
        &self.verdicts
    }

    /// Whether the subscription to notices is active.
    #[must_use]
    pub fn is_following(&self) -> bool {
        self.is_following
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::Ipv4Addr;

    use knockd_types::{
        event::Event,
        reason::Reason,
        status::{Attachment, GateStatus, Mode, Traffic},
    };

    use super::*;

    /// A daemon with a gate and one open door.
    pub(in super::super) fn status() -> Status {
        Status {
            version: "1.2.3".into(),
            uptime_seconds: 7384,
            listening: "eth0".into(),
            window_base: 61000,
            attachments: vec![Attachment {
                interface: "eth0".into(),
                ifindex: 2,
                mode: Mode::Native,
                traffic: Traffic::Seen,
            }],
            awaited: Vec::new(),
            refused: Vec::new(),
            gate: Some(GateStatus {
                mode: "enforce".into(),
                protect: vec!["tcp/22".into()],
                trusted: Vec::new(),
                leases: 1,
                outlives_daemon: true,
            }),
            doors: vec![door(1)],
            sources_in_progress: 4,
            tails: 0,
            landlock: true,
            fleet: None,
            kernel: [("knock".to_owned(), 1000)].into(),
            daemon: Default::default(),
        }
    }

    /// A door that is open for client number `number`.
    pub(in super::super) fn door(number: u16) -> DoorStatus {
        let [high, low] = number.to_be_bytes();
        DoorStatus {
            door: "ssh".into(),
            client: format!("client-{number}"),
            source: Ipv4Addr::new(198, 51, high, low).into(),
            ports: vec!["tcp/22".into()],
            state: "open".into(),
            seconds_left: 3543,
        }
    }

    /// A refusal of `source`, 192.0.2.`source`.
    pub(in super::super) fn refusal(source: u8) -> Update {
        Update::Notice(Notice {
            time: "2026-01-02T03:04:05.678Z".into(),
            event: Event::Refused {
                source: [192, 0, 2, source].into(),
                reason: Reason::Stale,
                client: None,
                detail: "stale".into(),
            },
        })
    }

    #[test]
    fn the_newest_verdict_comes_first_and_their_number_is_limited() {
        let mut view = View::default();
        for round in 0..4 {
            for source in 0..=u8::MAX {
                view.apply(refusal(source), Duration::from_secs(round));
            }
        }
        view.apply(refusal(7), Duration::ZERO);
        assert_eq!(view.verdicts().len(), MAX_VERDICTS);
        assert_eq!(view.verdicts()[0].text, "refused 192.0.2.7: stale");
        assert_eq!(view.verdicts()[1].text, "refused 192.0.2.255: stale");
    }

    #[test]
    fn repetitions_are_counted() {
        let mut view = View::default();
        for _ in 0..1000 {
            view.apply(refusal(1), Duration::ZERO);
        }
        view.apply(refusal(2), Duration::ZERO);
        view.apply(refusal(1), Duration::ZERO);
        let times: Vec<_> = view.verdicts().iter().map(|v| v.times).collect();
        assert_eq!(times, [1, 1, 1000]);
    }

    #[test]
    fn the_last_status_stays_until_there_is_another() {
        let mut view = View::default();
        let second = Duration::from_secs(1);
        view.apply(Update::Status(status().into()), second);
        assert_eq!(view.unanswered(), None);
        view.apply(Update::Unanswered("has stopped".into()), 3 * second);
        view.apply(Update::Unanswered("has stopped".into()), 4 * second);
        assert_eq!(view.unanswered(), Some(("has stopped", second)));
        assert!(view.status().is_some());
        view.apply(Update::Status(status().into()), 5 * second);
        assert_eq!(view.unanswered(), None);
    }
}
