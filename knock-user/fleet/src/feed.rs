//! The claims of the stream, in its order, each of them once.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use async_nats::jetstream::{
    self,
    consumer::{AckPolicy, Consumer, DeliverPolicy, ReplayPolicy, pull},
    stream::Info,
};
use futures_util::StreamExt as _;
use knockd_ipc::fleet::{ClaimId, Hex, Record, Report};
use knockd_types::fleet::Engine;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::session::{ANSWER, Session};

/// How many claims the server may send before it is asked for more.
const BATCH: usize = 256;

/// How often the server shows that it reads the stream for this node. It is noticed after twice
/// this time if it does not.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// How long a request for claims stays with the server.
const EXPIRES: Duration = Duration::from_secs(30);

/// How long the server remembers a reader that asks for nothing.
const INACTIVE: Duration = Duration::from_secs(10);

/// How many connections may leave out the same message: those to each server, for some seconds.
const MAX_GAPS: u32 = 20;

/// The time between two warnings of a kind. Whoever controls the engine must not fill the log.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);

/// How far the stream was read. It outlasts connections.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// The number of the last message.
    last: u64,
    /// When the stream was made: another one begins anew.
    created: Option<async_nats::datetime::DateTime>,
    /// How often the next message was left out.
    gaps: u32,
    warned_lost: Warned,
    skipped: Skipped,
}

/// How far a stream reached at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    is_empty: bool,
    last: u64,
}

/// What was not reported about messages that are no claims.
#[derive(Debug, Default)]
struct Skipped {
    count: u64,
    warned: Warned,
}

/// When a warning was given.
#[derive(Debug, Default)]
struct Warned(Option<Instant>);

impl From<&Info> for Extent {
    fn from(info: &Info) -> Self {
        Self {
            is_empty: info.state.messages == 0,
            last: info.state.last_sequence,
        }
    }
}

impl Feed {
    /// Continues where the feed has ended, in the stream that `info` is about.
    pub(crate) fn resume(&mut self, info: &Info) {
        let created = Some(info.created);
        if self.created != created {
            self.created = created;
            self.last = 0;
        }
        // Messages that are too old are removed from the stream's beginning, and from nowhere else.
        let removed = info.state.first_sequence.saturating_sub(1);
        if removed > self.last {
            self.last = removed;
            self.gaps = 0;
        }
        if info.state.last_sequence < self.last {
            if self.warned_lost.is_due() {
                tracing::warn!(
                    "the engine has lost claims: its stream ends at {}, and {} was read from it",
                    info.state.last_sequence,
                    self.last
                );
            }
            self.last = info.state.last_sequence;
        }
    }

    /// Reports the claims of the stream, and once that it is read to the end that it had in
    /// `extent`.
    ///
    /// # Errors
    ///
    /// Returns an error if the server does not serve the stream any more.
    pub(crate) async fn read(
        &mut self,
        session: &Session,
        engine: &Engine,
        mut extent: watch::Receiver<Extent>,
        reports: &mpsc::Sender<Report>,
    ) -> Result<()> {
        let consumer = self.consumer(session, engine).await?;
        let mut messages = consumer
            .stream()
            .max_messages_per_batch(BATCH)
            .heartbeat(HEARTBEAT)
            .expires(EXPIRES)
            .messages()
            .await?;
        let mut is_current = false;
        let mut number = 0;
        loop {
            if !is_current && self.has_reached(*extent.borrow_and_update()) {
                is_current = true;
                reports.send(Report::Current).await?;
            }
            let message = tokio::select! {
                message = messages.next() => message.context("the server reads no further")??,
                // What was the end may be so old that it is removed: then the new end counts.
                changed = extent.changed(), if !is_current => {
                    changed?;
                    continue;
                }
            };
            let info = message.info().map_err(|error| anyhow!("{error}"))?;
            number += 1;
            ensure!(info.consumer_sequence == number, "a message is missing");
            self.follow(info.stream_sequence)?;
            match claim(engine, &message) {
                Some(claim) => reports.send(claim).await?,
                None => self.skipped.add(),
            }
        }
    }

    /// Notes that the message with this number was read.
    ///
    /// # Errors
    ///
    /// Returns an error if another one was to be read: a server that has to get messages from the others
    /// first may leave them out. What is left out again and again is lost.
    fn follow(&mut self, number: u64) -> Result<()> {
        ensure!(number > self.last, "a message is repeated");
        if number > self.last + 1 {
            self.gaps += 1;
            ensure!(
                self.gaps > MAX_GAPS,
                "the server leaves out claims: {number} follows {}",
                self.last
            );
            if self.warned_lost.is_due() {
                tracing::warn!(
                    "the engine has lost claims: {number} follows {} in its stream",
                    self.last
                );
            }
        }
        self.gaps = 0;
        self.last = number;
        Ok(())
    }

