//! Warnings about firewall rules that redirect other ports to protected ones: the gate sees packets
//! before the firewall does, and lets them pass to a port that it does not protect.
//!
//! Rules are read as nft(8) and iptables-save(8) print them. Only a plain redirection is recognised:
//! a rule with a map, or with a match that is not known here, is taken to redirect any port.

mod iptables;
mod nft;

use std::{fmt, ops::RangeInclusive, process::Command};

use knock_common::gate::Transport;
use knockd_config::Config;
use knockd_supervisor::exec;
use knockd_types::rules::Port;
use tracing::debug;

/// The programs that print the rules in force, with the functions that read what they print.
const LISTINGS: [(&[&str], Reader); 3] = [
    (&["nft", "--json", "--terse", "list", "ruleset"], nft::read),
    (&["iptables-save", "-t", "nat"], iptables::read),
    (&["ip6tables-save", "-t", "nat"], iptables::read),
];

type Reader = fn(&str) -> Vec<Redirect>;

/// A rule that changes the destination port of packets to this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Redirect {
    /// The transport protocol; any if none.
    transport: Option<Transport>,
    /// The ports that are redirected; any if empty.
    from: Vec<RangeInclusive<u16>>,
    /// The ports that they are redirected to.
    to: Vec<RangeInclusive<u16>>,
}

/// Warnings about the rules that are in force. What cannot be read is left out.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let Some(gate) = &config.gate else {
        return Vec::new();
    };
    let redirects = LISTINGS.iter().flat_map(|(command, read)| {
        let text = listing(command);
        text.map_or_else(Vec::new, |text| read(&text))
    });
    let mut warnings: Vec<_> = redirects
        .flat_map(|redirect| redirect.warnings(&gate.rules.protect))
        .collect();
    // A rule of iptables may be in both listings.
    warnings.sort_unstable();
    warnings.dedup();
    warnings
}

/// What `command` prints; `None` if it fails.
fn listing(command: &[&str]) -> Option<String> {
    let (program, arguments) = command.split_first()?;
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", exec::PATH)
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => {
            debug!("{program} cannot list the firewall: {}", output.status);
            None
        }
        Err(error) => {
            debug!("{program} cannot list the firewall: {error}");
            None
        }
    }
}

impl Redirect {
    /// A warning for each port in `protect` that a port which is not in it is redirected to.
    fn warnings(&self, protect: &[Port]) -> Vec<String> {
        let is_target = |port: &&Port| {
            self.transport
                .is_none_or(|transport| transport == port.transport)
                && self.to.iter().any(|to| to.contains(&port.number))
        };
        let targets = protect.iter().filter(is_target);
        let exposed = targets.filter(|target| {
            let is_protected = |number| protect.contains(&Port { number, ..**target });
            self.from.is_empty() || !self.from.iter().cloned().flatten().all(is_protected)
        });
        exposed
            .map(|port| {
                format!(
                    "{port}: a firewall rule redirects {self} to it, and the gate does not protect \
                     that: a connection passes without a knock. Add it to `gate.protect`, or remove \
                     the rule"
                )
            })
            .collect()
    }
}

impl fmt::Display for Redirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from.is_empty() {
            return f.write_str("other ports");
        }
        f.write_str("port ")?;
        for (index, ports) in self.from.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if ports.start() == ports.end() {
                write!(f, "{}", ports.start())?;
            } else {
                write!(f, "{} to {}", ports.start(), ports.end())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
