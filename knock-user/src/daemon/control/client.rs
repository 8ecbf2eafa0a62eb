//! The people's end of the control socket: `knockd status` and `knockd tail`.

use std::{
    fmt::Write as _,
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use knock_common::counters::Outcome;

use super::Status;
use crate::daemon::report::Notice;

/// Prints the daemon's status, for a person or as one line of JSON.
///
/// # Errors
///
/// No daemon answers at `socket`, or standard output is gone.
pub fn status(socket: &Path, json: bool) -> Result<()> {
    let mut lines = ask(socket, "status")?;
    let mut answer = String::new();
    lines.read_line(&mut answer)?;
    if answer.is_empty() {
        bail!("knockd stopped before it answered");
    }
    let mut out = io::stdout().lock();
    if json {
        out.write_all(answer.as_bytes())?;
    } else {
        out.write_all(render(&serde_json::from_str(&answer)?).as_bytes())?;
    }
    out.flush()?;
    Ok(())
}

/// Prints the daemon's notices as they come, until it stops.
///
/// # Errors
///
/// No daemon answers at `socket`, or standard output is gone.
pub fn tail(socket: &Path, json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    for line in ask(socket, "tail")?.lines() {
        let line = line?;
        if json {
            writeln!(out, "{line}")?;
        } else {
            writeln!(out, "{}", serde_json::from_str::<Notice>(&line)?)?;
        }
        out.flush()?;
    }
    bail!("knockd has stopped")
}

fn ask(socket: &Path, request: &str) -> Result<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(socket).with_context(|| {
        format!(
            "no running knockd answers at {} (is it running, is that its `control_socket`, and are you root?)",
            socket.display()
        )
    })?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    Ok(BufReader::new(stream))
}

fn render(status: &Status) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, status);
    text
}

fn write(text: &mut String, status: &Status) -> std::fmt::Result {
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime_seconds));
    writeln!(text, "knockd {}, up {uptime}", status.version)?;
    writeln!(text, "listening on {}", status.listening)?;
    for attachment in &status.attachments {
        writeln!(
            text,
            "  {} in {} XDP mode",
            attachment.interface,
            format!("{:?}", attachment.mode).to_lowercase()
        )?;
    }
    let last = u32::from(status.window_base) + 255;
    writeln!(text, "window {} to {last}", status.window_base)?;
    writeln!(
        text,
        "{} sources with a knock in progress",
        status.sources_in_progress
    )?;
    writeln!(text, "{} following", status.tails)?;
    writeln!(text, "\ndoors open: {}", status.doors.len())?;
    for door in &status.doors {
        writeln!(
            text,
            "  {} to {} (client {}): {}, {} s left",
            door.door, door.source, door.client, door.state, door.seconds_left
        )?;
    }
    if !status.kernel.is_empty() {
        let seen: u64 = status.kernel.values().sum();
        writeln!(text, "\nkernel")?;
        writeln!(text, "{seen:>12}  packets seen")?;
        for outcome in Outcome::ALL {
            let count = status
                .kernel
                .get(outcome.name())
                .copied()
                .unwrap_or_default();
            writeln!(text, "{count:>12}  {}", outcome.what())?;
        }
    }
    writeln!(text, "\ndaemon")?;
    for (_, count, what) in status.daemon.each() {
        writeln!(text, "{count:>12}  {what}")?;
    }
    Ok(())
}
