//! A flood, with genuine knocks in the midst of it.

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use knock_tests::{link::Pair, wire::Sender};

use crate::{
    flood::{Flood, Poured},
    lab::{Lab, knocker},
    meter::{Usage, machine},
    peer::{Daemon, send},
};

/// How long after the flood a command may still begin.
const PATIENCE: Duration = Duration::from_secs(3);

/// What is done to a server.
#[derive(Clone, Debug)]
pub(crate) struct Attack {
    pub(crate) flood: Flood,
    /// For how long.
    pub(crate) lasts: Duration,
    /// Genuine knocks meanwhile, in equal distances, each from one of these.
    pub(crate) knockers: Range<u32>,
    /// How often each genuine knock is sent.
    pub(crate) copies: u32,
}

/// What it has come to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) poured: Poured,
    /// Genuine knocks whose command began.
    pub(crate) accepted: usize,
    /// What the daemon has used meanwhile; nothing if there was none.
    pub(crate) daemon: Usage,
    /// Processor time of everything on the machine: the flood itself, what the kernel does with
    /// it, and the daemon.
    pub(crate) machine: Duration,
}

impl Outcome {
    /// Nanoseconds of `time` for each SYN of the flood.
    #[expect(clippy::cast_precision_loss, reason = "far less than 2^52")]
    pub(crate) fn per_syn(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e9 / self.poured.syns as f64
    }
}

impl Attack {
    /// Attacks the server of `lab`, on which `daemon` runs, if one does.
    pub(crate) fn run(&self, lab: &Lab, daemon: Option<&Daemon>) -> Result<Outcome> {
        let used = || daemon.map_or(Ok(Usage::default()), Daemon::usage);
        let stop = AtomicBool::new(false);
        let cable = Sender::new(&lab.pair.client, Pair::CLIENT_INTERFACE)?;
        let (used_before, machine_before) = (used()?, machine()?);
        let poured = thread::scope(|scope| {
            let flood = scope.spawn(|| self.flood.pour(cable, &stop));
            let knocked = self.knock(lab, daemon);
            stop.store(true, Ordering::Relaxed);
            let poured = flood.join().map_err(|_| anyhow!("the flood has ended"))?;
            knocked.and(poured)
        })?;
        let knockers = self.knockers.clone().map(knocker);
        let accepted = match daemon {
            Some(_) => lab.site.stamps.count(knockers, PATIENCE),
            None => 0,
        };
        Ok(Outcome {
            poured,
            accepted,
            daemon: used()?.since(used_before),
            machine: machine()?.saturating_sub(machine_before),
        })
    }

    /// Knocks for as long as the attack lasts.
    fn knock(&self, lab: &Lab, daemon: Option<&Daemon>) -> Result<()> {
        let begun = Instant::now();
        let knocks = u32::try_from(self.knockers.len())?;
        if let Some(daemon) = daemon {
            for (serial, index) in (0..).zip(self.knockers.clone()) {
                let due = begun + self.lasts * serial / knocks;
                thread::sleep(due.saturating_duration_since(Instant::now()));
                let knock = daemon.knock(knocker(index))?;
                for _ in 0..self.copies {
                    send(&lab.sender, &knock)?;
                }
            }
        }
        thread::sleep((begun + self.lasts).saturating_duration_since(Instant::now()));
        Ok(())
    }
}
