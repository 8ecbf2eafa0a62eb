//! What the keeper has to tell and the listener has not taken yet. Bounded: whoever puts
//! something in never waits, and a listener that takes nothing costs no memory.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    sync::{Arc, Mutex, PoisonError},
};

use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use knockd_ipc::{channel::SupervisorEnd, message::Message};
use knockd_types::event::{Event, Notice};

/// Messages that wait at most.
const ROOM: usize = 1024;

/// Of that, what notices leave to everything else.
const RESERVED: usize = 128;

/// The listener takes nothing any more.
#[derive(Debug, Error)]
#[error("the network-facing process takes nothing any more")]
pub struct Stuck;

/// Something that waits.
#[derive(Debug)]
struct Queued {
    told: Message,
    files: Vec<OwnedFd>,
    /// Given back when it has been told.
    _permit: Option<OwnedSemaphorePermit>,
}

/// Where messages are put, by everybody who has some.
#[derive(Clone, Debug, Default)]
pub struct Outbox(Arc<Mutex<Option<Open>>>);

/// An outbox that somebody empties.
#[derive(Debug)]
struct Open {
    messages: mpsc::Sender<Queued>,
    /// Whether somebody reads notices.
    wants_notices: bool,
    /// Notices that there was no room for.
    lost: u64,
}

/// What comes out of it.
#[derive(Debug)]
pub struct Messages(mpsc::Receiver<Queued>);

impl Outbox {
    /// From here on what is put in comes out of the returned end. What has not come out of an
    /// earlier one is dropped with it.
    #[must_use]
    pub fn open(&self) -> Messages {
        let (messages, taken) = mpsc::channel(ROOM);
        let opened = Open {
            messages,
            wants_notices: false,
            lost: 0,
        };
        self.with(|open| *open = Some(opened));
        Messages(taken)
    }

    /// From here on takes notices or does not.
    pub fn want_notices(&self, wanted: bool) {
        self.with(|open| {
            if let Some(open) = open {
                open.wants_notices = wanted;
            }
        });
    }

    /// Puts something in that has to arrive; nothing happens while there is no listener.
    ///
    /// # Errors
    ///
    /// [`Stuck`].
    pub fn send(&self, told: Message) -> Result<(), Stuck> {
        self.send_with(told, Vec::new())
    }

    /// The same with files.
    ///
    /// # Errors
    ///
    /// [`Stuck`].
    pub fn send_with(&self, told: Message, files: Vec<OwnedFd>) -> Result<(), Stuck> {
        self.put(told, files, None)
    }

    /// The same without files; `permit` is given back when it has been told.
    ///
    /// # Errors
    ///
    /// [`Stuck`].
    pub fn send_holding(&self, told: Message, permit: OwnedSemaphorePermit) -> Result<(), Stuck> {
        self.put(told, Vec::new(), Some(permit))
    }

    fn put(
        &self,
        told: Message,
        files: Vec<OwnedFd>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Stuck> {
        let message = Queued {
            told,
            files,
            _permit: permit,
        };
        self.with(|open| match open {
            // Closed is no error: whoever starts listeners hears of that by itself.
            Some(open) => match open.messages.try_send(message) {
                Err(mpsc::error::TrySendError::Full(_)) => Err(Stuck),
                _ => Ok(()),
            },
            None => Ok(()),
        })
    }

    /// Puts a notice in, if somebody reads them and there is room, and otherwise a word that
    /// there was none later on.
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
                    told: Message::Notice(Box::new(Notice::now(event))),
                    files: Vec::new(),
                    _permit: None,
                });
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Option<Open>) -> T) -> T {
        // A panic leaves nothing half-done in there.
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut open)
    }
}

impl Messages {
    /// Tells everything through `end` until the listener has gone.
    pub async fn deliver(mut self, end: Arc<SupervisorEnd>) {
        while let Some(message) = self.0.recv().await {
            let files: Vec<_> = message.files.iter().map(OwnedFd::as_fd).collect();
            if let Err(error) = end.send(&message.told, &files).await {
                tracing::debug!("the network-facing process has gone: {error:#}");
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
    fn notices_leave_room_and_are_counted_where_there_is_none() {
        let outbox = Outbox::default();
        outbox.notify(notice());
        outbox.send(Message::Ping).unwrap();
        let mut messages = outbox.open();
        outbox.notify(notice());
        assert!(messages.0.try_recv().is_err());
        outbox.want_notices(true);
        for _ in 0..ROOM + 10 {
            outbox.notify(notice());
        }
        for _ in 0..RESERVED {
            outbox.send(Message::Flushed).unwrap();
        }
        assert!(outbox.send(Message::Flushed).is_err());
        let mut kept = 0;
        while let Ok(Queued { told, .. }) = messages.0.try_recv() {
            kept += usize::from(matches!(told, Message::Notice(_)));
        }
        assert_eq!(kept, ROOM - RESERVED);
        outbox.notify(notice());
        let told = messages.0.try_recv().unwrap().told;
        let Message::Notice(told) = told else {
            panic!("{told:?}");
        };
        let notices = (10 + RESERVED) as u64;
        assert_eq!(told.event, Event::Lost { notices });
    }

    #[tokio::test]
    async fn a_listener_that_takes_nothing_holds_nobody_up() {
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
