//! From a command line to its result.

use anyhow::Result;

use crate::{
    cli::Cli,
    console::Console,
    knocking,
    profile::{Profiles, ProfilesError},
    setup,
};

/// Does what the command line asks for, and tells `console` the result.
///
/// # Errors
///
/// If the command line and the profiles do not make a knock, it cannot be sent, the port to
/// be verified does not answer, or the result cannot be written.
pub fn run(cli: &Cli, console: &mut Console<'_>) -> Result<()> {
    if let Some(command) = &cli.command {
        return setup::run(command, console);
    }
    let Some(args) = &cli.knock else {
        anyhow::bail!("neither a server nor a command is named");
    };
    let profiles = match Profiles::of_user() {
        // A server's address needs no profile.
        Err(ProfilesError::NoHome) => Profiles::none(),
        profiles => profiles?,
    };
    knocking::run(args, &profiles, console)
}
