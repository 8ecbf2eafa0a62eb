//! The daemons that are measured: knockd-xdp and its peers.

mod daemon;
pub(crate) mod fwknop;
pub(crate) mod jvinet;
pub(crate) mod log;
pub(crate) mod ours;

use anyhow::{Context as _, Result};
use knock_tests::{netns::Namespace, wire::Sender};

pub(crate) use self::daemon::{Daemon, send};
use crate::{context::Context, lab::Site};

/// A daemon that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    /// knockd-xdp with a sealed client.
    Sealed,
    /// knockd-xdp with a classic client.
    Classic,
    /// jvinet's knockd.
    Jvinet,
    /// fwknopd with a UDP socket.
    FwknopUdp,
    /// fwknopd with packet capture, its default.
    FwknopPcap,
    /// nftables logs to ulogd2, and knockd-xdp reads lines, as the original did.
    Log,
}

impl Subject {
    /// The name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Sealed => "knockd-xdp, sealed",
            Self::Classic => "knockd-xdp, classic",
            Self::Jvinet => "knockd 0.8",
            Self::FwknopUdp => "fwknopd, UDP server",
            Self::FwknopPcap => "fwknopd, pcap (default)",
            Self::Log => "nftables log, ulogd2, --lines",
        }
    }

    /// Starts the daemon on interface `srv0` of `host`. Returns after the first knock from `sender`
    /// has run its command.
    pub(crate) fn start(
        self,
        context: &Context,
        host: &Namespace,
        site: &Site,
        sender: &Sender,
    ) -> Result<Daemon> {
        let mut daemon = self.launch(context, host, site)?;
        daemon
            .wait_until_ready(site, sender)
            .with_context(|| format!("{} does not accept knocks", self.name()))?;
        Ok(daemon)
    }

    /// Starts the daemon without waiting for it.
    pub(crate) fn launch(self, context: &Context, host: &Namespace, site: &Site) -> Result<Daemon> {
        match self {
            Self::Sealed => ours::start(context, host, site, ours::Kind::Sealed, 1),
            Self::Classic => ours::start(context, host, site, ours::Kind::Classic, 1),
            Self::Jvinet => jvinet::start(context, host, site),
            Self::FwknopUdp => fwknop::start(context, host, site, fwknop::Input::Udp),
            Self::FwknopPcap => fwknop::start(context, host, site, fwknop::Input::Pcap),
            Self::Log => log::start(context, host, site),
        }
    }
}
