//! The arguments of a knock.

use std::{ffi::OsString, path::PathBuf};

use clap::Args;
use knock_common::{
    protocol::{classic::Sequence, identity::PublicKey, lease::RequestedLease},
    window::Window,
};

use super::{
    text,
    value::{PublicKeyParser, SequenceParser, Verify, lease, window},
};
use crate::{
    clock::Offset,
    name::Name,
    pace::{Copies, Delay, Pace},
    resolve_ip::ResolveIp,
    server::{Families, Server},
    source_ip::{HostAddress, SourceIp},
    time_source::TimeSource,
    transport::{Transport, UdpPort},
    verify::{TcpPort, Timeout},
};

/// The arguments of a knock.
#[derive(Clone, Debug, Args)]
pub struct KnockArgs {
    /// The name of a profile, or the name or IP address of a server
    ///
    /// If the name has IPv4 and IPv6 addresses, `knock` knocks on the first of each.
    pub server: Server,

    /// The name of the door to open, as in the server's configuration
    ///
    /// With --classic, the sequence selects the door, and this name is only informative.
    #[arg(required_unless_present = "classic")]
    pub door: Option<Name>,

    /// The command of --hold and its arguments; no shell is involved
    #[arg(
        value_name = "COMMAND",
        trailing_var_arg = true,
        requires = "hold",
        conflicts_with = "classic"
    )]
    pub held: Vec<OsString>,

    /// How long the door should stay open, such as 10m [default: set by the door]
    ///
    /// Whole seconds. At most 65534s over SYNs; a datagram has room for more. The door's `max_for`
    /// on the server is the upper limit.
    #[arg(
        long = "for",
        value_name = "TIME",
        value_parser = lease,
        conflicts_with = "classic",
        help_heading = text::WHAT
    )]
    pub lease: Option<RequestedLease>,

    /// Close the door now instead of opening it
    ///
    /// Ends the lease that an earlier knock of this client has for this address.
    #[arg(
        long,
        conflicts_with_all = ["lease", "verify", "timeout", "classic"],
        help_heading = text::WHAT
    )]
    pub close: bool,

    /// Keep the door open while COMMAND runs, and close it afterwards
    ///
    /// Knocks, and again each time a third of the lease is over (--for, or 1m), so that the door
    /// must grant at least half of what is asked for. `knock` exits with the status of the command,
    /// or 128 plus the number of the signal that ended it; with 127 if there is no such command,
    /// 126 if it cannot be run, and 125 if the first knock fails. A later knock that fails is only
    /// a warning. SIGTERM and SIGHUP are passed on to the command. SIGINT from the terminal reaches
    /// it anyway, and `knock` waits for it and closes the door.
    #[arg(
        long,
        requires = "held",
        conflicts_with_all = ["close", "dry_run", "classic"],
        help_heading = text::WHAT
    )]
    pub hold: bool,

    /// Open the door for this address instead of this host's own; needs --udp
    ///
    /// Only a door with `allow_other` on the server accepts it.
    #[arg(
        long,
        value_name = "ADDR",
        conflicts_with_all = ["source_ip", "verify", "timeout", "classic"],
        help_heading = text::WHAT,
        hide_short_help = true
    )]
    pub open_for: Option<HostAddress>,

    /// Knock until this TCP port of the server answers: tcp/PORT, or none
    ///
    /// While the port does not answer, `knock` knocks again at growing intervals, up to
    /// --timeout. `none` overrides the profile's setting.
    #[arg(long, value_name = "tcp/PORT", help_heading = text::WHAT)]
    pub verify: Option<Verify>,

    /// The limit of --verify, counted from the first knock, at most 1h [default: 10s]
    #[arg(long, value_name = "TIME", help_heading = text::WHAT, hide_short_help = true)]
    pub timeout: Option<Timeout>,

    /// Print what one knock would send, and send nothing
    ///
    /// For SYNs, the 16 ports on one line; for a datagram, its port and its 144 bytes in
    /// hexadecimal. Each knock is different. Treat the output as a secret for the next minutes:
    /// whoever sends it opens the door. It is made for the first of the server's addresses.
    #[arg(
        long,
        conflicts_with_all = ["verify", "timeout"],
        help_heading = text::WHAT,
        hide_short_help = true
    )]
    pub dry_run: bool,

    /// This client's private key, in a file that `knock keygen` made
    ///
    /// The file holds one line, knock2:…. `knock` refuses it if group or others can read or change
    /// it; use `chmod 600 FILE`.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with_all = ["passphrase_file", "classic"],
        help_heading = text::KEYS
    )]
    pub key_file: Option<PathBuf>,

    /// The server's public key: 43 characters
    ///
    /// It is no secret: it names the server that the knock is for. `knockd public-key` prints it on
    /// the server, and an invitation contains it, after `server=`.
    #[arg(
        long,
        value_name = "PUBLIC",
        value_parser = PublicKeyParser,
        allow_hyphen_values = true,
        conflicts_with = "classic",
        help_heading = text::KEYS
    )]
    pub server_key: Option<PublicKey>,

    /// The name of this client on the server, for a key that is made from a passphrase
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "classic",
        help_heading = text::KEYS
    )]
    pub client: Option<Name>,

    /// Read the passphrase from this file instead of prompting for it
    ///
    /// A newline at the end is not part of the passphrase. `knock` refuses the file if group or
    /// others can read or change it; use `chmod 600 FILE`.
    #[arg(long, value_name = "FILE", help_heading = text::KEYS, hide_short_help = true)]
    pub passphrase_file: Option<PathBuf>,

    /// Knock with one UDP datagram instead of 16 SYNs
    ///
    /// For networks that let out few ports, or change the source address between connections. The
    /// server must accept datagrams (`[datagram]` in its configuration). With --syn, the datagram
    /// is sent first and the SYNs after it, as two requests: a door with a command runs it twice.
    #[arg(long, conflicts_with = "classic", help_heading = text::SENDING)]
    pub udp: bool,

    /// Knock with SYNs, if the profile says otherwise
    #[arg(long, help_heading = text::SENDING, hide_short_help = true)]
    pub syn: bool,

    /// The server's UDP port for datagrams [default: 62201]
    #[arg(
        long,
        value_name = "PORT",
        conflicts_with = "classic",
        help_heading = text::SENDING,
        hide_short_help = true
    )]
    pub udp_port: Option<UdpPort>,

    /// The first of the server's 256 knock ports [default: 61000]
    ///
    /// The `base` in the configuration of knockd, from 1 to 65280.
    #[arg(
        long,
        value_name = "PORT",
        value_parser = window,
        help_heading = text::SENDING,
        hide_short_help = true
    )]
    pub base: Option<Window>,

    /// Use only the server's IPv4 address
    #[arg(
        short = '4',
        long,
        conflicts_with = "ipv6",
        help_heading = text::SENDING,
        hide_short_help = true
    )]
    pub ipv4: bool,

    /// Use only the server's IPv6 address
    #[arg(short = '6', long, help_heading = text::SENDING, hide_short_help = true)]
    pub ipv6: bool,

    /// The delay between two packets, at most 500ms [default: 2ms for SYNs, 750us for datagrams]
    #[arg(long, value_name = "TIME", help_heading = text::SENDING, hide_short_help = true)]
    pub delay: Option<Delay>,

    /// How many times to send the knock, 1 to 8 [default: 3 for SYNs, 4 for datagrams]
    ///
    /// For networks that lose packets. The daemon recognizes copies of one knock and accepts it
    /// once.
    #[arg(long, value_name = "N", help_heading = text::SENDING)]
    pub copies: Option<Copies>,

    /// The source address that the knock is bound to: auto, none or ADDR [default: auto]
    ///
    /// A bound knock cannot be replayed from another address, but it opens nothing if a router
    /// (NAT) translates the address. So `auto` takes the address that this host uses to reach the
    /// server, unless it is of a kind that is translated: private (10/8, 172.16/12, 192.168/16,
    /// fc00::/7), carrier-grade NAT (100.64/10), loopback or link-local. In these cases, and with
    /// `none`, the knock is valid from every address. For a server in your own network that
    /// requires a bound knock, give the ADDR that the server sees. ADDR also selects whether
    /// `knock` uses the server's IPv4 or IPv6 address.
    #[arg(
        long,
        value_name = "ADDR",
        conflicts_with = "classic",
        help_heading = text::ADDRESS,
        hide_short_help = true
    )]
    pub source_ip: Option<SourceIp>,

    /// Let `--source-ip auto` ask a service for this host's address: https://HOST/PATH, stun:HOST,
    /// stun:HOST:PORT, or none
    ///
    /// Behind a router (NAT) this host cannot know the address that the server sees. With this
    /// option it asks, where the server has a public address and this host has none. A web page
    /// must contain the address and nothing else. The answer of a STUN server is not authenticated.
    /// With a wrong answer the knock opens nothing here, and somebody at the wrong address who
    /// records it can use it. If there is no answer within 5 s (STUN: 2 s), the knock is unbound,
    /// and a note says so.
    #[arg(
        long,
        value_name = "SERVICE",
        conflicts_with_all = ["classic", "open_for"],
        help_heading = text::ADDRESS,
        hide_short_help = true
    )]
    pub resolve_ip: Option<ResolveIp>,

    /// Where the time of the knock comes from: system, ntp:HOST, or ntp:HOST:PORT [default: system]
    ///
    /// For a host without a right clock. The server is asked once, by SNTP, for at most 2 s. Its
    /// answer is not authenticated: whoever can change it can let the knock fail, or make one that
    /// is valid later.
    #[arg(
        long,
        value_name = "SOURCE",
        conflicts_with_all = ["classic", "time_offset"],
        help_heading = text::ADDRESS,
        hide_short_help = true
    )]
    pub time: Option<TimeSource>,

    /// Add this to the time on this host's clock, which is wrong: +30s, -2h
    ///
    /// A server accepts knocks whose time is at most `max_skew` (60 s) from its own.
    #[arg(
        long,
        value_name = "DURATION",
        allow_hyphen_values = true,
        conflicts_with = "classic",
        help_heading = text::ADDRESS,
        hide_short_help = true
    )]
    pub time_offset: Option<Offset>,

    /// Use the classic protocol, which needs no clock but does not prevent replay
    ///
    /// A classic knock is always the same 16 ports. An attacker who observes it can send it
    /// again.
    #[arg(long, requires = "sequence", help_heading = text::CLASSIC, hide_short_help = true)]
    pub classic: bool,

    /// The classic sequence of the door: 1 to 15 numbers from 0 to 255, separated by commas
    ///
    /// The same as the door's `sequence` in the configuration of knockd.
    #[arg(
        long,
        value_name = "N,N,…",
        value_parser = SequenceParser,
        requires = "classic",
        help_heading = text::CLASSIC,
        hide_short_help = true
    )]
    pub sequence: Option<Sequence>,
}

