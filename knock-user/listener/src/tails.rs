//! Reports of the listener: to its log and to `tail` subscribers.

use knockd_runtime::log::{log_event, log_event_at};
use knockd_types::event::{Event, Notice};
use tokio::sync::broadcast;
use tracing::Level;

/// Notices that are kept for a slow subscriber before it loses some. A notice takes a few hundred
/// bytes.
const MAX_LAG: usize = 1024;

/// Reports events to the log and to `tail` subscribers.
#[derive(Clone, Debug)]
pub struct Reporter {
    tails: broadcast::Sender<Notice>,
}

impl Default for Reporter {
    fn default() -> Self {
        Self {
            tails: broadcast::Sender::new(MAX_LAG),
        }
    }
}

impl Reporter {
    /// Forwards a notice that is in the log already to every subscriber. Returns whether there is a
    /// subscriber.
    pub fn relay(&self, notice: Notice) -> bool {
        self.tails.send(notice).is_ok()
    }

    /// Reports `event` to the log and to every subscriber.
    pub fn report(&self, event: Event) {
        log_event(&event);
        self.publish(event);
    }

    /// Reports `event` to every subscriber, and to the log at level `debug`.
    pub fn report_quietly(&self, event: Event) {
        log_event_at(&event, Level::DEBUG);
        self.publish(event);
    }

    fn publish(&self, event: Event) {
        if self.tails.receiver_count() > 0 {
            // Fails if the last subscriber has just disconnected.
            let _ = self.tails.send(Notice::now(event));
        }
    }

    /// Subscribes to everything that is reported after this call.
    #[must_use]
    pub fn tail(&self) -> Tail {
        Tail(self.tails.subscribe())
    }
}

/// The notices of one subscriber. A slow subscriber loses some and never delays the daemon.
#[derive(Debug)]
pub struct Tail(broadcast::Receiver<Notice>);

impl Tail {
    /// The next notice; `None` when the daemon stops. Cancel-safe.
    pub async fn next(&mut self) -> Option<Notice> {
        match self.0.recv().await {
            Ok(notice) => Some(notice),
            Err(broadcast::error::RecvError::Lagged(notices)) => {
                Some(Notice::now(Event::Lost { notices }))
            }
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use knockd_types::{event::AdmissionInfo, reason::Reason};

    use super::*;

    fn refused(detail: &str) -> Event {
        Event::Refused {
            source: [192, 0, 2, 7].into(),
            reason: Reason::Replayed,
            client: None,
            detail: detail.into(),
        }
    }

    #[tokio::test]
    async fn every_subscriber_gets_every_notice() {
        let reporter = Reporter::default();
        reporter.report(refused("before"));
        let mut tails = [reporter.tail(), reporter.tail()];
        reporter.report(refused("one"));
        reporter.report(refused("two"));
        for tail in &mut tails {
            assert_eq!(tail.next().await.unwrap().event, refused("one"));
            assert_eq!(tail.next().await.unwrap().event, refused("two"));
        }
        drop(reporter);
        assert!(tails[0].next().await.is_none());
    }

    #[tokio::test]
    async fn a_slow_subscriber_loses_the_oldest_and_is_notified() {
        let reporter = Reporter::default();
        let mut tail = reporter.tail();
        for _ in 0..MAX_LAG + 10 {
            reporter.report(refused("flood"));
        }
        assert_eq!(
            tail.next().await.unwrap().event,
            Event::Lost { notices: 10 }
        );
        assert_eq!(tail.next().await.unwrap().event, refused("flood"));
    }

    #[test]
    fn a_notice_survives_the_socket() {
        let notice = Notice::now(Event::Opening(AdmissionInfo {
            client: "laptop".into(),
            door: "ssh".into(),
            source: [192, 0, 2, 7].into(),
            seconds: 30,
        }));
        let json = serde_json::to_string(&notice).unwrap();
        let read: Notice = serde_json::from_str(&json).unwrap();
        assert_eq!(read.to_string(), notice.to_string());
        assert!(notice.to_string().ends_with(
            "accepted door=\"ssh\" client=\"laptop\" source=192.0.2.7 lease=30s: opening"
        ));
    }
}
