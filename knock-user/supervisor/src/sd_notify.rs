//! What systemd is told, where it has started this process: the protocol of sd_notify(3).
//!
//! Of our own, since libraries for it wait for systemd where its queue is full, and the loop
//! must not: such a message is left out.

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

use tracing::{debug, warn};

use knockd_runtime::clock::monotonic;

/// The service manager, or nobody.
#[derive(Debug, Default)]
pub struct ServiceManager {
    listener: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Watchdog>,
}

/// A watchdog that ends a service from which it does not hear.
#[derive(Debug)]
struct Watchdog {
    interval: Duration,
    next: Duration,
}

impl ServiceManager {
    /// The one that has started this process, as it says in the environment (`NOTIFY_SOCKET`,
    /// `WATCHDOG_USEC`, `WATCHDOG_PID`).
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
                    "systemd cannot be told anything at {}: {error}",
                    path.display()
                );
                Self::default()
            }
        }
    }

    /// Tells that everything is in force, `listening` on this.
    pub fn ready(&self, listening: &str) {
        self.tell(&format!("READY=1\n{}", status(listening)));
    }

    /// Tells what it listens on now.
    pub fn listening(&self, listening: &str) {
        self.tell(&status(listening));
    }

    /// Tells that another configuration is read, which [`ready`](Self::ready) ends.
    pub fn reloading(&self) {
        let now = monotonic().as_micros();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// Tells that the end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=closing every open door");
    }

    /// When the watchdog has to hear from the loop, on the clock of [`monotonic`]; `None`
    /// where there is none.
    #[must_use]
    pub fn watchdog_deadline(&self) -> Option<Duration> {
        self.watchdog.as_ref().map(|watchdog| watchdog.next)
    }

    /// Tells the watchdog that the loop goes round.
    pub fn feed_watchdog(&mut self) {
        let Some(watchdog) = &mut self.watchdog else {
            return;
        };
        watchdog.next = monotonic() + watchdog.interval;
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, message: &str) {
        let Some((socket, address)) = &self.listener else {
            return;
        };
        if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
            debug!("systemd does not hear {message:?}: {error}");
        }
    }
}

fn status(listening: &str) -> String {
    // A line of its own would be another message.
    format!("STATUS=listening on {}", listening.replace('\n', " "))
}

/// The address that `NOTIFY_SOCKET` has as `path`; in the abstract namespace if it begins with @.
fn address(path: &OsStr) -> io::Result<SocketAddr> {
    match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(path),
        _ => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// How often the watchdog is fed: at half of its time, as sd_watchdog_enabled(3) advises. Only if
/// it is this process that it watches.
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
    fn a_message_that_cannot_be_taken_keeps_nobody_waiting() {
        let name = format!("knockd-test-{}", process::id());
        let address = address(OsStr::new(&format!("@{name}"))).unwrap();
        let full = UnixDatagram::bind_addr(&address).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        socket.set_nonblocking(true).unwrap();
        let manager = ServiceManager {
            listener: Some((socket, address)),
            watchdog: None,
        };
        // More than any queue of a datagram socket holds by default.
        for _ in 0..4096 {
            manager.listening("srv0");
        }
        let mut bytes = [0; 64];
        let len = full.recv(&mut bytes).unwrap();
        assert_eq!(&bytes[..len], b"STATUS=listening on srv0");
    }

    #[test]
    fn what_it_listens_on_is_one_line() {
        assert_eq!(
            status("lines from a\nREADY=1"),
            "STATUS=listening on lines from a READY=1"
        );
    }
}
