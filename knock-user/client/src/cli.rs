//! The command line of `knock`.

use std::path::PathBuf;

use clap::{
    Args, CommandFactory as _, Parser, Subcommand,
    error::{ContextKind, ErrorKind},
};
use knock_common::{
    protocol::{classic::Sequence, sealed::RequestedLease},
    window::Window,
};

use self::value::{SequenceParser, window};
use crate::{
    name::Name,
    pace::{Copies, Delay, Pace},
    server::{Families, Server},
    source_ip::SourceIp,
    verify::{TcpPort, Timeout},
};

mod value;

pub use self::value::{LeaseError, Uri, Verify, lease};

const USAGE: &str = "knock [OPTIONS] SERVER DOOR
       knock --classic --sequence N,N,… [OPTIONS] SERVER [DOOR]
       knock import [URI] [--name PROFILE]
       knock list
       knock keygen FILE";

const SHORT_EXAMPLES: &str = "\
Example: knock --verify tcp/22 home ssh
For more, see knock --help";

const EXAMPLES: &str = "\
Examples:
  Set up a server once, with the invitation that `knockd init` or `knockd client add` prints:
    knock import --name home

  Open the door `ssh` there:
    knock home ssh

  Open it, and wait until port 22 answers:
    knock --verify tcp/22 home ssh

  Open it for ten minutes:
    knock --for 10m home ssh

  Let ssh knock before it connects, in ~/.ssh/config:
    Match originalhost home exec \"knock --verify tcp/22 home ssh\"

  Without a profile, use a key file or a passphrase:
    knock --key-file laptop.key server.example.net ssh
    knock --client laptop server.example.net ssh

  Use a profile or server with the same name as a command:
    knock -- list ssh

  If nothing opens because the network loses packets, send more copies, more slowly:
    knock --copies 5 --delay 50ms home ssh

  Use the classic protocol; an attacker who observes such a knock can replay it:
    knock --classic --sequence 1,2,3,4 server.example.net

Exit status: 0 if the knock was sent and, with --verify, the port answers; 1 if it could not be sent
or the port does not answer; 2 if the command line is invalid.";

/// Open a door on a server that runs knockd
///
/// A knock is 16 connection attempts (TCP SYNs) to ports of the server. The server never answers
/// a knock, valid or not. To see whether the door is open, try it or use --verify. No privileges
/// are needed.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "knock",
    version,
    max_term_width = 100,
    override_usage = USAGE,
    after_help = SHORT_EXAMPLES,
    after_long_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    subcommand_negates_reqs = true
)]
pub struct Cli {
    /// The command to run instead of knocking.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to knock; set if there is no command.
    #[command(flatten)]
    pub knock: Option<KnockArgs>,
}

