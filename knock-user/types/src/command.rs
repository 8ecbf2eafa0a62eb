//! A command that is ready to run.

use crate::account::Account;

/// A command with its arguments and environment. The environment does not include `PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program. Without a slash it is looked up in a fixed `PATH`.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// `KNOCK_IP`, `KNOCK_DOOR`, `KNOCK_CLIENT` and `KNOCK_FOR`.
    pub environment: Vec<(&'static str, String)>,
    /// The user and group that it runs as. `None`: those of knockd.
    pub account: Option<Account>,
}
