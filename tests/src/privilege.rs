//! What a test needs from the kernel, and what becomes of it elsewhere.

use std::{env, fs, thread};

use nix::sched::{CloneFlags, unshare};

/// `CAP_SYS_ADMIN`, which contains the older half of what BPF needs.
const CAP_SYS_ADMIN: u32 = 21;
/// `CAP_NET_ADMIN`, which attaching to an interface needs.
const CAP_NET_ADMIN: u32 = 12;
/// `CAP_BPF`, split off from `CAP_SYS_ADMIN` in Linux 5.8.
const CAP_BPF: u32 = 39;

/// Whether namespaces can be made here. A test that needs them starts with
/// `if !privilege::namespaces() { return; }`.
///
/// # Panics
///
/// When they cannot and `CI` is set in the environment, where a skipped test would pass
/// for a good one.
#[must_use]
pub fn namespaces() -> bool {
    // On a thread of its own, which the new namespace dies with.
    let allowed =
        thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).is_ok())
            .join()
            .unwrap_or(false);
    granted(
        allowed,
        "making namespaces, which the kernel allows root: run it as root",
    )
}

/// Whether BPF programs can be loaded and attached here; used like [`namespaces`].
///
/// # Panics
///
/// Like [`namespaces`].
#[must_use]
pub fn bpf() -> bool {
    let effective = capabilities().unwrap_or(0);
    let has = |capability: u32| effective >> capability & 1 == 1;
    granted(
        has(CAP_NET_ADMIN) && (has(CAP_SYS_ADMIN) || has(CAP_BPF)),
        "loading BPF programs, which the kernel allows root: run it as root",
    )
}

/// Leaves a test that needs BPF where [`bpf`] says that it cannot be had.
#[macro_export]
macro_rules! needs_bpf {
    () => {
        if !$crate::privilege::bpf() {
            return;
        }
    };
}

/// Passes `allowed` on. Where it is false it is said, or with `CI` set a panic, that this test
/// needs `what`.
pub(crate) fn granted(allowed: bool, what: &str) -> bool {
    if allowed {
        return true;
    }
    let thread = thread::current();
    let test = thread.name().unwrap_or("a test");
    let refusal = format!("{test} needs {what}");
    assert!(
        env::var_os("CI").is_none_or(|ci| ci.is_empty()),
        "{refusal}"
    );
    eprintln!("skipped: {refusal}");
    false
}

/// The effective capabilities of this thread, one bit each.
fn capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(effective.trim(), 16).ok()
}
