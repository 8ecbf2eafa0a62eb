//! The ssh session that somebody types in, who must not lock himself out with a gate.

use std::{
    env, fs, iter,
    net::IpAddr,
    path::{Path, PathBuf},
};

use knock_common::gate::{Mode, Transport};

use knockd_config::model::Config;
use knockd_types::rules::Port;

/// What sshd sets for a session (sshd(8)): the client's address and port, then the server's.
const VARIABLE: &str = "SSH_CONNECTION";

/// Between a login and what is run there stand a handful of processes; more are no login.
const MAX_ANCESTORS: usize = 64;

/// An ssh session on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Session {
    /// Where it comes from.
    peer: IpAddr,
    /// Where it came in.
    port: Port,
}

impl Session {
    /// The session that this process runs in, as far as that can be found out.
    fn current() -> Option<Self> {
        let own = env::var(VARIABLE).ok();
        own.and_then(|connection| Self::parse(&connection))
            .or_else(|| Self::of_ancestors(Path::new("/proc")))
    }

    /// The session of the nearest ancestor that knows one: sudo keeps it from its children.
    fn of_ancestors(proc: &Path) -> Option<Self> {
        let parents = iter::successors(parent(&proc.join("self")), |process| parent(process));
        parents.take(MAX_ANCESTORS).find_map(|process| {
            // Another user's is not readable, which hides the session from its owner at worst.
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

/// The folder in `/proc` of the parent of the process whose folder is `process`.
fn parent(process: &Path) -> Option<PathBuf> {
    let status = fs::read_to_string(process.join("status")).ok()?;
    let mut lines = status.lines();
    let id: u32 = lines.find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())?;
    // The first process of a namespace has none in it.
    (id != 0).then(|| process.with_file_name(id.to_string()))
}

/// An address; that of a link has the link's name behind a percent sign.
fn address(text: &str) -> Option<IpAddr> {
    let address = match text.split_once('%') {
        Some((_, "")) => return None,
        Some((address, _)) => IpAddr::V6(address.parse().ok()?),
        None => text.parse().ok()?,
    };
    // A socket for both families has an IPv4 peer as IPv4-mapped address.
    Some(address.to_canonical())
}

fn number(text: &str) -> Option<u16> {
    // `parse` would take a sign.
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| is_plain && *number > 0)
}

/// What the user of the ssh session that this process runs in has to know before the gate of
/// `config` is in force: the session goes on, but he may not get into another one. `None` if
/// there is no such session, or nothing to fear.
#[must_use]
pub fn warning(config: &Config) -> Option<String> {
    warning_for(config, Session::current()?)
}

fn warning_for(config: &Config, session: Session) -> Option<String> {
    let rules = &config.gate.as_ref()?.rules;
    let Session { peer, port } = session;
    let is_let_in = rules.trusted.iter().any(|network| network.contains(&peer));
    // What comes from this host itself does not come in where the gate is.
    if is_let_in
        || peer.is_loopback()
        || rules.mode == Mode::Observe
        || !rules.protect.contains(&port)
    {
        return None;
    }
    let (next, advice) = if config.opens(port) {
        (
            "needs a knock",
            "Keep this one open until a knock has let another one in",
        )
    } else {
        (
            "is kept out, since no door opens that port",
            "Add a door that does",
        )
    };
    Some(format!(
        "this ssh session comes from {peer} to {port}, which the gate protects, and {peer} is not in \
         `gate.trusted`: this session goes on, the next one {next}. {advice}, or add {peer} to `trusted`"
    ))
}

#[cfg(test)]
mod tests;
