//! Error messages for the administrator about the kernel's errors.

use std::io;

use anyhow::anyhow;
use aya::programs::ProgramError;
use rustix::io::Errno;
use thiserror::Error;

/// The error for the administrator if loading the program fails with `error`.
pub(crate) fn unloadable(error: anyhow::Error) -> anyhow::Error {
    match errno(&error) {
        // The verifier also rejects programs with EACCES, and then it says why.
        Some(Errno::PERM | Errno::ACCESS) if !has_verifier_log(&error) => no_rights(),
        Some(Errno::NOSYS) => {
            anyhow!("this kernel has no BPF support: knockd needs it, and Linux 5.10 or later")
        }
        _ => error.context("the kernel rejects the eBPF program: knockd needs Linux 5.10 or later"),
    }
}

fn has_verifier_log(error: &anyhow::Error) -> bool {
    let mut causes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<ProgramError>());
    causes.any(|error| {
        matches!(error, ProgramError::LoadError { verifier_log, .. } if !verifier_log.to_string().is_empty())
    })
}

/// The error of a process without the required capabilities.
pub(crate) fn no_rights() -> anyhow::Error {
    anyhow!(
        "loading an XDP program needs root, or the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, and before Linux 5.11 unlimited locked memory (`LimitMEMLOCK=infinity` in the systemd unit): run knockd as root"
    )
}

/// An interface cannot be attached to because a resource of this process or of the kernel is used up.
/// That may change, and has nothing to do with the configuration.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Exhausted(pub(crate) String);

impl Exhausted {
    /// If that is why attaching to `interface` failed with `error`.
    pub(crate) fn of(error: &anyhow::Error, interface: &str) -> Option<Self> {
        let what = match errno(error)? {
            Errno::MFILE => {
                "knockd has as many open files as it may have (`LimitNOFILE` in the systemd unit, `ulimit -n` in a shell)"
            }
            Errno::NFILE => {
                "the system has as many open files as it may have (fs.file-max in sysctl(8))"
            }
            Errno::NOMEM => "the kernel has no memory for it",
            _ => return None,
        };
        Some(Self(format!(
            "the program cannot be attached to {interface}: {what}; it is tried again"
        )))
    }
}

/// The error number in the chain of `error`, if a system call failed.
pub(crate) fn errno(error: &anyhow::Error) -> Option<Errno> {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .find_map(Errno::from_io_error)
}
