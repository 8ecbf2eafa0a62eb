//! The daemon as a systemd service: its notifications and its unit.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

mod boot;
mod notify;
mod unit;

/// The path of `path` in this project.
fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
