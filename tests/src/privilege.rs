//! The privileges that a test needs, and how it is skipped without them.

use std::{env, fs, thread};

use nix::sched::{CloneFlags, unshare};

/// `CAP_SYS_ADMIN`, which includes `CAP_BPF` for compatibility (capabilities(7)).
const CAP_SYS_ADMIN: u32 = 21;
/// `CAP_NET_ADMIN`, needed to attach to an interface.
const CAP_NET_ADMIN: u32 = 12;
/// `CAP_BPF`, split off from `CAP_SYS_ADMIN` in Linux 5.8.
const CAP_BPF: u32 = 39;

/// Whether this process can create namespaces. A test that needs them starts with `if
/// !privilege::namespaces() { return; }`.
///
/// # Panics
///
/// Panics if it cannot and `CI` is set in the environment, because a skipped test counts as passed.
#[must_use]
pub fn namespaces() -> bool {
    // On a separate thread, because the new namespaces are freed with it.
    let allowed =
        thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).is_ok())
            .join()
            .unwrap_or(false);
    granted(allowed, "to create namespaces: run it as root")
}

/// Whether this process can load and attach BPF programs; used like [`namespaces`].
///
/// # Panics
///
/// Panics under the conditions of [`namespaces`].
#[must_use]
pub fn bpf() -> bool {
    let effective = capabilities().unwrap_or(0);
    let has = |capability: u32| effective >> capability & 1 == 1;
    granted(
        has(CAP_NET_ADMIN) && (has(CAP_SYS_ADMIN) || has(CAP_BPF)),
        "to load BPF programs: run it as root",
    )
}

/// Returns from the calling test if [`bpf`] is false.
#[macro_export]
macro_rules! needs_bpf {
    () => {
        if !$crate::privilege::bpf() {
            return;
        }
    };
}

/// Returns `allowed`. If it is false, prints that this test needs `what`.
///
/// # Panics
///
/// Panics instead if `CI` is set in the environment.
#[must_use]
pub fn granted(allowed: bool, what: &str) -> bool {
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

/// The effective capabilities of this thread, as a bit set.
fn capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(effective.trim(), 16).ok()
}
