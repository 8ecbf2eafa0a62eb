//! `knockd check`: validates the configuration and warns about probable mistakes.

pub(crate) mod session;

use anyhow::Result;
use knockd_config::{Door, template::Template};
use knockd_runtime::account;
use knockd_supervisor::exec;
use tracing::warn;

use crate::args::ConfigArg;

/// Validates the configuration, logs warnings, and prints a summary.
///
/// # Errors
///
/// Returns an error if the configuration, or a file that it names, cannot be read or is invalid.
pub(crate) fn check(config: &ConfigArg) -> Result<()> {
    let path = &config.path;
    let config = config.load()?;
    config.doors.iter().for_each(warn_about_programs);
    if let Some(warning) = account::warning(config.user.as_ref()) {
        warn!("{warning}");
    }
    for port in config.unreachable_ports() {
        warn!("{port}: the gate admits no address: no door opens it and no network is trusted");
    }
    if let Some(warning) = session::warning(&config) {
        warn!("{warning}");
    }
    println!(
        "{}: valid. Window {} to {}, clients: {}, doors: {}",
        path.display(),
        config.window.base(),
        config.window.port(u8::MAX),
        names(config.clients.iter().map(|client| &client.name)),
        names(config.doors.iter().map(|door| &door.name)),
    );
    Ok(())
}

/// Warns if a command of `door` does not exist. It may be installed later, so this is no error.
fn warn_about_programs(door: &Door) {
    for (key, command) in [("run", door.run.as_ref()), ("close", door.close.as_ref())] {
        if let Some(program) = command.and_then(Template::program)
            && !exec::is_there(program)
        {
            warn!(
                "door {:?}: {key}: the program {program:?} does not exist",
                door.name
            );
        }
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}
