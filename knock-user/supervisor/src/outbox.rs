//! The queue of messages to the listener. It is bounded: sending never waits, and a listener that
//! does not read costs no memory.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use knockd_ipc::{channel::SupervisorEnd, message::Message};
use knockd_types::event::{Event, Notice};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::debug;

/// The length of the queue.
const CAPACITY: usize = 1024;

/// The part of the queue that notices leave to other messages.
const RESERVED: usize = 128;

/// The queue is full: the listener does not read.
#[derive(Debug, Error)]
#[error("it does not read its messages")]
pub struct Stuck;

/// A message in the queue.
#[derive(Debug)]
struct Queued {
    message: Message,
    files: Vec<OwnedFd>,
    /// Released when the message is sent.
    _permit: Option<OwnedSemaphorePermit>,
}

/// The sending end of the queue. Clones share the queue.
#[derive(Clone, Debug, Default)]
pub struct Outbox(Arc<Mutex<Option<Open>>>);

/// The queue of the current listener.
#[derive(Debug)]
struct Open {
    messages: mpsc::Sender<Queued>,
    /// Whether the listener accepts notices.
    wants_notices: bool,
    /// Notices that were dropped because the queue was full.
    lost: u64,
}

/// The receiving end of the queue.
#[derive(Debug)]
pub struct Messages(mpsc::Receiver<Queued>);

impl Outbox {
    /// Replaces the queue by an empty one for a new listener, and returns its receiving end.
    #[must_use]
    pub fn open(&self) -> Messages {
        let (messages, taken) = mpsc::channel(CAPACITY);
        let opened = Open {
            messages,
            wants_notices: false,
            lost: 0,
        };
        self.with(|open| *open = Some(opened));
        Messages(taken)
    }

    /// Sets whether notices are queued or dropped.
    pub fn want_notices(&self, wanted: bool) {
        self.with(|open| {
            if let Some(open) = open {
                open.wants_notices = wanted;
            }
        });
    }

    /// Queues a message that must not be lost. Without a listener it is dropped.
    ///
    /// # Errors
    ///
    /// Returns an error if the queue is full.
    pub fn send(&self, message: Message) -> Result<(), Stuck> {
        self.send_with(message, Vec::new())
    }

    /// Queues a message with the file descriptors `files`.
    ///
    /// # Errors
    ///
    /// Returns an error if the queue is full.
    pub fn send_with(&self, message: Message, files: Vec<OwnedFd>) -> Result<(), Stuck> {
        self.queue(message, files, None)
    }

    /// Queues a message. Releases `permit` when the message is sent.
    ///
    /// # Errors
    ///
    /// Returns an error if the queue is full.
    pub fn send_holding(
        &self,
        message: Message,
        permit: OwnedSemaphorePermit,
    ) -> Result<(), Stuck> {
        self.queue(message, Vec::new(), Some(permit))
    }

    fn queue(
        &self,
        message: Message,
        files: Vec<OwnedFd>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Stuck> {
        let queued = Queued {
            message,
            files,
            _permit: permit,
        };
        self.with(|open| match open {
            // A closed queue is no error: the exit of the listener is noticed elsewhere.
            Some(open) => match open.messages.try_send(queued) {
                Err(mpsc::error::TrySendError::Full(_)) => Err(Stuck),
                _ => Ok(()),
            },
            None => Ok(()),
        })
    }

    /// Queues a notice, if the listener accepts notices. If the queue is full, the next notice is
    /// preceded by the number of those that were dropped.
    pub fn notify(&self, event: Event) {
        self.with(|open| {
            let Some(open) = open.as_mut().filter(|open| open.wants_notices) else {
                return;
            };
            if open.messages.capacity() <= RESERVED {
                open.lost += 1;
                return;
            }
            let lost = std::mem::take(&mut open.lost);
            let lost = (lost > 0).then_some(Event::Lost { notices: lost });
            for event in lost.into_iter().chain([event]) {
                let _ = open.messages.try_send(Queued {
                    message: Message::Notice(Box::new(Notice::now(event))),
                    files: Vec::new(),
                    _permit: None,
                });
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Option<Open>) -> T) -> T {
        // No panic can leave the queue in an inconsistent state.
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut open)
    }
}

impl Messages {
    /// Sends everything through `end` until the listener exits.
    pub async fn deliver(mut self, end: Arc<SupervisorEnd>) {
        while let Some(queued) = self.0.recv().await {
            let files: Vec<_> = queued.files.iter().map(OwnedFd::as_fd).collect();
            if let Err(error) = end.send(&queued.message, &files).await {
                debug!("cannot send to the listener: {error:#}");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn notice() -> Event {
        Event::Kernel {
            message: "SYN".into(),
        }
    }

    #[test]
    fn notices_leave_room_for_other_messages_and_are_counted_when_dropped() {
        let outbox = Outbox::default();
        outbox.notify(notice());
        outbox.send(Message::Ping).unwrap();
        let mut messages = outbox.open();
        outbox.notify(notice());
        assert!(messages.0.try_recv().is_err());
        outbox.want_notices(true);
        for _ in 0..CAPACITY + 10 {
            outbox.notify(notice());
        }
        for _ in 0..RESERVED {
            outbox.send(Message::Flushed).unwrap();
        }
        assert!(outbox.send(Message::Flushed).is_err());
        let mut kept = 0;
        while let Ok(Queued { message, .. }) = messages.0.try_recv() {
            kept += usize::from(matches!(message, Message::Notice(_)));
        }
        assert_eq!(kept, CAPACITY - RESERVED);
        outbox.notify(notice());
        let message = messages.0.try_recv().unwrap().message;
        let Message::Notice(notice) = message else {
            panic!("{message:?}");
        };
        let notices = (10 + RESERVED) as u64;
        assert_eq!(notice.event, Event::Lost { notices });
    }

    #[tokio::test]
    async fn a_listener_that_does_not_read_blocks_nothing() {
        let (supervisor, _listener) = SupervisorEnd::pair().unwrap();
        let outbox = Outbox::default();
        let messages = outbox.open();
        let delivery = tokio::spawn(messages.deliver(Arc::new(supervisor)));
        let stuck = tokio::time::timeout(Duration::from_secs(60), async {
            while outbox.send(Message::Ping).is_ok() {
                tokio::task::yield_now().await;
            }
        });
        stuck.await.unwrap();
        delivery.abort();
    }
}
