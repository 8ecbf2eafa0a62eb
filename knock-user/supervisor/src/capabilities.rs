//! The capabilities that the supervisor needs (capabilities(7)), checked before anything is started.
//! In a container many are missing, and the error of a system call does not say which.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use knockd_config::Config;
use rustix::{
    process::geteuid,
    thread::{CapabilitySet, capabilities},
};
use tracing::warn;

/// A purpose, and the capabilities that it takes.
struct Need {
    purpose: &'static str,
    capabilities: &'static [(&'static str, CapabilitySet)],
}

const PROGRAM: Need = Need {
    purpose: "load the eBPF program and attach it",
    capabilities: &[
        ("CAP_BPF", CapabilitySet::BPF),
        ("CAP_NET_ADMIN", CapabilitySet::NET_ADMIN),
        ("CAP_PERFMON", CapabilitySet::PERFMON),
    ],
};

const USERS: Need = Need {
    purpose: "run processes as other users",
    capabilities: &[
        ("CAP_SETUID", CapabilitySet::SETUID),
        ("CAP_SETGID", CapabilitySet::SETGID),
    ],
};

const SIGNALS: Need = Need {
    purpose: "end processes of other users that do not end by themselves",
    capabilities: &[("CAP_KILL", CapabilitySet::KILL)],
};

/// Checks that this process has the capabilities that it needs for `config`. Logs a warning if it lacks
/// one that it can do without.
///
/// # Errors
///
/// Returns an error that names every one that it lacks, and its purpose.
pub(crate) fn require(config: &Config, reads_lines: bool) -> Result<()> {
    // Fails on no kernel that loads the program.
    let Ok(held) = capabilities(None) else {
        return Ok(());
    };
    let held = held.effective;
    let changes_user =
        geteuid().is_root() || config.doors.iter().any(|door| door.account.is_some());
    let mut needs = Vec::new();
    if !reads_lines {
        needs.push(PROGRAM);
    }
    if changes_user {
        needs.push(USERS);
        if let Some(lacking) = lacking(held, &[SIGNALS]) {
            warn!("knockd lacks {lacking}");
        }
    }
    match lacking(held, &needs) {
        Some(lacking) => bail!("knockd lacks {lacking}: grant it what it lacks, or run it as root"),
        None => Ok(()),
    }
}

/// Those of `needs` that are not in `held`, in words; `None` if there are none.
fn lacking(held: CapabilitySet, needs: &[Need]) -> Option<String> {
    // It includes what was split from it in Linux 5.8.
    let held = if held.contains(CapabilitySet::SYS_ADMIN) {
        held | CapabilitySet::BPF | CapabilitySet::PERFMON
    } else {
        held
    };
    let mut text = String::new();
    for need in needs {
        let missing = need.capabilities.iter();
        let missing = missing.filter(|(_, capability)| !held.contains(*capability));
        let names: Vec<_> = missing.map(|(name, _)| *name).collect();
        if names.is_empty() {
            continue;
        }
        let comma = if text.is_empty() { "" } else { ", and " };
        // Writing to a string cannot fail.
        let _ = write!(text, "{comma}{} to {}", names.join(", "), need.purpose);
    }
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let needs = [PROGRAM, USERS];
        let some = CapabilitySet::NET_ADMIN | CapabilitySet::SETUID;
        assert_eq!(
            lacking(some, &needs).unwrap(),
            "CAP_BPF, CAP_PERFMON to load the eBPF program and attach it, and CAP_SETGID to run processes as other users"
        );
        let rest = CapabilitySet::SYS_ADMIN | CapabilitySet::SETGID;
        assert_eq!(lacking(some | rest, &needs), None);
        assert_eq!(lacking(CapabilitySet::empty(), &[]), None);
    }
}