impl KnockArgs {
    /// A knock on `door` of `server` without any option.
    pub(crate) fn plain(server: Server, door: Option<Name>) -> Self {
        Self {
            server,
            door,
            held: Vec::new(),
            lease: None,
            close: false,
            hold: false,
            open_for: None,
            verify: None,
            timeout: None,
            dry_run: false,
            key_file: None,
            server_key: None,
            client: None,
            passphrase_file: None,
            udp: false,
            syn: false,
            udp_port: None,
            base: None,
            ipv4: false,
            ipv6: false,
            delay: None,
            copies: None,
            source_ip: None,
            resolve_ip: None,
            time: None,
            time_offset: None,
            classic: false,
            sequence: None,
        }
    }

    /// Which of the server's addresses to use.
    #[must_use]
    pub fn families(&self) -> Families {
        match (self.ipv4, self.ipv6) {
            (true, _) => Families::Ipv4,
            (_, true) => Families::Ipv6,
            _ => Families::Both,
        }
    }

    /// How the knock travels, if it is specified.
    #[must_use]
    pub fn transport(&self) -> Option<Transport> {
        match (self.syn, self.udp) {
            (true, true) => Some(Transport::Both),
            (true, false) => Some(Transport::Syn),
            (false, true) => Some(Transport::Udp),
            (false, false) => None,
        }
    }

    /// The delay between packets and the number of copies, where specified; else those of
    /// `default`.
    #[must_use]
    pub fn pace(&self, default: Pace) -> Pace {
        Pace {
            delay: self.delay.unwrap_or(default.delay),
            copies: self.copies.unwrap_or(default.copies),
        }
    }

    /// Where the time comes from, if it is specified.
    #[must_use]
    pub fn time_source(&self) -> Option<TimeSource> {
        let offset = self.time_offset.map(TimeSource::Offset);
        self.time.clone().or(offset)
    }

    /// The port to verify. `None`: not specified; `Some(None)`: explicitly none.
    #[must_use]
    pub fn verify(&self) -> Option<Option<TcpPort>> {
        self.verify.map(Verify::port)
    }
}
