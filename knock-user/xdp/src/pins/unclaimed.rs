//! The errors of claiming pins.

use std::io;

use thiserror::Error;

/// Why pins cannot be claimed.
#[derive(Debug, Error)]
pub enum Unclaimed {
    /// A knockd runs that has claimed them.
    #[error(
        "another knockd uses {root} ({owner}): its gate is left alone; set another `gate.pin_dir`"
    )]
    InUse {
        /// The directory.
        root: String,
        /// Who uses it.
        owner: String,
    },
    /// They keep the gate of another knockd in force, which need not run.
    #[error(
        "the pins in {root} are those of another knockd ({owner}): its gate is left alone and stays in force; set another `gate.pin_dir`, or, if that knockd is gone for good, remove its gate with `knockd detach --take-over`"
    )]
    Foreign {
        /// The directory.
        root: String,
        /// Whose they are.
        owner: String,
    },
    /// The directory cannot be locked.
    #[error("{root} cannot be locked: {error}")]
    Unlockable {
        /// The directory.
        root: String,
        /// The cause.
        #[source]
        error: io::Error,
    },
}
