//! A warning for administrators who could lock themselves out: they configure a gate in an ssh
//! session that the gate would refuse.

use std::{
    env, fs, iter,
    net::IpAddr,
    path::{Path, PathBuf},
};

use knock_common::gate::{Mode, Transport};
use knockd_config::Config;
use knockd_types::rules::Port;

/// Set by sshd (ssh(1), ENVIRONMENT): client address and port, then server address and port.
const VARIABLE: &str = "SSH_CONNECTION";

/// The number of ancestors that are searched. Only a few processes lie between a login and its
/// commands.
const MAX_ANCESTORS: usize = 64;

/// An ssh session on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    /// The client's address.
    peer: IpAddr,
    /// The server's port.
    port: Port,
}

impl Session {
    /// The session that this process runs in, if it can be determined.
    fn current() -> Option<Self> {
        let own = env::var(VARIABLE).ok();
        own.and_then(|connection| Self::parse(&connection))
            .or_else(|| Self::of_ancestors(Path::new("/proc")))
    }

    /// The session in the environment of the nearest ancestor that has one: sudo removes the
    /// variable from its children's environment.
    fn of_ancestors(proc: &Path) -> Option<Self> {
        let parents = iter::successors(parent(&proc.join("self")), |process| parent(process));
        parents.take(MAX_ANCESTORS).find_map(|process| {
            // The environment of another user's process is not readable. At worst the warning
            // is missing.
            let environment = fs::read(process.join("environ")).ok()?;
            Self::in_environment(&environment)
        })
    }

    fn in_environment(environment: &[u8]) -> Option<Self> {
        let value = environment
            .split(|byte| *byte == 0)
            .find_map(|entry| entry.strip_prefix(VARIABLE.as_bytes())?.strip_prefix(b"="))?;
        Self::parse(str::from_utf8(value).ok()?)
    }

    fn parse(connection: &str) -> Option<Self> {
        let fields: Vec<_> = connection.split(' ').collect();
        let [peer, peer_port, server, port] = fields[..] else {
            return None;
        };
        number(peer_port)?;
        address(server)?;
        Some(Self {
            peer: address(peer)?,
            port: Port {
                transport: Transport::Tcp,
                number: number(port)?,
            },
        })
    }
}

/// The parent's directory in `/proc`, given the directory `process` of a process.
fn parent(process: &Path) -> Option<PathBuf> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let mut lines = status.lines();
    let id: u32 = lines.find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())?;
    // The first process of a PID namespace has no parent inside it.
    (id != 0).then(|| process.with_file_name(id.to_string()))
}

/// An address. A link-local address has its interface after a percent sign.
fn address(text: &str) -> Option<IpAddr> {
    let address = match text.split_once('%') {
        Some((_, "")) => return None,
        Some((address, _)) => IpAddr::V6(address.parse().ok()?),
        None => text.parse().ok()?,
    };
    // A dual-stack socket reports an IPv4 peer as an IPv4-mapped address.
    Some(address.to_canonical())
}

fn number(text: &str) -> Option<u16> {
    // `parse` would accept a sign.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_plain && *number > 0)
}

/// A warning if this process runs in an ssh session that the gate of `config` would refuse: the
/// session itself continues, but the user cannot open another one without a knock.
#[must_use]
pub(crate) fn warning(config: &Config) -> Option<String> {
    warning_for(config, Session::current()?)
}

fn warning_for(config: &Config, session: Session) -> Option<String> {
    let rules = &config.gate.as_ref()?.rules;
    let Session { peer, port } = session;
    let is_trusted = rules.trusted.iter().any(|network| network.contains(&peer));
    // Connections of this host to itself do not pass the gate.
    if is_trusted
        || peer.is_loopback()
        || rules.mode == Mode::Observe
        || !rules.protect.contains(&port)
    {
        return None;
    }
    let (next, advice) = if config.opens(port) {
        (
            "needs a knock",
            "Keep this one open until a knock has admitted another one",
        )
    } else {
        (
            "is refused, since no door opens that port",
            "Add a door that does",
        )
    };
    Some(format!(
        "this ssh session comes from {peer} to {port}, which the gate protects, and {peer} is not in \
         `gate.trusted`: this session continues, the next one {next}. {advice}, or add {peer} to `trusted`"
    ))
}

#[cfg(test)]
mod tests;
