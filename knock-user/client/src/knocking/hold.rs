//! Keeps a door open while a command runs.

use std::{io, time::Instant};

use anyhow::Result;
use knock_common::protocol::lease::RequestedLease;

use super::{session::Session, verifying::knock_until};
use crate::{command::Running, plan::Hold};

/// The exit statuses of env(1) and the shells for a command that cannot be run, and for one that
/// does not exist.
const CANNOT_RUN: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Knocks, runs the command, knocks again in time until it has ended, and closes the door. Returns
/// the exit status of the command.
///
/// # Errors
///
/// Returns an error if the first knock cannot be sent or the port to verify does not answer. Then
/// the command has not run.
pub(super) fn hold_open(mut session: Session<'_, '_>, hold: &Hold) -> Result<u8> {
    let lease = session.plan.lease();
    match session.plan.verify {
        None => session.knock(lease)?,
        Some((port, timeout)) => {
            knock_until(&mut session, port, timeout)?;
        }
    }
    let status = match Running::start(&hold.program, &hold.arguments) {
        Ok(running) => keep_open(&mut session, hold, running),
        Err(error) => {
            let program = hold.program.display();
            warn(&mut session, format!("cannot run {program}: {error}"));
            match error.kind() {
                io::ErrorKind::NotFound => Ok(NOT_FOUND),
                _ => Ok(CANNOT_RUN),
            }
        }
    };
    // Whatever has happened to the command.
    if let Err(error) = session.knock(RequestedLease::CLOSE) {
        let message = "the door could not be closed, and stays open until its lease ends";
        warn(&mut session, format!("{message}: {error:#}"));
    }
    Ok(status?)
}

/// Prints a note. If standard error is closed, the door still has to be kept open or closed.
fn warn(session: &mut Session<'_, '_>, line: String) {
    let _ = session.note(line);
}

/// Knocks again after each period until the command has ended.
fn keep_open(session: &mut Session<'_, '_>, hold: &Hold, mut running: Running) -> io::Result<u8> {
    let lease = session.plan.lease();
    loop {
        if let Some(status) = running.wait_until(Instant::now() + hold.period)? {
            return Ok(status);
        }
        session.look_up_again();
        if let Err(error) = session.knock(lease) {
            let message = "could not knock again, which may close the door";
            warn(session, format!("{message}: {error:#}"));
        }
    }
}
