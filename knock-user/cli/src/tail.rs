//! `knockd tail`: prints the daemon's notices as they occur.

use std::io::{self, BufRead as _, Write as _};

use anyhow::{Result, bail};
use knockd_runtime::log::legible;
use knockd_types::event::Notice;

use crate::{args::ViewArgs, control};

/// Prints the daemon's notices until it stops.
///
/// # Errors
///
/// Returns an error if no daemon listens at the socket, if it stops, or if standard output cannot
/// be written.
pub(crate) fn tail(watch: &ViewArgs) -> Result<()> {
    let mut out = io::stdout().lock();
    for line in control::send(&watch.daemon.socket(), "tail")?.lines() {
        let line = line?;
        if watch.json {
            writeln!(out, "{}", legible(&line))?;
        } else {
            let notice: Notice = serde_json::from_str(&line)?;
            writeln!(out, "{}", legible(&notice.to_string()))?;
        }
        out.flush()?;
    }
    bail!("knockd has stopped")
}
