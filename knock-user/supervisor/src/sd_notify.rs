//! Notifications to systemd with the protocol of sd_notify(3).
//!
//! Not a library, since the available ones block when the queue of systemd's socket is full. The
//! event loop must not block, so such a message is dropped.

use std::{
    env,
    ffi::{OsStr, OsString},
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    process,
    time::Duration,
};

use knockd_runtime::clock::monotonic;
use tracing::{debug, warn};

/// The connection to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct ServiceManager {
    listener: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Watchdog>,
}

/// systemd's watchdog, which stops a service that does not send keep-alive messages.
#[derive(Debug)]
struct Watchdog {
    interval: Duration,
    next: Duration,
}

impl ServiceManager {
    /// The service manager that started this process, according to the environment variables
    /// `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`.
    #[must_use]
    pub fn from_environment() -> Self {
        let Some(path) = env::var_os("NOTIFY_SOCKET") else {
            return Self::default();
        };
        let listener = address(&path).and_then(|address| {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            Ok((socket, address))
        });
        match listener {
            Ok(listener) => Self {
                listener: Some(listener),
                watchdog: interval(|name| env::var_os(name)).map(|interval| Watchdog {
                    interval,
                    next: monotonic(),
                }),
            },
            Err(error) => {
                warn!(
                    "cannot send notifications to systemd at {}: {error}",
                    path.display()
                );
                Self::default()
            }
        }
    }

    /// Reports that the daemon is ready and `listening` on these interfaces.
    pub fn ready(&self, listening: &str) {
        self.send(&format!("READY=1\n{}", status(listening)));
    }

    /// Reports a change of the interfaces.
    pub fn listening(&self, listening: &str) {
        self.send(&status(listening));
    }

    /// Reports the start of a reload, which [`ready`](Self::ready) completes.
    pub fn reloading(&self) {
        let now = monotonic().as_micros();
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// Reports the start of the shutdown.
    pub fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=closing every open door");
    }

    /// The time of the next keep-alive message, on the clock of [`monotonic`]; `None` without a
    /// watchdog.
    #[must_use]
    pub fn watchdog_deadline(&self) -> Option<Duration> {
        self.watchdog.as_ref().map(|watchdog| watchdog.next)
    }

    /// Sends a keep-alive message to the watchdog.
    pub fn feed_watchdog(&mut self) {
        let Some(watchdog) = &mut self.watchdog else {
            return;
        };
        watchdog.next = monotonic() + watchdog.interval;
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let Some((socket, address)) = &self.listener else {
            return;
        };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            debug!("cannot send {message:?} to systemd: {error}");
        }
    }
}

fn status(listening: &str) -> String {
    // A line feed would start another assignment.
    format!("STATUS=listening on {}", listening.replace('\n', " "))
}

/// The address in `NOTIFY_SOCKET`. A leading `@` means the abstract namespace.
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(path),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// The keep-alive interval: half of the watchdog's timeout, as sd_watchdog_enabled(3) recommends.
/// `None` if the watchdog is for another process.
fn interval(variable: impl Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
    let is_ours = variable("WATCHDOG_PID").is_none()
        || number("WATCHDOG_PID") == Some(u64::from(process::id()));
    let time = number("WATCHDOG_USEC").filter(|time| *time > 0 && is_ours)?;
    Some(Duration::from_micros(time) / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_fed_at_half_of_its_time_by_the_process_that_it_watches() {
        let fed = |time: &str, process: Option<u32>| {
            interval(|name| match name {
                "WATCHDOG_USEC" => Some(time.into()),
                "WATCHDOG_PID" => process.map(|id| id.to_string().into()),
                _ => None,
            })
        };
        let at = Duration::from_secs(15);
        assert_eq!(fed("30000000", None), Some(at));
        assert_eq!(fed("30000000", Some(process::id())), Some(at));
        assert_eq!(fed("30000000", Some(process::id() + 1)), None);
        assert_eq!(fed("0", None), None);
        assert_eq!(fed("soon", None), None);
        assert_eq!(interval(|_| None), None);
    }

    #[test]
    fn a_full_socket_does_not_block() {
        let name = format!("knockd-test-{}", process::id());
        let address = address(OsStr::new(&format!("@{name}"))).unwrap();
        let full = UnixDatagram::bind_addr(&address).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
        let manager = ServiceManager {
            listener: Some((socket, address)),
            watchdog: None,
        };
        // More than the default queue of a datagram socket.
        for _ in 0..4096 {
            manager.listening("srv0");
        }
        let mut bytes = [0; 64];
        let len = full.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], b"STATUS=listening on srv0");
    }

    #[test]
    fn the_status_is_one_line() {
        assert_eq!(
            status("lines from a\nREADY=1"),
            "STATUS=listening on lines from a READY=1"
        );
    }
}
