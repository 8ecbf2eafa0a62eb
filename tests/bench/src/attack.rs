//! A flood, with genuine knocks in the midst of it.

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use crate::{
    flood::Flood,
    lab::{Lab, knocker},
    meter::{Usage, Work},
    peer::{Daemon, send},
};

/// How long after the flood a command may still begin.
const PATIENCE: Duration = Duration::from_secs(3);

/// So long the flood alone goes on before it is measured: queues and tables fill up.
const WARM_UP: Duration = Duration::from_millis(500);

/// What is done to a server.
#[derive(Clone, Debug)]
pub(crate) struct Attack {
    pub(crate) flood: Flood,
    /// For how long the flood alone is measured, and for as long again there are knocks.
    pub(crate) lasts: Duration,
    /// Genuine knocks, in equal distances, each from one of these.
    pub(crate) knockers: Range<u32>,
    /// How often each genuine knock is sent.
    pub(crate) copies: u32,
}

/// What it has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// SYNs of the flood alone that arrived at the server's interface.
    syns: u64,
    /// For how long there was nothing else.
    took: Duration,
    /// What the daemon has used meanwhile; nothing if there was none. Its peak is that of the
    /// whole attack.
    pub(crate) daemon: Usage,
    /// Processor time of everything on the machine meanwhile: the flood itself, what the kernel
    /// does with it, and the daemon.
    pub(crate) machine: Duration,
    /// Genuine knocks whose command began.
    pub(crate) accepted: usize,
}

#[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
impl Outcome {
    /// Nanoseconds of `time` for each SYN of the flood.
    pub(crate) fn per_syn(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e9 / self.syns as f64
    }

    /// SYNs a second.
    pub(crate) fn rate(&self) -> f64 {
        self.syns as f64 / self.took.as_secs_f64()
    }

    /// The part of one processor that `time` is, in percent.
    pub(crate) fn share(&self, time: Duration) -> f64 {
        time.as_secs_f64() / self.took.as_secs_f64() * 100.0
    }
}

impl Attack {
    /// Attacks the server of `lab`, on which `daemon` runs, if one does.
    pub(crate) fn run(&self, lab: &Lab, daemon: Option<&Daemon>) -> Result<Outcome> {
        let is_over = AtomicBool::new(false);
        let mut outcome = thread::scope(|scope| {
            let flood = scope.spawn(|| self.flood.pour(&lab.pair.client, &is_over));
            let outcome = self.measure(lab, daemon);
            let knocked = daemon.map_or(Ok(()), |daemon| self.knock(lab, daemon));
            is_over.store(true, Ordering::Relaxed);
            flood
                .join()
                .map_err(|_| anyhow!("the flood has panicked"))??;
            knocked.and(outcome)
        })?;
        if let Some(daemon) = daemon {
            let knockers = self.knockers.clone().map(knocker);
            outcome.accepted = lab.site.stamps.count(knockers, PATIENCE);
            outcome.daemon.peak = daemon.usage()?.peak;
        }
        Ok(outcome)
    }

    /// What the flood alone costs.
    fn measure(&self, lab: &Lab, daemon: Option<&Daemon>) -> Result<Outcome> {
        let used = || daemon.map_or(Ok(Usage::default()), Daemon::usage);
        thread::sleep(WARM_UP);
        // First and last: to look through all processes takes the machine milliseconds.
        let daemon = used()?;
        let begun = Instant::now();
        let (work, syns) = (Work::begin()?, lab.arrived()?);
        thread::sleep(self.lasts);
        let machine = work.done()?;
        let syns = lab.arrived()? - syns;
        Ok(Outcome {
            syns,
            took: begun.elapsed(),
            daemon: used()?.since(daemon),
            machine,
            accepted: 0,
        })
    }

    /// Knocks in the flood.
    fn knock(&self, lab: &Lab, daemon: &Daemon) -> Result<()> {
        let begun = Instant::now();
        let knocks = u32::try_from(self.knockers.len())?;
        for (serial, index) in (0..).zip(self.knockers.clone()) {
            let due = begun + self.lasts * serial / knocks;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let knock = daemon.knock(knocker(index))?;
            for _ in 0..self.copies {
                send(&lab.sender, &knock)?;
            }
        }
        Ok(())
    }
}
