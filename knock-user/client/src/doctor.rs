//! `knock doctor`: looks at everything that a knock needs on this side, and says in plain words what
//! is wrong.
//!
//! A knock is never answered, so nothing here can show that a server works. What is only silent is
//! `ok`, with the reason why silence says little.

use anyhow::Result;

use self::{report::Report, subject::Subject};
use crate::{
    cli::DoctorArgs,
    console::Console,
    profile::{Profiles, ProfilesError},
    server::Address,
};

mod clock;
mod contact;
mod credentials;
mod door;
mod lookup;
mod ports;
mod report;
mod route;
mod subject;
#[cfg(test)]
mod tests;

/// Looks at what `args` name, and prints what it finds. Returns the exit status: 1 if there is a
/// problem.
///
/// # Errors
///
/// Returns an error if the result cannot be printed.
pub(super) fn run(args: &DoctorArgs, console: &mut Console<'_>) -> Result<u8> {
    let mut report = Report::new(args.json, console);
    let profiles = match Profiles::of_user() {
        Ok(profiles) => profiles,
        Err(ProfilesError::NoHome) => Profiles::none(),
        Err(error) => {
            // Nothing is known about the server then.
            report.problem("profile", &error.to_string(), "correct that, and try again")?;
            return report.finish();
        }
    };
    examine(args, &profiles, &mut report)?;
    report.finish()
}

fn examine(args: &DoctorArgs, profiles: &Profiles, report: &mut Report<'_, '_>) -> Result<()> {
    let subject = args.server.as_ref().map(|server| {
        let profile = profiles.get(server.as_str());
        Subject::new(args, server, profile)
    });
    match &subject {
        Some(subject) => credentials::examine(subject, profiles, report)?,
        None => credentials::examine_all(profiles, report)?,
    }
    clock::examine(args.time.as_ref(), subject.as_ref(), report)?;
    let Some(subject) = subject else {
        return Ok(());
    };
    let addresses = lookup::examine(&subject, report)?;
    let reachable = reachable(&subject, &addresses, report)?;
    if reachable.is_empty() {
        return Ok(());
    }
    ports::examine(&subject, &reachable, report)?;
    door::examine(args, &subject, &reachable, profiles, report)
}

/// The `addresses` to which there is a route.
fn reachable(
    subject: &Subject,
    addresses: &[Address],
    report: &mut Report<'_, '_>,
) -> Result<Vec<Address>> {
    let mut reachable = Vec::new();
    for address in addresses {
        // A knock goes to each address. One that cannot be reached does not spoil the other.
        let alone = addresses.len() == 1;
        if route::examine(subject, *address, alone, report)? {
            reachable.push(*address);
        }
    }
    if reachable.is_empty() && addresses.len() > 1 {
        report.problem(
            "route",
            "there is no route to any address of the server",
            "connect this host to a network: `ip route` shows the routes",
        )?;
    }
    Ok(reachable)
}
