//! Keeps file descriptors free for everything else while the program is attached: a host may have more
//! interfaces than this process may have open files.

use std::{
    fs::File,
    os::fd::{AsFd as _, OwnedFd},
};

/// More than a listener, an exporter, a reload and the commands that run at once need.
const RESERVED: usize = 256;

/// File descriptors that become free when it is dropped: as many as there are, up to [`RESERVED`].
#[derive(Debug)]
pub(crate) struct Reserve(#[expect(dead_code, reason = "held open")] Vec<OwnedFd>);

impl Reserve {
    /// Takes them.
    pub(crate) fn take() -> Self {
        let mut files = Vec::new();
        if let Ok(null) = File::open("/dev/null") {
            let copies = (1..RESERVED).map_while(|_| null.as_fd().try_clone_to_owned().ok());
            files.extend(copies);
            files.push(null.into());
        }
        Self(files)
    }
}
