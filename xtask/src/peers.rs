//! The programs that the benchmarks hold knockd against.

use anyhow::Result;

use crate::workspace::Workspace;

/// Puts the peers into the folder `peers` of the tools.
#[expect(
    clippy::unnecessary_wraps,
    reason = "the peers come with their scenarios"
)]
pub(crate) fn provide(_: &Workspace) -> Result<()> {
    Ok(())
}
