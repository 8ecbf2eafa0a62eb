//! The sources of SYNs.

use std::{future, io, os::fd::OwnedFd, path::PathBuf};

use knockd_xdp::program::Xdp;

/// A source of SYNs.
pub(crate) enum Source {
    /// Interfaces with the XDP program.
    Xdp(Box<Xdp>),
    /// Lines, with their file and its path.
    Lines(OwnedFd, PathBuf),
    /// Lines that have ended. Open doors are still closed in time.
    Ended,
}

impl Source {
    /// Waits until the eBPF program has written log lines. Cancel-safe.
    pub(crate) async fn logged(&mut self) -> io::Result<()> {
        match self {
            Self::Xdp(xdp) => xdp.logged().await,
            Self::Lines(..) | Self::Ended => future::pending().await,
        }
    }
}