/// The commands of `knock` other than knocking.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Store a server as a profile, from an invitation that `knockd` prints
    ///
    /// The profile and its key are stored in your configuration directory (on Linux ~/.config),
    /// readable only by you: in knock/knock.toml and knock/keys/PROFILE.key. Existing profiles and
    /// keys are never overwritten.
    ///
    /// The URI contains the client's key. If it is an argument, it is in the shell's history, and
    /// all users of this host can see it in the process list. Without it, or with `-`, `knock`
    /// prompts for it without echo, or reads standard input if that is not a terminal.
    #[command(max_term_width = 100)]
    Import {
        /// The invitation, knock://CLIENT@HOST:BASE/KEY; better omitted, see above
        uri: Option<Uri>,

        /// The name of the profile [default: the host in the URI]
        #[arg(long, value_name = "PROFILE")]
        name: Option<Name>,
    },

    /// List the profiles: name, server, client name, and knock ports
    ///
    /// Keys are not shown.
    #[command(max_term_width = 100)]
    List,

    /// Write a new key to a new file
    ///
    /// Only you can read the file. Copy it to the server.
    #[command(max_term_width = 100)]
    Keygen {
        /// The file to create
        file: PathBuf,
    },
}

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

    /// Read the key from this file
    ///
    /// The file holds one line, knock1:…. `knock` refuses it if group or others can read or
    /// change it; use `chmod 600 FILE`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["passphrase_file", "classic"])]
    pub key_file: Option<PathBuf>,

    /// Read the passphrase from this file instead of prompting for it
    ///
    /// A newline at the end is not part of the passphrase. `knock` refuses the file if group or
    /// others can read or change it; use `chmod 600 FILE`.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,

    /// The name of this client on the server, needed to derive the key from a passphrase
    #[arg(long, value_name = "NAME", conflicts_with = "classic")]
    pub client: Option<Name>,

    /// How long the door should stay open, at most 65535s [default: set by the door]
    ///
    /// Whole seconds. The door's `max_for` on the server is the upper limit.
    #[arg(long = "for", value_name = "TIME", value_parser = lease, conflicts_with = "classic")]
    pub lease: Option<RequestedLease>,

    /// The source address that the knock is bound to: auto, none or ADDR [default: auto]
    ///
    /// A bound knock cannot be replayed from another address, but it opens nothing if a router
    /// (NAT) translates the address. So `auto` takes the address that this host uses to reach the
    /// server, unless it is of a kind that is translated: private (10/8, 172.16/12, 192.168/16,
    /// fc00::/7), carrier-grade NAT (100.64/10), loopback or link-local. In these cases, and with
    /// `none`, the knock is valid from every address. For a server in your own network that
    /// requires a bound knock, give the ADDR that the server sees. ADDR also selects whether
    /// `knock` uses the server's IPv4 or IPv6 address.
    #[arg(long, value_name = "ADDR", conflicts_with = "classic")]
    pub source_ip: Option<SourceIp>,

    /// Knock until this TCP port of the server answers: tcp/PORT, or none
    ///
    /// While the port does not answer, `knock` knocks again at growing intervals, up to
    /// --timeout. `none` overrides the profile's setting.
    #[arg(long, value_name = "tcp/PORT")]
    pub verify: Option<Verify>,

    /// The limit of --verify, counted from the first knock, at most 1h [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Timeout>,

    /// The first of the server's 256 knock ports [default: 61000]
    ///
    /// The `base` in the configuration of knockd, from 1 to 65280.
    #[arg(long, value_name = "PORT", value_parser = window)]
    pub base: Option<Window>,

    /// Use only the server's IPv4 address
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// Use only the server's IPv6 address
    #[arg(short = '6', long)]
    pub ipv6: bool,

    /// The delay between two SYNs, at most 500ms
    #[arg(long, value_name = "TIME", default_value = "2ms")]
    pub delay: Delay,

    /// How many times to send all 16 SYNs, 1 to 8, in case packets are lost
    ///
    /// All copies use the same source ports, so that the daemon recognizes them as copies of
    /// one knock.
    #[arg(long, value_name = "N", default_value_t)]
    pub copies: Copies,

    /// Print the 16 ports of one knock on one line and send nothing
    ///
    /// A sealed knock is made for the first of the server's addresses.
    #[arg(long, conflicts_with_all = ["verify", "timeout"])]
    pub dry_run: bool,

    /// Use the classic protocol, which needs no clock but does not prevent replay
    ///
    /// A classic knock is always the same 16 ports. An attacker who observes it can send it
    /// again.
    #[arg(long, requires = "sequence")]
    pub classic: bool,

    /// The classic sequence of the door: 1 to 15 numbers from 0 to 255, separated by commas
    ///
    /// The same as the door's `sequence` in the configuration of knockd.
    #[arg(long, value_name = "N,N,…", value_parser = SequenceParser, requires = "classic")]
    pub sequence: Option<Sequence>,
}

impl Cli {
    /// Parses the arguments of this process.
    ///
    /// # Errors
    ///
    /// Returns clap's error if the arguments are invalid, or the help text that they request.
    pub fn of_program() -> Result<Self, clap::Error> {
        Self::try_parse().map_err(|error| {
            // clap takes a surplus argument for a subcommand, and reports a subcommand in the
            // wrong place.
            if error.kind() != ErrorKind::ArgumentConflict
                || error.get(ContextKind::InvalidSubcommand).is_none()
            {
                return error;
            }
            let message = "too many arguments: a knock takes SERVER and DOOR\n";
            clap::Error::raw(ErrorKind::UnknownArgument, message).with_cmd(&Self::command())
        })
    }
}

impl KnockArgs {
    /// Which of the server's addresses to use.
    #[must_use]
    pub fn families(&self) -> Families {
        match (self.ipv4, self.ipv6) {
            (true, _) => Families::Ipv4,
            (_, true) => Families::Ipv6,
            _ => Families::Both,
        }
    }

    /// The delay between SYNs and the number of copies.
    #[must_use]
    pub fn pace(&self) -> Pace {
        Pace {
            delay: self.delay,
            copies: self.copies,
        }
    }

    /// The port to verify. `None`: not specified; `Some(None)`: explicitly none.
    #[must_use]
    pub fn verify(&self) -> Option<Option<TcpPort>> {
        self.verify.map(Verify::port)
    }
}

#[cfg(test)]
mod tests;
