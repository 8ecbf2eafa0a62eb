//! The people's end of the control socket: `knockd status`, `tail`, `leases`, `open`, `close`, `reload`.
//!
//! At the other end is the process that faces the network. Should somebody have taken that over,
//! then nothing that it says gets at the terminal.

use std::{
    fmt::{self, Write as _},
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use knock_common::counters::Outcome;

use knockd_runtime::log::legible;
use knockd_types::event::Notice;
use knockd_types::{
    control::{CloseRequest, CommandReply, OpenRequest},
    status::{DoorStatus, GateStatus, Status},
};

/// Prints the daemon's status, for a person or as one line of JSON.
///
/// # Errors
///
/// No daemon answers at `socket`, or standard output is gone.
pub(crate) fn status(socket: &Path, json: bool) -> Result<()> {
    print(&ask_once(socket, "status")?, json, |answer| {
        Ok(render(&serde_json::from_str(answer)?))
    })
}

/// Prints the doors that are open, for a person or as one line of JSON.
///
/// # Errors
///
/// No daemon answers at `socket`, it refuses, or standard output is gone.
pub(crate) fn leases(socket: &Path, json: bool) -> Result<()> {
    let answer = ask_once(socket, "leases")?;
    if let Ok(CommandReply::Error(error)) = serde_json::from_str(&answer) {
        bail!("{}", legible(&error));
    }
    print(&answer, json, |answer| {
        let doors: Vec<DoorStatus> = serde_json::from_str(answer)?;
        Ok(if doors.is_empty() {
            "no door is open\n".to_owned()
        } else {
            doors.iter().map(|door| format!("{door}\n")).collect()
        })
    })
}

/// Opens a door by hand.
///
/// # Errors
///
/// No daemon answers at `socket`, or it refuses.
pub(crate) fn open(socket: &Path, request: &OpenRequest) -> Result<()> {
    let OpenRequest {
        source,
        door,
        seconds,
    } = request;
    let seconds = seconds.map(|seconds| format!("\t{seconds}"));
    let seconds = seconds.unwrap_or_default();
    moved(socket, &format!("open\t{source}\t{door}{seconds}"))?;
    println!("opening {door} to {source}; `knockd leases` shows it");
    Ok(())
}

/// Closes doors by hand.
///
/// # Errors
///
/// No daemon answers at `socket`, it refuses, or no such door is open.
pub(crate) fn close(socket: &Path, request: &CloseRequest) -> Result<()> {
    let source = request.source;
    let door = request.door.as_ref().map(|door| format!("\t{door}"));
    let doors = moved(
        socket,
        &format!("close\t{source}{}", door.unwrap_or_default()),
    )?;
    if doors.is_empty() {
        bail!("no such door is open to {source}: `knockd leases` shows those that are");
    }
    println!("closing {} to {source}", doors.join(", "));
    Ok(())
}

/// Has the daemon read its configuration again.
///
/// # Errors
///
/// No daemon answers at `socket`, or the configuration is wrong; then nothing has changed.
pub(crate) fn reload(socket: &Path) -> Result<()> {
    moved(socket, "reload").map(drop)
}

/// Whether a daemon answers at `socket`.
#[must_use]
pub(crate) fn is_running(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

fn moved(socket: &Path, request: &str) -> Result<Vec<String>> {
    match serde_json::from_str(&ask_once(socket, request)?)? {
        CommandReply::Doors(doors) => Ok(doors.iter().map(|door| legible(door)).collect()),
        CommandReply::Error(error) => bail!("{}", legible(&error)),
    }
}

fn ask_once(socket: &Path, request: &str) -> Result<String> {
    let mut answer = String::new();
    ask(socket, request)?.read_line(&mut answer)?;
    if answer.is_empty() {
        bail!("knockd stopped before it answered");
    }
    Ok(answer)
}

fn print(answer: &str, json: bool, render: impl Fn(&str) -> Result<String>) -> Result<()> {
    let text = if json {
        answer.to_owned()
    } else {
        render(answer)?
    };
    let mut out = io::stdout().lock();
    out.write_all(legible(&text).as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints the daemon's notices as they come, until it stops.
///
/// # Errors
///
/// No daemon answers at `socket`, or standard output is gone.
pub(crate) fn tail(socket: &Path, json: bool) -> Result<()> {
    let mut out = io::stdout().lock();
    for line in ask(socket, "tail")?.lines() {
        let line = line?;
        if json {
            writeln!(out, "{}", legible(&line))?;
        } else {
            let notice: Notice = serde_json::from_str(&line)?;
            writeln!(out, "{}", legible(&notice.to_string()))?;
        }
        out.flush()?;
    }
    bail!("knockd has stopped")
}

fn ask(socket: &Path, request: &str) -> Result<BufReader<UnixStream>> {
    let mut stream = UnixStream::connect(socket).with_context(|| unanswered(socket))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    Ok(BufReader::new(stream))
}

/// What is said when nobody answers at `socket`.
pub(crate) fn unanswered(socket: &Path) -> String {
    format!(
        "no running knockd answers at {} (is it running, is that its `control_socket`, and are you root?)",
        socket.display()
    )
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
    for attachment in &status.attachments {
        writeln!(
            text,
            "  {} in {} XDP mode",
            attachment.interface,
            format!("{:?}", attachment.mode).to_lowercase()
        )?;
    }
    for interface in &status.awaited {
        writeln!(text, "  waiting for {interface}")?;
    }
    for refusal in &status.refused {
        writeln!(text, "  not on {}: {}", refusal.interface, refusal.reason)?;
    }
    let last = u32::from(status.window_base) + 255;
    writeln!(text, "window {} to {last}", status.window_base)?;
    writeln!(
        text,
        "{} sources with a knock in progress",
        status.sources_in_progress
    )?;
    writeln!(text, "{} following", status.tails)?;
    if let Some(gate) = &status.gate {
        write_gate(text, gate)?;
    }
    writeln!(text, "\ndoors open: {}", status.doors.len())?;
    for door in &status.doors {
        writeln!(text, "  {door}")?;
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

fn write_gate(text: &mut String, gate: &GateStatus) -> fmt::Result {
    let verb = match gate.mode.as_str() {
        "observe" => "would protect (it only observes)",
        _ => "protects",
    };
    writeln!(text, "the gate {verb} {}", gate.protect.join(", "))?;
    if !gate.trusted.is_empty() {
        writeln!(text, "  trusted: {}", gate.trusted.join(", "))?;
    }
    writeln!(text, "  leases: {}", gate.leases)?;
    if !gate.outlives_daemon {
        writeln!(text, "  it ends with the daemon, since it cannot be pinned")?;
    }
    Ok(())
}
