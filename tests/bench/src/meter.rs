//! Resource usage of processes and of the whole machine.

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

/// The resource usage of all processes of a daemon since its start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// CPU time in user and kernel mode, with that of terminated children.
    pub(crate) cpu: Duration,
    /// Voluntary context switches of all threads.
    pub(crate) wakeups: u64,
    /// Proportional set size (PSS) in bytes.
    pub(crate) memory: u64,
    /// The sum of the peak resident set sizes in bytes.
    pub(crate) peak: u64,
}

impl Usage {
    /// The usage of the running processes `roots` and their descendants.
    pub(crate) fn of(roots: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for process in family(roots)? {
            // A process that has just terminated is counted in its parent's time.
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

    /// The usage since `earlier`. The memory values are those of `self`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            wakeups: self.wakeups.saturating_sub(earlier.wakeups),
            ..self
        }
    }
}

/// The proportional set size of a process.
fn resident(process: &Process) -> Result<u64> {
    let maps = process.smaps_rollup()?.memory_map_rollup;
    let parts = maps.iter().filter_map(|map| map.extension.map.get("Pss"));
    Ok(parts.sum())
}

/// The CPU time of a process in nanosecond resolution, with that of terminated threads.
fn running_time(process: i32) -> Result<Duration> {
    let clock = clock_getcpuclockid(Pid::from_raw(process))?;
    Ok(clock_gettime(clock)?.into())
}

/// `roots` and their descendants.
fn family(roots: &[u32]) -> Result<Vec<Process>> {
    let mut others = Vec::new();
    for process in all_processes().context("cannot read /proc")? {
        let Ok(process) = process else { continue };
        if let Ok(stat) = process.stat() {
            others.push((process, stat.ppid));
        }
    }
    let mut ids: HashSet<i32> = roots.iter().map(|id| id.cast_signed()).collect();
    // Each pass adds one generation, in the worst case.
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

/// The CPU time that the whole machine has spent, with interrupts.
///
/// The kernel samples busy time at each timer tick, so it misses most of a flood that arrives in
/// bursts between the ticks. It measures idle time exactly. Therefore busy time is all time that
/// was not idle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    now: Duration,
    /// Idle and stolen time of all CPUs.
    idle: Duration,
}

impl Work {
    /// Starts to measure.
    pub(crate) fn begin() -> Result<Self> {
        let statistics = KernelStats::current().context("cannot read /proc/stat")?;
        let total = statistics.total;
        let idle = total.idle + total.iowait.unwrap_or(0) + total.steal.unwrap_or(0);
        let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let processors = u32::try_from(statistics.cpu_time.len())?;
        Ok(Self {
            now: now * processors,
            idle: time(idle),
        })
    }

    /// The CPU time since [`Work::begin`], in a resolution of about 10 ms.
    pub(crate) fn done(self) -> Result<Duration> {
        let end = Self::begin()?;
        let idle = end.idle.saturating_sub(self.idle);
        Ok(end.now.saturating_sub(self.now).saturating_sub(idle))
    }
}

fn time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1000 / ticks_per_second())
}
