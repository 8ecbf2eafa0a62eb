//! What processes, and the whole machine, have used.

use std::{collections::HashSet, time::Duration};

use anyhow::{Context as _, Result};
use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};
use procfs::{
    CurrentSI as _, KernelStats,
    process::{Process, all_processes},
    ticks_per_second,
};

/// What a daemon has used since its start, with all processes that it consists of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Processor time, in the program and for it in the kernel, with that of its commands.
    pub(crate) cpu: Duration,
    /// How often one of its threads has waited and was woken.
    pub(crate) wakeups: u64,
    /// What it has in memory, in bytes, a page that processes share divided among them.
    pub(crate) memory: u64,
    /// The most that it ever had there, in bytes.
    pub(crate) peak: u64,
}

impl Usage {
    /// Of `roots`, which run, and of the processes that those have started.
    pub(crate) fn of(roots: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for process in family(roots)? {
            // One that just ended is part of its parent's time.
            if let Ok(usage) = Self::single(&process) {
                sum.cpu += usage.cpu;
                sum.wakeups += usage.wakeups;
                sum.memory += usage.memory;
                sum.peak += usage.peak;
            }
        }
        Ok(sum)
    }

    fn single(process: &Process) -> Result<Self> {
        let stat = process.stat()?;
        let status = process.status()?;
        let children = stat.cutime.cast_unsigned() + stat.cstime.cast_unsigned();
        let mut wakeups = 0;
        for task in process.tasks()? {
            wakeups += task?.status()?.voluntary_ctxt_switches.unwrap_or(0);
        }
        Ok(Self {
            cpu: running_time(process.pid)? + time(children),
            wakeups,
            memory: resident(process)?,
            peak: status.vmhwm.unwrap_or(0) * 1024,
        })
    }

    /// What was used since `earlier`; memory stays what it is.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            wakeups: self.wakeups.saturating_sub(earlier.wakeups),
            ..self
        }
    }
}

/// The resident memory of a process, its part of what it shares with others included.
fn resident(process: &Process) -> Result<u64> {
    let maps = process.smaps_rollup()?.memory_map_rollup;
    let parts = maps.iter().filter_map(|map| map.extension.map.get("Pss"));
    Ok(parts.sum())
}

/// The processor time of a process, with that of threads which have ended, to the nanosecond.
fn running_time(process: i32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(process))?;
    Ok(clock_gettime(clock)?.into())
}

/// `roots` and their descendants.
fn family(roots: &[u32]) -> Result<Vec<Process>> {
    let mut others = Vec::new();
    for process in all_processes().context("/proc cannot be read")? {
        let Ok(process) = process else { continue };
        if let Ok(stat) = process.stat() {
            others.push((process, stat.ppid));
        }
    }
    let mut ids: HashSet<i32> = roots.iter().map(|id| id.cast_signed()).collect();
    // Until a generation brings nobody new.
    loop {
        let known = ids.len();
        for (process, parent) in &others {
            if ids.contains(parent) {
                ids.insert(process.pid);
            }
        }
        if ids.len() == known {
            break;
        }
    }
    others.retain(|(process, _)| ids.contains(&process.pid));
    Ok(others.into_iter().map(|(process, _)| process).collect())
}

/// What all processors of the machine have done, interrupts included.
///
/// The kernel counts work by looking, at each tick of a few milliseconds, at what a processor
/// does just then, and a flood that comes in bursts between the ticks is hardly seen. Idleness
/// it measures, so work is the time that was not idle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    now: Duration,
    /// Of all processors together, and what other machines have taken from them.
    idle: Duration,
}

impl Work {
    /// From when on it counts.
    pub(crate) fn begin() -> Result<Self> {
        let statistics = KernelStats::current().context("/proc/stat cannot be read")?;
        let total = statistics.total;
        let idle = total.idle + total.iowait.unwrap_or(0) + total.steal.unwrap_or(0);
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let processors = u32::try_from(statistics.cpu_time.len())?;
        Ok(Self {
            now: now * processors,
            idle: time(idle),
        })
    }

    /// The processor time of all that was done since, to some 10 ms.
    pub(crate) fn done(self) -> Result<Duration> {
        let end = Self::begin()?;
        let idle = end.idle.saturating_sub(self.idle);
        Ok(end.now.saturating_sub(self.now).saturating_sub(idle))
    }
}

fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / ticks_per_second())
}
