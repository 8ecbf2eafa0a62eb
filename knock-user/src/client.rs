//! The client: turns a request for a door into a [`Knock`], and sends the knock as SYNs to a
//! [`Server`].
//!
//! [`cli`] parses the command line and [`profile`] the stored profiles. [`sealed`] makes a fresh
//! knock for each send, bound to a source address by [`source_ip`], and [`mod@knock`] enciphers
//! it. [`server`] resolves the addresses, [`source`] chooses the source ports, [`pace`] defines
//! the delay and the number of copies, and [`mod@send`] sends through a [`stack`].
//! [`mod@verify`] repeats this until the door's port answers, and [`console`] prints the results.
//! No privileges are needed.

use anyhow::Result;

pub mod cli;
pub mod console;
pub mod knock;
mod knocking;
pub mod name;
pub mod pace;
mod plan;
pub mod profile;
pub mod redaction;
pub mod sealed;
mod secret;
pub mod send;
pub mod server;
mod setup;
pub mod source;
pub mod source_ip;
pub mod stack;
pub mod verify;

pub use self::{
    cli::{Cli, KnockArgs},
    console::Console,
    knock::Knock,
    name::Name,
    pace::{Copies, Delay, Pace},
    redaction::redacted,
    sealed::{Moment, SealedKnocks},
    send::{Sent, send},
    server::{Address, Families, Server},
    source::SourcePorts,
    source_ip::SourceIp,
    stack::{Stack, SystemStack},
    verify::{TcpPort, verify},
};

use self::profile::{Profiles, ProfilesError};

/// Runs what the command line requests, and prints the result to `console`.
///
/// # Errors
///
/// Returns an error if the command line and the profiles do not define a knock, the knock cannot
/// be sent, the verified port does not answer, or the result cannot be written.
pub fn run(cli: &Cli, console: &mut Console<'_>) -> Result<()> {
    if let Some(command) = &cli.command {
        return setup::run(command, console);
    }
    let Some(args) = &cli.knock else {
        anyhow::bail!("a server or a command is required");
    };
    let profiles = match Profiles::of_user() {
        // A server can also be given by its address, so a profile is not required.
        Err(ProfilesError::NoHome) => Profiles::none(),
        profiles => profiles?,
    };
    knocking::run(args, &profiles, console)
}
