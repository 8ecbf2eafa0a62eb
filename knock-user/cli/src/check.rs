//! `knockd check`: validates the configuration and warns about probable mistakes.

mod blocked;
pub(crate) mod clients;
mod clock;
mod redirects;
mod ruleset;
pub(crate) mod session;

use std::path::Path;

use anyhow::Result;
use knockd_config::{Door, template::Template};
use knockd_runtime::{account, clock::unix_ms, log::legible};
use knockd_supervisor::exec;
use knockd_types::status::{Status, Traffic};
use knockd_xdp::advice::advice;
use tracing::warn;

use crate::{args::ConfigArg, control, output};

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
    let ruleset = ruleset::read();
    let warnings = redirects::warnings(&config, &ruleset)
        .into_iter()
        .chain(blocked::warnings(&config, &ruleset))
        .chain(clock::warning(&config))
        .chain(clients::warnings(&config, unix_ms()));
    for warning in warnings {
        warn!("{warning}");
    }
    match advice(&config.interfaces) {
        Ok(warnings) => warnings.iter().for_each(|warning| warn!("{warning}")),
        Err(error) => warn!("{error:#}"),
    }
    warn_about_running(&config.control_socket);
    output::print(&format!(
        "{}: valid. Window {} to {}, clients: {}, doors: {}",
        path.display(),
        config.window.base(),
        config.window.port(u8::MAX),
        names(config.clients.iter().map(|client| &client.name)),
        names(config.doors.iter().map(|door| &door.name)),
    ))
}

/// Warns about the interfaces of the daemon at `socket` whose packets it does not see. A daemon that
/// does not run or does not answer is ignored.
fn warn_about_running(socket: &Path) {
    let Ok(reply) = control::query(socket, "status") else {
        return;
    };
    let Ok(status) = serde_json::from_str::<Status>(&reply) else {
        return;
    };
    for attachment in status.attachments {
        if attachment.traffic == Traffic::Missed {
            warn!(
                "{}: the program of the running daemon does not see its packets, which pass unchecked",
                legible(&attachment.interface)
            );
        }
    }
    for refusal in status.refused {
        warn!("the running daemon: {}", legible(&refusal.reason));
    }
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
