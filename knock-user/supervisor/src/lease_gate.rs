//! The interface of the ledger to the gate.

use std::time::Duration;

use anyhow::Result;
use knock_common::gate::LeaseKey;
use knockd_xdp::leases::OpenError;

/// Kernel leases that admit sources to ports.
pub(crate) trait LeaseGate {
    /// Whether there is a gate. Without one the other functions have no effect.
    fn exists(&self) -> bool;

    /// Admits the sources of `keys` for at least `time`.
    ///
    /// # Errors
    ///
    /// Returns an error if there is no room for the leases, or if the kernel fails.
    fn grant(&mut self, keys: &[LeaseKey], time: Duration) -> Result<(), OpenError>;

    /// Shortens the lease of `key` to `left`, unless it ends earlier; `None` revokes it. A lease that
    /// datagrams keep in use stays in use after `left`.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel fails. The lease then expires as granted.
    fn shorten(&mut self, key: LeaseKey, left: Option<Duration>) -> Result<()>;

    /// The time for which recent datagrams keep one of the leases in use; `None` if none is in use.
    /// A lease of a TCP port never is.
    fn in_use(&self, keys: &[LeaseKey]) -> Option<Duration>;
}
