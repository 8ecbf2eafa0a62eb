//! A flood, and valid knocks during it.

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use crate::{
    flood::{self, Flood},
    lab::{Lab, client_address},
    meter::{Usage, Work},
    peer::{Daemon, send},
};

/// How long after the flood a command may still start.
const PATIENCE: Duration = Duration::from_secs(3);

/// How long the flood runs before the measurement, so that queues and tables fill up.
const WARM_UP: Duration = Duration::from_millis(500);

/// A flood with valid knocks.
#[derive(Clone, Debug)]
pub(crate) struct Attack {
    pub(crate) flood: Flood,
    /// The duration of the measurement of the flood alone, and of the knocks after it.
    pub(crate) lasts: Duration,
    /// The indices of the clients. Each sends one knock; the intervals are equal.
    pub(crate) clients: Range<u32>,
    /// How many times each knock is sent.
    pub(crate) copies: u32,
}

/// The result of an attack.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Packets that the server's interface received during the measurement.
    packets: u64,
    /// The duration of the measurement.
    took: Duration,
    /// The daemon's usage during the measurement; zero without a daemon. The peak memory is that of
    /// the whole attack.
    pub(crate) daemon: Usage,
    /// CPU time of the whole machine during the measurement: the flood's generation, the kernel and
    /// the daemon.
    pub(crate) machine: Duration,
    /// Valid knocks whose command started.
    pub(crate) accepted: usize,
}

#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
impl Outcome {
    /// Nanoseconds of `time` per SYN of the flood.
    pub(crate) fn per_syn(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e9 / self.packets as f64
    }

    /// Packets per second.
    pub(crate) fn rate(&self) -> f64 {
        self.packets as f64 / self.took.as_secs_f64()
    }

    /// `count` during the measurement, per second.
    pub(crate) fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.took.as_secs_f64()
    }

    /// `time` as a share of one CPU, in percent.
    pub(crate) fn share(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.took.as_secs_f64() * 100.0
    }
}

impl Attack {
    /// Attacks the server of `lab`, on which `daemon` may run.
    pub(crate) fn run(&self, lab: &Lab, daemon: Option<&Daemon>) -> Result<Outcome> {
        let is_over = AtomicBool::new(false);
        let mut outcome = thread::scope(|scope| {
            let flood = scope.spawn(|| flood::send(&self.flood, &lab.pair.client, &is_over));
            let outcome = self.measure(lab, daemon);
            let knocked = daemon.map_or(Ok(()), |daemon| self.knock(lab, daemon));
            is_over.store(true, Ordering::Relaxed);
            flood
                .join()
                .map_err(|_| anyhow!("the flood thread panicked"))??;
            knocked.and(outcome)
        })?;
        if let Some(daemon) = daemon {
            let clients = self.clients.clone().map(client_address);
            outcome.accepted = lab.site.stamps.count(clients, PATIENCE);
            outcome.daemon.peak = daemon.usage()?.peak;
        }
        Ok(outcome)
    }

    /// Measures the flood alone.
    fn measure(&self, lab: &Lab, daemon: Option<&Daemon>) -> Result<Outcome> {
        let used = || daemon.map_or(Ok(Usage::default()), Daemon::usage);
        thread::sleep(WARM_UP);
        // Outside the interval that is measured: reading all of /proc takes milliseconds.
        let daemon = used()?;
        let begun = Instant::now();
        let (work, packets) = (Work::begin()?, lab.arrived()?);
        thread::sleep(self.lasts);
        let machine = work.done()?;
        let packets = lab.arrived()? - packets;
        Ok(Outcome {
            packets,
            took: begun.elapsed(),
            daemon: used()?.since(daemon),
            machine,
            accepted: 0,
        })
    }

    /// Sends the knocks during the flood.
    fn knock(&self, lab: &Lab, daemon: &Daemon) -> Result<()> {
        let begun = Instant::now();
        let knocks = u32::try_from(self.clients.len())?;
        for (serial, index) in (0..).zip(self.clients.clone()) {
            let due = begun + self.lasts * serial / knocks;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let knock = daemon.knock(client_address(index))?;
            for _ in 0..self.copies {
                send(&lab.sender, &knock)?;
            }
        }
        Ok(())
    }
}
