//! The machine on which the benchmarks run.

use std::{fs, thread};

use serde::{Deserialize, Serialize};

/// A machine and its kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// The CPU model.
    pub(crate) processor: String,
    /// The number of CPUs that are available to this process.
    pub(crate) cores: usize,
    /// Memory in bytes.
    pub(crate) memory: u64,
    /// Whether the CPU reports a hypervisor.
    pub(crate) is_virtual: bool,
    /// The kernel release.
    pub(crate) kernel: String,
}

impl Machine {
    /// The machine of this process.
    pub(crate) fn this() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let uname = rustix::system::uname();
        let processor = field(&cpuinfo, "model name").map(str::to_owned);
        Self {
            processor: processor.unwrap_or_else(|| uname.machine().to_string_lossy().into_owned()),
            cores: thread::available_parallelism().map_or(0, usize::from),
            memory: memory().unwrap_or_default(),
            is_virtual: field(&cpuinfo, "flags")
                .is_some_and(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")),
            kernel: uname.release().to_string_lossy().into_owned(),
        }
    }
}

fn memory() -> Option<u64> {
    let meminfo = fs::read_to_string("/proc/meminfo").ok()?;
    let total = field(&meminfo, "MemTotal")?;
    let kib: u64 = total.trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

/// The value of the first line `name : value` of `text`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}
