//! Tests of knocks with a key pair, with the program `knock` against the loopback interface. They need no
//! privileges and do not touch the user's configuration.

#![expect(
    clippy::unwrap_used,
    reason = "clippy allows it only inside of test functions"
)]

mod door;
mod dry_run;
#[cfg(unix)]
mod hold;
#[cfg(unix)]
mod profiles;
mod program;
mod secrets;
#[cfg(unix)]
mod ssh;
mod verify;
