//! `knockd fleet leases`: the doors that knocks have opened, on all nodes.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use knockd_runtime::log::legible;
use knockd_types::{control::CommandReply, status::FleetLease};

use crate::{args::ViewArgs, control};

/// Prints the doors as text or as one line of JSON.
///
/// # Errors
///
/// Returns an error if no daemon replies, if it refuses the request, or if standard output cannot be
/// written.
pub(crate) fn leases(view: &ViewArgs) -> Result<()> {
    let reply = control::query(&view.daemon.socket(), "fleet-leases")?;
    if let Ok(CommandReply::Error(error)) = serde_json::from_str(&reply) {
        bail!("{}", legible(&error));
    }
    control::print(&reply, view.json, |reply| {
        let leases: Vec<FleetLease> = serde_json::from_str(reply)?;
        if leases.is_empty() {
            return Ok("no knock has opened a door that is still open\n".to_owned());
        }
        let mut text = String::new();
        for lease in &leases {
            let place = if lease.everywhere {
                format!("everywhere, knocked at {}", lease.node)
            } else {
                format!("on {} alone", lease.node)
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{} to {} (client {}): {place}, {} s left",
                lease.door, lease.source, lease.client, lease.seconds_left
            );
        }
        Ok(text)
    })
}