    fn has_reached(&self, extent: Extent) -> bool {
        extent.is_empty || self.last >= extent.last
    }

    /// A reader of the stream in the server, which is removed when it is not used any more.
    async fn consumer(&self, session: &Session, engine: &Engine) -> Result<Consumer<pull::Config>> {
        let config = pull::Config {
            deliver_policy: match self.last {
                0 => DeliverPolicy::All,
                last => DeliverPolicy::ByStartSequence {
                    start_sequence: last + 1,
                },
            },
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            inactive_threshold: INACTIVE,
            // Nothing is lost with it: another one is made.
            memory_storage: true,
            num_replicas: 1,
            ..Default::default()
        };
        let mut context = jetstream::new(session.client.clone());
        context.set_timeout(ANSWER);
        let consumer = context.create_consumer_on_stream(config, engine.stream());
        consumer
            .await
            .map_err(|error| anyhow!("the engine makes no reader of its stream: {error}"))
    }
}

/// The claim that a message is.
fn claim(engine: &Engine, message: &jetstream::Message) -> Option<Report> {
    let id = message.subject.strip_prefix(&engine.claim_subject(&""))?;
    let id: ClaimId = Hex::parse(id)?;
    let record: Record = Hex(message.payload.as_ref().try_into().ok()?);
    Some(Report::Read { id, record })
}

impl Skipped {
    fn add(&mut self) {
        self.count += 1;
        if self.warned.is_due() {
            tracing::warn!(
                "the engine's stream has {} messages that are no claims: they are skipped",
                self.count
            );
            self.count = 0;
        }
    }
}

impl Warned {
    /// Whether another warning may be given, which it then was.
    fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A stream that was made at this second, and has these messages.
    fn info(second: u32, messages: u64, last: u64) -> Info {
        let time = |second| format!("2026-01-01T00:00:{second:02}Z");
        serde_json::from_value(json!({
            "config": {"name": "KNOCK_CLAIMS", "retention": "limits", "max_consumers": -1,
                "max_msgs": -1, "max_bytes": -1, "max_age": 0, "storage": "file",
                "num_replicas": 1, "discard": "new"},
            "created": time(second),
            "state": {"messages": messages, "bytes": 0, "first_seq": 1, "first_ts": time(0),
                "last_seq": last, "last_ts": time(0), "consumer_count": 0},
        }))
        .unwrap()
    }

    fn feed(second: u32, last: u64) -> Feed {
        let mut feed = Feed::default();
        feed.resume(&info(second, 0, 0));
        feed.last = last;
        feed
    }

    #[test]
    fn a_feed_goes_on_where_it_has_ended() {
        let mut feed = feed(1, 5);
        feed.resume(&info(1, 9, 9));
        assert_eq!(feed.last, 5);
        // The stream has lost what was read, so that new claims get its numbers.
        feed.resume(&info(1, 3, 3));
        assert_eq!(feed.last, 3);
        // It was made anew.
        feed.resume(&info(2, 9, 9));
        assert_eq!(feed.last, 0);
    }

    #[test]
    fn a_message_that_a_server_leaves_out_is_asked_for_again() {
        let mut feed = feed(1, 5);
        for _ in 0..MAX_GAPS {
            assert!(feed.follow(7).is_err());
        }
        feed.follow(6).unwrap();
        feed.follow(7).unwrap();
        assert!(feed.follow(7).is_err());
        // No server has it any more.
        for _ in 0..MAX_GAPS {
            assert!(feed.follow(9).is_err());
        }
        feed.follow(9).unwrap();
        assert_eq!(feed.last, 9);
    }

    #[test]
    fn a_warning_is_given_once_in_its_interval() {
        let mut warned = Warned::default();
        assert!(warned.is_due());
        assert!(!warned.is_due());
    }

    #[test]
    fn what_was_too_old_before_a_connection_is_not_asked_for() {
        let mut feed = feed(1, 5);
        let mut info = info(1, 3, 20);
        info.state.first_sequence = 18;
        feed.resume(&info);
        feed.follow(18).unwrap();
    }

    #[test]
    fn the_end_of_a_stream_is_its_last_message() {
        let extent = |messages, last| Extent::from(&info(1, messages, last));
        assert!(feed(1, 0).has_reached(extent(0, 0)));
        // All messages were so old that they were removed.
        assert!(feed(1, 0).has_reached(extent(0, 9)));
        assert!(!feed(1, 8).has_reached(extent(1, 9)));
        assert!(feed(1, 9).has_reached(extent(1, 9)));
    }
}
