//! The async runtime of the commands that need one.

use anyhow::Result;
use tokio::runtime::{Builder, Runtime};

/// A runtime with one thread. That is enough: everything that takes time runs in another process
/// or in the kernel.
///
/// # Errors
///
/// Returns an error if the runtime cannot be created.
pub(crate) fn new() -> Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}
