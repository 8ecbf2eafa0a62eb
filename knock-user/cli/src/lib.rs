//! The command line of `knockd`. Each command has a module of its own.

// They panic if standard output is full or closed; `output` reports it.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod argument_order;
mod check;
mod client;
mod close;
mod control;
mod detach;
mod features;
mod first_process;
mod fleet;
#[doc(hidden)]
pub mod fuzz;
mod history;
mod import;
mod init;
mod invitation;
mod leases;
mod new_file;
mod open;
mod output;
mod patience;
mod reload;
mod replacement;
mod run;
mod runtime;
mod server_key;
mod status;
mod tail;
mod tap;
pub mod top;

use std::env;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};
pub use knockd_runtime::log::{Format as LogFormat, legible};

use self::{
    args::{ConfigArg, DaemonArgs, LogArgs, ViewArgs},
    client::ClientCommand,
    close::Close,
    detach::Detach,
    fleet::FleetCommand,
    history::History,
    import::{fwknop::ImportFwknop, knockd::ImportKnockd},
    init::Init,
    open::Open,
    run::Run,
    tap::Tap,
};

const AFTER_HELP: &str = include_str!("after_help.txt");

/// Port-knock daemon: detects knocks in the kernel (XDP) and opens doors for their senders
#[derive(Debug, Parser)]
#[command(
    name = "knockd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = AFTER_HELP
)]
pub struct Cli {
    #[command(flatten)]
    run: Run,

    #[command(flatten)]
    log: LogArgs,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a first configuration with a server key and one client; print the command that sets
    /// up the client
    Init(Init),
    /// Add, list, show, rotate, expire and remove the clients of the configuration
    Client {
        #[command(subcommand)]
        command: ClientCommand,
    },
    /// Print the server's public key, which a client without an invitation needs
    PublicKey(ConfigArg),
    /// Convert the configuration of the other port-knock daemon called knockd, by Judd Vinet
    ///
    /// Prints a configuration for this knockd. What cannot be converted becomes a comment with
    /// the reason and the way out. Port sequences cannot be converted: a client has a key
    /// instead, which `knockd client add` creates.
    ImportKnockd(ImportKnockd),
    /// Convert the configuration of fwknopd
    ///
    /// Prints a configuration for knockd, with a client for each stanza of access.conf. What cannot
    /// be converted becomes a comment with the reason and the way out. Keys cannot be converted, and
    /// are neither read into the result nor shown: each client is given a new one, which
    /// `knockd client rotate` creates.
    ImportFwknop(ImportFwknop),
    /// Validate the configuration and every file that it names; attach nothing
    Check(ConfigArg),
    /// Print a line `destination_port source_ip` for every SYN to the window
    Tap(Tap),
    /// Follow the running daemon: every packet of a knock, as seen by the kernel, and its outcome
    Tail(ViewArgs),
    /// Show the counters, interfaces and open doors of the running daemon
    Status(ViewArgs),
    /// Make the running daemon reload its configuration; an invalid one changes nothing
    Reload(DaemonArgs),
    /// Watch the running daemon on one screen: rates, open doors, outcome of each knock
    Top {
        #[command(flatten)]
        daemon: DaemonArgs,
        #[command(flatten)]
        options: top::Options,
    },
    /// Show the admitted addresses, their doors, and the remaining time
    Leases(ViewArgs),
    /// Show the accepted knocks: when, which client and door, from where, and how it ended
    ///
    /// Reads the files of the history in `state_dir`, whether knockd runs or not. Times are those
    /// of this host's time zone.
    History(History),
    /// Open a door manually, as if the address had knocked
    Open(Open),
    /// Close doors of an address at once
    Close(Close),
    /// Prepare and watch a fleet: several nodes whose knocks and doors are one
    Fleet {
        #[command(subcommand)]
        command: FleetCommand,
    },
    /// Remove the gate, which stays in force when knockd exits, and every lease in it
    Detach(Detach),
}

impl Cli {
    /// Parses the arguments of this process. Prints the help or an error and exits if they ask for it
    /// or are wrong.
    #[must_use]
    pub fn of_process() -> Self {
        Self::parse_from(argument_order::with_command_first(
            env::args_os(),
            &Self::command(),
        ))
    }

    /// Opens the log that the command line selects and returns its format.
    #[must_use]
    pub fn open_log(&self) -> LogFormat {
        self.log.open()
    }

    /// Runs the selected command.
    ///
    /// # Errors
    ///
    /// Returns an error with a message for the administrator. The process then exits with
    /// status 1.
    pub fn execute(self) -> Result<()> {
        let Some(command) = self.command else {
            return self.run.execute();
        };
        match command {
            Command::Init(init) => init.execute(),
            Command::Client { command } => command.execute(),
            Command::PublicKey(config) => server_key::print_public_key(&config),
            Command::ImportKnockd(import) => import.execute(),
            Command::ImportFwknop(import) => import.execute(),
            Command::Check(config) => check::check(&config),
            Command::Tap(tap) => tap.execute(),
            Command::Tail(watch) => tail::tail(&watch),
            Command::Status(watch) => status::status(&watch),
            Command::Reload(daemon) => reload::reload(&daemon),
            Command::Top { daemon, options } => {
                runtime::new()?.block_on(top::top(&daemon.socket(), &options))
            }
            Command::Leases(watch) => leases::leases(&watch),
            Command::History(history) => history.execute(),
            Command::Open(open) => open.execute(),
            Command::Close(close) => close.execute(),
            Command::Fleet { command } => command.execute(),
            Command::Detach(detach) => detach.execute(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sources_exclude_each_other() {
        assert!(Cli::try_parse_from(["knockd", "--iface", "eth0", "--iface", "eth1"]).is_ok());
        assert!(Cli::try_parse_from(["knockd", "--iface", "eth0", "--lines", "-"]).is_err());
        assert!(Cli::try_parse_from(["knockd", "--lines", "-", "status"]).is_err());
        assert!(Cli::try_parse_from(["knockd", "tap"]).is_err());
    }
}
