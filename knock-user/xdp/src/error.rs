//! What the kernel's errors mean to an administrator.

use std::io;

use anyhow::anyhow;
use rustix::io::Errno;

pub(crate) fn unloadable(error: anyhow::Error) -> anyhow::Error {
    match errno(&error) {
        Some(Errno::PERM | Errno::ACCESS) => no_rights(),
        Some(Errno::NOSYS) => {
            anyhow!("this kernel was built without BPF: knockd needs Linux 5.19 or later with it")
        }
        _ => error.context("the kernel does not take the XDP program (Linux 5.19 or later does)"),
    }
}

pub(crate) fn no_rights() -> anyhow::Error {
    anyhow!(
        "loading an XDP program needs root, or the capabilities CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON: run knockd as root"
    )
}

/// The error number at the bottom of `error`, if it comes from the kernel.
pub(crate) fn errno(error: &anyhow::Error) -> Option<Errno> {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .find_map(Errno::from_io_error)
}
