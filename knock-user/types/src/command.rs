//! A command that is ready to run.

use crate::account::Account;

/// A command that can be run: its argv and its environment but for `PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The program, looked for in a fixed `PATH` unless it has a slash.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// `KNOCK_IP`, `KNOCK_DOOR`, `KNOCK_CLIENT` and `KNOCK_FOR`.
    pub environment: Vec<(&'static str, String)>,
    /// Who it runs as, if not as knockd itself.
    pub account: Option<Account>,
}
