//! Writes log entries to the systemd journal with its native protocol
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL>).

use std::{
    fmt,
    fmt::Write as _,
    io::{self, ErrorKind},
    os::unix::net::UnixDatagram,
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::Value;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::log::{entry::Entry, escape::one_line};

const SOCKET: &str = "/run/systemd/journal/socket";

/// The journal's socket. Sending never blocks the daemon. If the journal does not keep up, entries
/// are dropped and their number is logged later.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    lost: AtomicU64,
}

impl Journal {
    /// # Errors
    ///
    /// Returns an error if the journal's socket does not exist or is not writable.
    pub(super) fn connect() -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect(SOCKET)?;
        Ok(Self {
            socket,
            lost: AtomicU64::new(0),
        })
    }

    fn send(&self, entry: &[u8]) -> io::Result<()> {
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            let message =
                format!("{lost} log entries lost: the journal was too slow or unavailable");
            let notice = datagram(Level::WARN, &message, &[]);
            self.send_once(notice.as_bytes())?;
            self.lost.store(0, Ordering::Relaxed);
        }
        self.send_once(entry)
    }

    /// Sends to the journal, and connects again if its socket is another one by now. A process in a
    /// sandbox cannot do that, and its entries are lost until it is restarted. It can reach no other
    /// socket either.
    fn send_once(&self, entry: &[u8]) -> io::Result<()> {
        let sent = self.socket.send(entry);
        let is_gone = |error: &io::Error| {
            // The kernel disconnects a socket when it reports that its peer is gone.
            let gone = [ErrorKind::ConnectionRefused, ErrorKind::NotConnected];
            gone.contains(&error.kind())
        };
        if sent.as_ref().is_err_and(is_gone) {
            self.socket.connect(SOCKET)?;
            self.socket.send(entry)?;
        } else {
            sent?;
        }
        Ok(())
    }
}

impl io::Write for &Journal {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        if self.send(entry).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Formats an entry as a datagram for the journal.
#[derive(Debug)]
pub(super) struct Entries;

impl<S, N> FormatEvent<S, N> for Entries
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Entry { message, fields } = Entry::of(event);
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_str(), value))
            .collect();
        writer.write_str(&datagram(*event.metadata().level(), &message, &fields))
    }
}

/// One `NAME=value` per line. This form requires values without line feeds.
fn datagram(level: Level, message: &str, fields: &[(&str, &Value)]) -> String {
    let mut datagram = format!(
        "PRIORITY={}\nSYSLOG_IDENTIFIER=knockd\nMESSAGE={}\n",
        priority(level),
        one_line(message)
    );
    for (name, value) in fields {
        let name: String = name
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .collect();
        let value = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        // Writing to a string cannot fail.
        let _ = writeln!(datagram, "KNOCKD_{name}={}", one_line(&value));
    }
    datagram
}

/// The priority of `level` in syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}
