//! The arguments of `knock doctor`.

use std::path::PathBuf;

use clap::Args;
use knock_common::{protocol::identity::PublicKey, window::Window};

use super::{
    KnockArgs, text,
    value::{PublicKeyParser, Verify, window},
};
use crate::{
    name::Name, resolve_ip::ResolveIp, server::Server, source_ip::SourceIp,
    time_source::TimeSource, transport::UdpPort,
};

/// The arguments of `knock doctor`. Those that a knock has too mean the same.
#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// The name of a profile, or the name or IP address of a server [default: only the files]
    pub server: Option<Server>,

    /// The name of the door that does not open
    pub door: Option<Name>,

    /// Knock once, and see whether the port of --verify answers then
    ///
    /// This opens the door.
    #[arg(long, requires = "door")]
    pub knock: bool,

    /// The TCP port that the door opens: tcp/PORT, or none
    #[arg(long, value_name = "tcp/PORT", requires = "server")]
    pub verify: Option<Verify>,

    /// Compare this host's clock with that of an NTP server: ntp:HOST or ntp:HOST:PORT
    #[arg(long, value_name = "SOURCE")]
    pub time: Option<TimeSource>,

    /// Ask under which address this host is seen: https://HOST/PATH, stun:HOST, stun:HOST:PORT, or
    /// none
    #[arg(long, value_name = "SERVICE", requires = "server")]
    pub resolve_ip: Option<ResolveIp>,

    /// Print one JSON object
    #[arg(long)]
    pub json: bool,

    /// The source address that knocks are bound to: auto, none or ADDR
    #[arg(long, value_name = "ADDR", help_heading = text::OF_KNOCKS)]
    pub source_ip: Option<SourceIp>,

    /// Look at knocks with one UDP datagram
    #[arg(long, help_heading = text::OF_KNOCKS)]
    pub udp: bool,

    /// Look at knocks with SYNs, if the profile says otherwise
    #[arg(long, help_heading = text::OF_KNOCKS)]
    pub syn: bool,

    /// The server's UDP port for datagrams
    #[arg(long, value_name = "PORT", help_heading = text::OF_KNOCKS)]
    pub udp_port: Option<UdpPort>,

    /// The first of the server's 256 knock ports
    #[arg(long, value_name = "PORT", value_parser = window, help_heading = text::OF_KNOCKS)]
    pub base: Option<Window>,

    /// Only the server's IPv4 address
    #[arg(short = '4', long, conflicts_with = "ipv6", help_heading = text::OF_KNOCKS)]
    pub ipv4: bool,

    /// Only the server's IPv6 address
    #[arg(short = '6', long, help_heading = text::OF_KNOCKS)]
    pub ipv6: bool,

    /// This client's private key
    #[arg(long, value_name = "FILE", help_heading = text::OF_KNOCKS)]
    pub key_file: Option<PathBuf>,

    /// The server's public key
    #[arg(
        long,
        value_name = "PUBLIC",
        value_parser = PublicKeyParser,
        allow_hyphen_values = true,
        help_heading = text::OF_KNOCKS
    )]
    pub server_key: Option<PublicKey>,
}

impl DoctorArgs {
    /// The arguments of the knock on `server` that is looked at.
    #[must_use]
    pub(crate) fn knock_args(&self, server: &Server) -> KnockArgs {
        KnockArgs {
            verify: self.verify,
            resolve_ip: self.resolve_ip.clone(),
            source_ip: self.source_ip,
            udp: self.udp,
            syn: self.syn,
            udp_port: self.udp_port,
            base: self.base,
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            key_file: self.key_file.clone(),
            server_key: self.server_key,
            ..KnockArgs::plain(server.clone(), self.door.clone())
        }
    }
}
