//! The client side of the control socket, for the commands that reach the running daemon.
//!
//! The listener serves this socket. It may be compromised, so its replies are escaped before they
//! reach the terminal.

use std::{
    io::{self, BufRead as _, BufReader, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use knockd_config::MAX_SOCKET_PATH;
use knockd_runtime::log::legible;
use knockd_types::control::CommandReply;

/// Sends `request` to the daemon at `socket`. The reply is one or more lines.
///
/// # Errors
///
/// Returns an error if no daemon listens at `socket`.
pub(crate) fn send(socket: &Path, request: &str) -> Result<BufReader<UnixStream>> {
    if socket.as_os_str().len() > MAX_SOCKET_PATH {
        bail!(
            "{}: the path of a socket has at most {MAX_SOCKET_PATH} bytes",
            socket.display()
        );
    }
    let mut stream = UnixStream::connect(socket).with_context(|| unanswered(socket))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    Ok(BufReader::new(stream))
}

/// Sends `request` and returns the reply, which is one line.
///
/// # Errors
///
/// Returns an error if no daemon listens at `socket`, or it stops before it replies.
pub(crate) fn query(socket: &Path, request: &str) -> Result<String> {
    let mut reply = String::new();
    send(socket, request)?.read_line(&mut reply)?;
    if reply.is_empty() {
        bail!("knockd stopped before it answered");
    }
    Ok(reply)
}

/// Sends a `request` that changes something, and returns the names of the affected doors, escaped
/// for the terminal.
///
/// # Errors
///
/// Returns an error if no daemon replies at `socket`, or if it refuses the request.
pub(crate) fn command(socket: &Path, request: &str) -> Result<Vec<String>> {
    match serde_json::from_str(&query(socket, request)?)? {
        CommandReply::Doors(doors) => Ok(doors.iter().map(|door| legible(door)).collect()),
        CommandReply::Error(error) => bail!("{}", legible(&error)),
    }
}

/// Prints `reply` as it is with `json`, otherwise the text that `render` makes of it.
///
/// # Errors
///
/// Returns an error if `render` does, or if standard output cannot be written.
pub(crate) fn print(
    reply: &str,
    json: bool,
    render: impl Fn(&str) -> Result<String>,
) -> Result<()> {
    let text = if json {
        reply.to_owned()
    } else {
        render(reply)?
    };
    let mut out = io::stdout().lock();
    out.write_all(legible(&text).as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Whether a daemon listens at `socket`.
#[must_use]
pub(crate) fn is_running(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// The message if no daemon listens at `socket`.
pub(crate) fn unanswered(socket: &Path) -> String {
    format!(
        "no running knockd answers at {} (is it running, is that its `control_socket`, and are you root?)",
        socket.display()
    )
}
