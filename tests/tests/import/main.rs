//! Converts configurations of other daemons and opens doors with them, with the real programs.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod fwknop;
mod knockd;
mod site;
