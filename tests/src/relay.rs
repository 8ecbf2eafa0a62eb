//! A bad cable: a host between two others that loses, repeats and holds back what it passes on.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Result;
use etherparse::{LaxSlicedPacket, TransportSlice};
use fastrand::Rng;

use crate::{
    netns::Namespace,
    wire::{Capture, Direction, Sender},
};

/// What happens to TCP segments and UDP datagrams on their way; everything else passes as it is.
#[derive(Clone, Copy, Debug)]
pub struct Impairment {
    /// The part of them that is lost.
    pub loss: f64,
    /// The part of them that comes twice.
    pub duplication: f64,
    /// The part of them that is held back for up to `hold`, so that others overtake them.
    pub reordering: f64,
    /// At least 1 ms.
    pub hold: Duration,
}

/// Passes frames between two interfaces of one namespace until it is dropped. What becomes
/// of the n-th of those in each direction follows from the seed alone.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    directions: Vec<JoinHandle<Result<()>>>,
}

/// How often a direction looks whether it is to stop.
const ATTENTION: Duration = Duration::from_millis(100);

impl Relay {
    /// Relays between interfaces `left` and `right` of `namespace`.
    ///
    /// # Errors
    ///
    /// There are no such interfaces.
    pub fn start(
        namespace: &Namespace,
        left: &str,
        right: &str,
        impairment: Impairment,
        seed: u64,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut directions = Vec::new();
        for (from, to, seed) in [(left, right, seed), (right, left, !seed)] {
            let direction = OneWay {
                from: Capture::new(namespace, from)?,
                to: Sender::new(namespace, to)?,
                impairment,
                random: Rng::with_seed(seed),
                held: BinaryHeap::new(),
                serial: 0,
            };
            let stop = Arc::clone(&stop);
            directions.push(thread::spawn(move || direction.relay(&stop)));
        }
        Ok(Self { stop, directions })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for direction in self.directions.drain(..) {
            // The relay's own end, or its interfaces': nothing is left to be done about it.
            let _ = direction.join();
        }
    }
}

/// Whether `frame` carries TCP or UDP.
fn is_impaired(frame: &[u8]) -> bool {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok();
    matches!(
        packet.and_then(|packet| packet.transport),
        Some(TransportSlice::Tcp(_) | TransportSlice::Udp(_))
    )
}

struct OneWay {
    from: Capture,
    to: Sender,
    impairment: Impairment,
    random: Rng,
    /// Frames that wait, the one that goes first on top; the serial keeps ties in order.
    held: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    serial: u64,
}

impl OneWay {
    fn relay(mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let due = self.held.peek().map(|Reverse((due, ..))| *due);
            let deadline = due.unwrap_or(now + ATTENTION).min(now + ATTENTION);
            if let Some(captured) = self.from.next(deadline)?
                && captured.direction == Direction::In
            {
                self.pass(captured.bytes);
            }
            self.release()?;
        }
        Ok(())
    }

    fn pass(&mut self, frame: Vec<u8>) {
        let now = Instant::now();
        if !is_impaired(&frame) {
            self.hold(now, frame);
            return;
        }
        // Always four numbers, so that one decision does not shift the next.
        let [lost, twice, late, by] = [(); 4].map(|()| self.random.f64());
        if lost < self.impairment.loss {
            return;
        }
        let due = if late < self.impairment.reordering {
            now + self.impairment.hold.mul_f64(by)
        } else {
            now
        };
        if twice < self.impairment.duplication {
            self.hold(due, frame.clone());
        }
        self.hold(due, frame);
    }

    fn hold(&mut self, due: Instant, frame: Vec<u8>) {
        self.serial += 1;
        self.held.push(Reverse((due, self.serial, frame)));
    }

    fn release(&mut self) -> Result<()> {
        while let Some(Reverse((due, ..))) = self.held.peek()
            && *due <= Instant::now()
            && let Some(Reverse((_, _, frame))) = self.held.pop()
        {
            self.to.send(&frame)?;
        }
        Ok(())
    }
}
