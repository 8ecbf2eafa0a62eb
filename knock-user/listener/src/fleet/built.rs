//! Whether this program can be a node of a fleet.

use anyhow::Result;

/// Proof that this program can be a node of a fleet.
#[cfg(feature = "fleet")]
#[derive(Debug)]
pub(crate) struct Built(());

/// Proof that this program can be a node of a fleet: without the feature there is none.
#[cfg(not(feature = "fleet"))]
#[derive(Debug)]
pub(crate) enum Built {}

impl Built {
    /// # Errors
    ///
    /// Returns an error if this program was built without the feature `fleet`.
    #[cfg(feature = "fleet")]
    #[expect(
        clippy::unnecessary_wraps,
        reason = "without the feature it returns an error"
    )]
    pub(crate) fn with_fleet() -> Result<Self> {
        Ok(Self(()))
    }

    /// # Errors
    ///
    /// Returns an error: this program was built without the feature `fleet`.
    #[cfg(not(feature = "fleet"))]
    pub(crate) fn with_fleet() -> Result<Self> {
        anyhow::bail!("this knockd was built without the feature `fleet`")
    }
}
