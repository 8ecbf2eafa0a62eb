//! An impaired link: a host between two others that drops, duplicates and delays packets.

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

/// How TCP segments and UDP datagrams are impaired; other packets pass unchanged.
#[derive(Clone, Copy, Debug)]
pub struct Impairment {
    /// Fraction of packets that are lost.
    pub loss: f64,
    /// Fraction of packets that are duplicated.
    pub duplication: f64,
    /// Fraction of packets that are delayed by up to `hold`, so that others overtake them.
    pub reordering: f64,
    /// Maximum delay; at least 1 ms.
    pub hold: Duration,
}

/// Forwards frames between two interfaces of one namespace until it is dropped. The seed alone
/// determines what happens to the n-th impaired packet in each direction.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    directions: Vec<JoinHandle<Result<()>>>,
}

/// Interval at which a forwarding thread checks the stop flag.
const STOP_POLL_INTERVAL: Duration = Duration::from_millis(100);

impl Relay {
    /// Relays between interfaces `left` and `right` of `namespace`.
    ///
    /// # Errors
    ///
    /// Returns an error if an interface does not exist.
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
            // An error means that an interface has disappeared, which is no problem here.
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
    /// Delayed frames, the next one on top; the serial number keeps the order of frames with the
    /// same due time.
    held: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    serial: u64,
}

impl OneWay {
    fn relay(mut self, stop: &AtomicBool) -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let due = self.held.peek().map(|Reverse((due, ..))| *due);
            let deadline = due
                .unwrap_or(now + STOP_POLL_INTERVAL)
                .min(now + STOP_POLL_INTERVAL);
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
        // Always draws four numbers, so that one decision does not affect later ones.
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
