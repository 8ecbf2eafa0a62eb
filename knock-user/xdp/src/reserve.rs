//! Keeps file descriptors free for everything else while the program is attached: a host may have more
//! interfaces than this process may have open files.

use std::{
    fs::File,
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::process::{Resource, getrlimit};

/// More than a listener, an exporter, a reload and the commands that run at once need.
const RESERVED: usize = 256;

/// File descriptors that become free when it is dropped: up to [`RESERVED`], and up to half of those
/// that this process may have.
#[derive(Debug)]
pub(crate) struct Reserve(#[expect(dead_code, reason = "held open")] Vec<OwnedFd>);

impl Reserve {
    /// Takes them.
    pub(crate) fn take() -> Self {
        let mut files = Vec::new();
        if let Ok(null) = File::open("/dev/null") {
            let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
            let reserved = RESERVED.min(usize::try_from(limit / 2).unwrap_or(RESERVED));
            let copies = (1..reserved).map_while(|_| null.as_fd().try_clone_to_owned().ok());
            files.extend(copies);
            files.push(null.into());
        }
        Self(files)
    }
}
