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
    /// knockd-xdp with SYN knocks.
    Syn,
    /// knockd-xdp with datagram knocks.
    Datagram,
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
            Self::Syn => "knockd-xdp, SYN",
            Self::Datagram => "knockd-xdp, datagram",
            Self::Classic => "knockd-xdp, classic",
            Self::Jvinet => "knockd 0.8",
            Self::FwknopUdp => "fwknopd, UDP server",
            Self::FwknopPcap => "fwknopd, pcap (default)",
            Self::Log => "nftables log, ulogd2, --lines",
        }
    }

    /// Whether it is knockd-xdp with a client of its own.
    pub(crate) const fn is_ours(self) -> bool {
        matches!(self, Self::Syn | Self::Datagram | Self::Classic)
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
            Self::Datagram => ours::start(context, host, site, ours::Kind::Datagram, 1),
            Self::Syn => ours::start(context, host, site, ours::Kind::Syn, 1),
            Self::Classic => ours::start(context, host, site, ours::Kind::Classic, 1),
            Self::Jvinet => jvinet::start(context, host, site),
            Self::FwknopUdp => fwknop::start(context, host, site, fwknop::Input::Udp),
            Self::FwknopPcap => fwknop::start(context, host, site, fwknop::Input::Pcap),
            Self::Log => log::start(context, host, site),
        }
    }
}
