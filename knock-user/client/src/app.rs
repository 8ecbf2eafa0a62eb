//! Runs what the command line requests.

use anyhow::Result;

use crate::{
    cli::{Cli, Command},
    console::Console,
    doctor, knocking, page,
    profile::{Profiles, ProfilesError},
    setup,
};

/// Runs what the command line requests, and prints the result to `console`. Returns the exit
/// status: 0, with `--hold` that of the command, or 1 if `doctor` has found a problem.
///
/// # Errors
///
/// Returns an error if the command line and the profiles do not define a knock, the knock cannot
/// be sent, the verified port does not answer, or the result cannot be written.
pub fn run(cli: &Cli, console: &mut Console<'_>) -> Result<u8> {
    match &cli.command {
        Some(Command::Doctor(args)) => return doctor::run(args, console),
        Some(Command::Page {
            profile,
            doors,
            output,
        }) => {
            let output = output.as_deref();
            return page::run(profile.as_ref(), doors, output, console).map(|()| 0);
        }
        Some(Command::SetUp(command)) => return setup::run(command, console).map(|()| 0),
        None => {}
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
