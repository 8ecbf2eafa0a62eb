//! A rule of a firewall that redirects ports.

use std::{fmt, ops::RangeInclusive};

use knock_common::gate::Transport;
use knockd_types::rules::Port;

/// A rule that changes the destination port of packets to this host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Redirect {
    /// The transport protocol; any if none.
    pub(super) transport: Option<Transport>,
    /// The ports that are redirected; any if empty.
    pub(super) from: Vec<RangeInclusive<u16>>,
    /// The ports that they are redirected to.
    pub(super) to: Vec<RangeInclusive<u16>>,
}

impl Redirect {
    /// A warning for each port in `protect` that a port which is not in it is redirected to.
    pub(super) fn warnings(&self, protect: &[Port]) -> Vec<String> {
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
