//! Sealed knocks as a person makes them: the program itself, against the loopback interface.
//! None of this needs privileges, and none of it touches the user's own configuration.

#![expect(
    clippy::unwrap_used,
    reason = "clippy allows it only inside of test functions"
)]

mod door;
mod dry_run;
#[cfg(unix)]
mod profiles;
mod program;
mod secrets;
#[cfg(unix)]
mod ssh;
mod verify;
