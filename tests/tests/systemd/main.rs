//! The daemon as a service: what it tells systemd, and the unit that it is started by.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails where it stands"
)]

use std::path::{Path, PathBuf};

mod boot;
mod notify;
mod unit;

/// The place of `path` in this project.
fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
