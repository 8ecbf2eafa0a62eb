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
More of them: knock --help";

const EXAMPLES: &str = "\
Examples:
  Set up a server once, with the line that `knockd init` or `knockd client add` prints:
    knock import --name home

  Open the door `ssh` there; wait until it is open; for ten minutes:
    knock home ssh
    knock --verify tcp/22 home ssh
    knock --for 10m home ssh

  Let ssh do it, in ~/.ssh/config:
    Match originalhost home exec \"knock --verify tcp/22 home ssh\"

  Without a profile, with a key file or a passphrase:
    knock --key-file laptop.key server.example.net ssh
    knock --client laptop server.example.net ssh

  A profile or server that is called like one of the commands:
    knock -- list ssh

  Nothing opens, and the network loses packets: more copies, sent more slowly:
    knock --copies 5 --delay 50ms home ssh

  The classic protocol, whose knocks can be sent again by whoever sees one:
    knock --classic --sequence 1,2,3,4 server.example.net

Exit status: 0 the knock was sent and, with --verify, the port answers; 1 it could not be sent,
or the port does not answer; 2 the command line is wrong.";

/// Knock on a server, so that it opens a door for this host.
///
/// The knock is 16 connection attempts (TCP SYNs) to ports of the server. Nothing answers it,
/// whether it was right or wrong: try the door afterwards, or let --verify do it. No
/// privileges are needed.
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
    /// What to do instead of knocking.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to knock; there if no command is.
    #[command(flatten)]
    pub knock: Option<KnockArgs>,
}

/// What `knock` does besides knocking.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Store a server as a profile, from the line that `knockd` prints
    ///
    /// The profile and its key go to files of their own in this user's configuration
    /// directory, readable by nobody else: knock/knock.toml and knock/keys/PROFILE.key, on
    /// Linux below ~/.config. What is there already is never overwritten.
    ///
    /// The URI holds the client's key. As an argument it stands in the shell's history, and in
    /// the list of processes that every user of this host can see. Without it, or with `-`, it
    /// is asked for and not shown, or read from standard input if that is no terminal.
    #[command(max_term_width = 100)]
    Import {
        /// The invitation, knock://CLIENT@HOST:BASE/KEY; better left out, see above
        uri: Option<Uri>,

        /// What to call the profile [default: the URI's host]
        #[arg(long, value_name = "PROFILE")]
        name: Option<Name>,
    },

    /// Show the profiles: name, server, this client's name there, and the knock ports
    ///
    /// Keys are not shown.
    #[command(max_term_width = 100)]
    List,

    /// Write a new key to a file that does not exist yet
    ///
    /// Only this user can read the file. The server needs the same file.
    #[command(max_term_width = 100)]
    Keygen {
        /// The file
        file: PathBuf,
    },
}

/// How to knock.
#[derive(Clone, Debug, Args)]
pub struct KnockArgs {
    /// The profile's name, or else the server's name or IP address
    ///
    /// A name with both IPv4 and IPv6 addresses is knocked on the first of each.
    pub server: Server,

    /// The name of the door that is to open, as the server's configuration has it
    ///
    /// With --classic the sequence says which; a name is for the reader alone.
    #[arg(required_unless_present = "classic")]
    pub door: Option<Name>,

    /// Make the key from this client's key file
    ///
    /// The file holds one line, knock1:…, and is refused if group or others can read or
    /// change it: `chmod 600 FILE`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["passphrase_file", "classic"])]
    pub key_file: Option<PathBuf>,

    /// Make the key from the passphrase in this file instead of asking for it
    ///
    /// A newline at the file's end is not part of the passphrase. The file is refused if
    /// group or others can read or change it: `chmod 600 FILE`.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,

    /// This client's name at the server: a passphrase makes another key for each
    #[arg(long, value_name = "NAME", conflicts_with = "classic")]
    pub client: Option<Name>,

    /// How long the door is to stay open, at most 65535s [default: as the door has it]
    ///
    /// Whole seconds. The server caps it with the door's `max_for`.
    #[arg(long = "for", value_name = "TIME", value_parser = lease, conflicts_with = "classic")]
    pub lease: Option<RequestedLease>,

