//! The command line of `knock`.

use std::path::PathBuf;

use clap::{
    CommandFactory as _, Parser, Subcommand,
    error::{ContextKind, ErrorKind},
};
use knock_common::protocol::identity::PublicKey;
use knockd_credentials::host::Host;

use crate::name::Name;

mod doctor_args;
mod knock_args;
mod text;
mod value;

pub use self::{
    doctor_args::DoctorArgs,
    knock_args::KnockArgs,
    value::{LeaseError, Uri, lease},
};

/// Open a door on a server that runs knockd
///
/// A knock is a sign that only this client can give and only the server can read: 16 connection
/// attempts (TCP SYNs) to ports of the server, or one UDP datagram. The server never answers a
/// knock, valid or not. To see whether the door is open, try it or use --verify. No privileges
/// are needed.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "knock",
    version,
    max_term_width = 100,
    override_usage = text::USAGE,
    after_help = text::SHORT_EXAMPLES,
    after_long_help = text::EXAMPLES,
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
    /// Say what is wrong on this side, in plain words
    ///
    /// Looks at the profile and its key, the server's name, the routes, the source address, and the
    /// ports of a knock. One line for each: `ok`, `warning` or `problem`, and what to do. What it
    /// sends is in that line: a few attempts to connect, and for datagram knocks one empty datagram.
    /// It knocks only with --knock, and asks other servers only if told to (--time, --resolve-ip).
    ///
    /// Without SERVER it looks at the profiles and keys of this user, and sends nothing.
    ///
    /// A server that works stays silent too, so it cannot see everything: `knockd tail` on the server
    /// shows what arrives there. Exit status: 0 if there is no problem, 1 if there is one, 2 if the
    /// command line is invalid.
    #[command(
        max_term_width = 100,
        override_usage = "knock doctor [OPTIONS] [SERVER [DOOR]]"
    )]
    Doctor(Box<DoctorArgs>),

    /// Prepare this client.
    #[command(flatten)]
    SetUp(SetUp),

    /// Write a page with which a browser can knock, such as that of a phone
    ///
    /// The page is one file of HTML, and needs nothing from the network. It contains the key of the
    /// profile: whoever can read the file can knock. To be able to remove it alone, give it a client of
    /// its own: `knockd client add NAME --page FILE` on the server.
    ///
    /// Without --output, it goes to standard output, which must not be a terminal.
    #[command(max_term_width = 100)]
    Page {
        /// The profile; may be left out if there is only one
        profile: Option<Name>,

        /// A door to choose on the page; without any, the page asks for the name
        #[arg(long = "door", value_name = "DOOR")]
        doors: Vec<Name>,

        /// The file to create, readable only by you
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// The commands that prepare a client.
#[derive(Clone, Debug, Subcommand)]
pub enum SetUp {
    /// Store a server as a profile, from an invitation that `knockd` prints
    ///
    /// The profile and its key are stored in your configuration directory (on Linux ~/.config),
    /// readable only by you: in knock/knock.toml and knock/keys/PROFILE.key. Existing profiles and
    /// keys are never overwritten.
    ///
    /// An invitation with `key=` contains this client's private key. As an argument, it is in the
    /// shell's history, and all users of this host can see it in the process list. Without an
    /// argument, or with `-`, `knock` prompts for it without echo, or reads standard input if that
    /// is not a terminal.
    ///
    /// An invitation without `key=` is no secret. It completes an enrolment (`knock enroll`): the
    /// one named by --name, or else the one for the host in the invitation.
    #[command(max_term_width = 100)]
    Import {
        /// The invitation, knock://CLIENT@HOST:BASE?server=PUBLIC; one with `key=` is better
        /// omitted, see above
        uri: Option<Uri>,

        /// The name of the profile [default: that of the enrolment, or the host in the invitation]
        #[arg(long, value_name = "PROFILE")]
        name: Option<Name>,
    },

    /// Make a key pair for a server, and say what to run there
    ///
    /// The private key stays on this host, in your configuration directory, readable only by you.
    /// The public key goes to the administrator of the server, over any channel that nobody can
    /// change. `knock import` completes the enrolment with the invitation that the server prints.
    /// The same command again prints the same public key.
    #[command(max_term_width = 100)]
    Enroll {
        /// The name or IP address of the server
        host: Host,

        /// The name that the profile will have [default: HOST]
        #[arg(long, value_name = "PROFILE")]
        name: Option<Name>,
    },

    /// List the profiles: name, server, client name, and knock ports
    ///
    /// Keys are not shown.
    #[command(max_term_width = 100)]
    List,

    /// Write a new private key to a new file, and print its public key
    ///
    /// Only you can read the file, and it never has to leave this host. The server needs the
    /// public key, which is no secret: `knockd client add NAME --public-key PUBLIC`.
    #[command(max_term_width = 100)]
    Keygen {
        /// The file to create
        file: PathBuf,
    },

    /// Print the public key of a private key, or of a passphrase
    ///
    /// With --client and --server-key instead of FILE, the key is that of a passphrase, which
    /// `knock` prompts for. It depends on the name of the client and on the server.
    #[command(
        max_term_width = 100,
        override_usage = "knock pubkey FILE\n       knock pubkey --client NAME --server-key PUBLIC [--passphrase-file FILE]"
    )]
    Pubkey {
        /// The file with the private key
        #[arg(required_unless_present = "client", conflicts_with = "client")]
        file: Option<PathBuf>,

        /// The name of this client on the server
        #[arg(long, value_name = "NAME", requires = "server_key")]
        client: Option<Name>,

        /// The server's public key, which `knockd public-key` prints there
        #[arg(
            long,
            value_name = "PUBLIC",
            value_parser = value::PublicKeyParser,
            allow_hyphen_values = true,
            requires = "client"
        )]
        server_key: Option<PublicKey>,

        /// Read the passphrase from this file instead of prompting for it
        #[arg(long, value_name = "FILE", requires = "client")]
        passphrase_file: Option<PathBuf>,
    },
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

impl Cli {
    /// The exit status if [`run`](crate::run) fails.
    #[must_use]
    pub fn failure_status(&self) -> u8 {
        match &self.knock {
            // Like env(1): tells a failure of `knock` from one of the command.
            Some(knock) if knock.hold => 125,
            _ => 1,
        }
    }
}

#[cfg(test)]
mod tests;
