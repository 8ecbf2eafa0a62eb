//! `knockd leases`: shows the open doors.

use anyhow::{Result, bail};
use knockd_runtime::log::legible;
use knockd_types::{control::CommandReply, status::DoorStatus};

use crate::{args::ViewArgs, control};

/// Prints the open doors as text or as one line of JSON.
///
/// # Errors
///
/// Returns an error if no daemon replies, if it refuses the request, or if standard output cannot
/// be written.
pub(crate) fn leases(watch: &ViewArgs) -> Result<()> {
    let reply = control::query(&watch.daemon.socket(), "leases")?;
    if let Ok(CommandReply::Error(error)) = serde_json::from_str(&reply) {
        bail!("{}", legible(&error));
    }
    control::print(&reply, watch.json, |reply| {
        let doors: Vec<DoorStatus> = serde_json::from_str(reply)?;
        Ok(if doors.is_empty() {
            "no door is open\n".to_owned()
        } else {
            doors.iter().map(|door| format!("{door}\n")).collect()
        })
    })
}
