//! `knockd status`: shows the state of the daemon.

use std::{
    fmt::{self, Write as _},
    time::Duration,
};

use anyhow::Result;
use knock_common::counters::Outcome;
use knockd_types::status::{GateStatus, Status, Traffic};

use crate::{args::ViewArgs, control, fleet};

/// Prints the daemon's status as text or as one line of JSON.
///
/// # Errors
///
/// Returns an error if no daemon replies, or if standard output cannot be written.
pub(crate) fn status(watch: &ViewArgs) -> Result<()> {
    let reply = control::query(&watch.daemon.socket(), "status")?;
    control::print(&reply, watch.json, |reply| {
        Ok(render(&serde_json::from_str(reply)?))
    })
}

fn render(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, status);
    text
}

fn write(text: &mut String, status: &Status) -> fmt::Result {
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime_seconds));
    writeln!(text, "knockd {}, up {uptime}", status.version)?;
    writeln!(text, "listening on {}", status.listening)?;
    write_interfaces(text, status)?;
    let last = u32::from(status.window_base) + 255;
    writeln!(text, "window {} to {last}", status.window_base)?;
    writeln!(
        text,
        "sources with an incomplete sequence: {}",
        status.sources_in_progress
    )?;
    writeln!(text, "tail subscribers: {}", status.tails)?;
    if !status.landlock {
        text.push_str(
            "Landlock is not available: the listener is confined by less (see the log)\n",
        );
    }
    if let Some(fleet) = &status.fleet {
        writeln!(text, "{}", fleet::status::summary(fleet))?;
    }
    if let Some(gate) = &status.gate {
        write_gate(text, gate)?;
    }
    writeln!(text, "\ndoors open: {}", status.doors.len())?;
    for door in &status.doors {
        writeln!(text, "  {door}")?;
    }
    if !status.kernel.is_empty() {
        write_kernel_counters(text, status)?;
    }
    writeln!(text, "\ndaemon")?;
    for (_, count, what) in status.daemon.each() {
        writeln!(text, "{count:>12}  {what}")?;
    }
    Ok(())
}

fn write_interfaces(text: &mut String, status: &Status) -> fmt::Result {
    for attachment in &status.attachments {
        writeln!(
            text,
            "  {} in {}{}",
            attachment.interface,
            attachment.mode.described(),
            match attachment.traffic {
                Traffic::Seen => "",
                Traffic::Awaited => ", no packet seen yet",
                Traffic::Missed => ": THE PROGRAM DOES NOT SEE ITS PACKETS, which pass unchecked",
            }
        )?;
    }
    for interface in &status.awaited {
        writeln!(text, "  waiting for {interface}")?;
    }
    for refusal in &status.refused {
        writeln!(
            text,
            "  not attached to {}: {}",
            refusal.interface, refusal.reason
        )?;
    }
    Ok(())
}

fn write_gate(text: &mut String, gate: &GateStatus) -> fmt::Result {
    let verb = match gate.mode.as_str() {
        "observe" => "would protect (observe mode)",
        _ => "protects",
    };
    writeln!(text, "the gate {verb} {}", gate.protect.join(", "))?;
    if !gate.trusted.is_empty() {
        writeln!(text, "  trusted: {}", gate.trusted.join(", "))?;
    }
    writeln!(text, "  leases: {}", gate.leases)?;
    if !gate.outlives_daemon {
        writeln!(
            text,
            "  it ends with the daemon, because it cannot be pinned"
        )?;
    }
    Ok(())
}

fn write_kernel_counters(text: &mut String, status: &Status) -> fmt::Result {
    let seen: u64 = status.kernel.values().sum();
    writeln!(text, "\nkernel")?;
    writeln!(text, "{seen:>12}  packets seen")?;
    for outcome in Outcome::ALL {
        let count = status.kernel.get(outcome.name()).copied();
        let count = count.unwrap_or_default();
        writeln!(text, "{count:>12}  {}", outcome.what())?;
    }
    Ok(())
}