    /// The address that the knock holds for: auto, none or ADDR [default: auto]
    ///
    /// A knock that is bound to an address cannot be sent on from another. But a router that
    /// translates addresses (NAT) makes it worthless, so `auto` takes the address that the
    /// route to the server starts from, unless it is one that is translated: in a private
    /// network (10/8, 172.16/12, 192.168/16, fc00::/7), behind a carrier's NAT (100.64/10),
    /// loopback, link-local. Then, and with `none`, the knock holds for every address. For a
    /// server in your own network that insists on a bound knock, say which ADDR it sees. An
    /// ADDR also chooses which of the server's addresses is knocked on, IPv4 or IPv6.
    #[arg(long, value_name = "ADDR", conflicts_with = "classic")]
    pub source_ip: Option<SourceIp>,

    /// Knock until this TCP port of the server answers: tcp/PORT, or none
    ///
    /// As long as it does not answer, another knock follows, at growing intervals, up to
    /// --timeout. `none` is for a profile that says otherwise.
    #[arg(long, value_name = "tcp/PORT")]
    pub verify: Option<Verify>,

    /// How long --verify goes on after the first knock, at most 1h [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<Timeout>,

    /// The first of the server's 256 knock ports [default: 61000]
    ///
    /// It is the daemon's `base`, from 1 to 65280.
    #[arg(long, value_name = "PORT", value_parser = window)]
    pub base: Option<Window>,

    /// Knock on the server's IPv4 address only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,

    /// Knock on the server's IPv6 address only
    #[arg(short = '6', long)]
    pub ipv6: bool,

    /// The pause between two SYNs, at most 500ms
    #[arg(long, value_name = "TIME", default_value = "2ms")]
    pub delay: Delay,

    /// How often all 16 SYNs are sent, 1 to 8: insurance against loss
    ///
    /// Copies leave from the same source ports as the first, so that the daemon does not
    /// take them for another knock while it is assembling this one.
    #[arg(long, value_name = "N", default_value_t)]
    pub copies: Copies,

    /// Print the 16 ports of one knock on one line and send none
    ///
    /// A sealed knock is made for the first of the server's addresses.
    #[arg(long, conflicts_with_all = ["verify", "timeout"])]
    pub dry_run: bool,

    /// Knock with the classic protocol: no clock needed, but no protection from replay
    ///
    /// A classic knock is always the same 16 ports, so whoever sees one on the network can
    /// send it again.
    #[arg(long, requires = "sequence")]
    pub classic: bool,

    /// The door's classic sequence: 1 to 15 numbers from 0 to 255, with commas between them
    ///
    /// It is the sequence that stands at the door in the daemon's configuration.
    #[arg(long, value_name = "N,N,…", value_parser = SequenceParser, requires = "classic")]
    pub sequence: Option<Sequence>,
}

impl Cli {
    /// What this program's arguments ask for.
    ///
    /// # Errors
    ///
    /// What clap says is wrong with them, or the help that they ask for.
    pub fn of_program() -> Result<Self, clap::Error> {
        Self::try_parse().map_err(|error| {
            // One argument too many is looked for among the commands, and then told as a
            // command in the wrong place.
            if error.kind() != ErrorKind::ArgumentConflict
                || error.get(ContextKind::InvalidSubcommand).is_none()
            {
                return error;
            }
            let message = "there is an argument too many: a knock takes SERVER and DOOR\n";
            clap::Error::raw(ErrorKind::UnknownArgument, message).with_cmd(&Self::command())
        })
    }
}

impl KnockArgs {
    /// Which of the server's addresses are to be knocked on.
    #[must_use]
    pub fn families(&self) -> Families {
        match (self.ipv4, self.ipv6) {
            (true, _) => Families::Ipv4,
            (_, true) => Families::Ipv6,
            _ => Families::Both,
        }
    }

    /// How fast and how often the SYNs are to be sent.
    #[must_use]
    pub fn pace(&self) -> Pace {
        Pace {
            delay: self.delay,
            copies: self.copies,
        }
    }

    /// The port that has to answer, as far as the command line says: [`Some`]`(None)` is none.
    #[must_use]
    pub fn verify(&self) -> Option<Option<TcpPort>> {
        self.verify.map(Verify::port)
    }
}

#[cfg(test)]
mod tests;
