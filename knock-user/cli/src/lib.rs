//! The command line of `knockd`.

mod check;
mod control;
mod import;
mod init;
mod tap;
pub mod top;

use std::{net::IpAddr, path::PathBuf, time::Duration};

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use knock_common::{settings::Verdict, window::Window};
use knockd_config::{
    self as config, Config, DEFAULT_PATH, DEFAULT_PIN_DIR, DEFAULT_SOCKET, DEFAULT_STATE_DIR,
    metrics, template::Template,
};
pub use knockd_runtime::log::Format as LogFormat;
use knockd_runtime::{account, log};
use knockd_supervisor::{self as supervisor, exec, origin::Origin};
use knockd_types::{
    control::{CloseRequest, OpenRequest},
    interface::Wanted,
    policy::Secret,
};
use knockd_xdp::pins::PinDir;
use qrcode::{QrCode, render::unicode::Dense1x2};
use tracing::{info, warn};
use tracing_subscriber::filter::LevelFilter;

use self::{check::session, init::NewClient, tap::tap};

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

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Args, Debug)]
struct Run {
    /// Listen on this interface, or on `any`; overrides the configuration; may be repeated
    #[arg(long = "iface", value_name = "IF", conflicts_with = "lines")]
    interfaces: Vec<String>,

    /// Read knocks from lines `destination_port source_ip` instead; `-` is standard input
    #[arg(long, value_name = "FILE")]
    lines: Option<PathBuf>,

    #[command(flatten)]
    config: ConfigArg,

    /// Show what would happen: drop nothing, run no command, keep no state
    #[arg(long)]
    dry_run: bool,

    /// The log level of standard error
    #[arg(long, value_name = "LEVEL", default_value = "info", global = true)]
    log: LogLevel,

    /// The log format [default: journal if standard error is connected to it, else text]
    #[arg(long, value_name = "FORMAT", global = true)]
    log_format: Option<log::Format>,
}

#[derive(Args, Debug)]
struct ConfigArg {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    config: PathBuf,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a first configuration with one client and its key; print the command that sets up
    /// the client
    Init {
        #[command(flatten)]
        config: ConfigArg,
        /// The directory of the replay store and the lease journal
        #[arg(long, value_name = "DIR", default_value = DEFAULT_STATE_DIR)]
        state_dir: PathBuf,
        /// The client's name
        #[arg(long, value_name = "NAME", default_value = "laptop")]
        client: String,
        #[command(flatten)]
        invitation: InvitationArgs,
    },
    /// Add a client to the configuration
    Client {
        #[command(subcommand)]
        command: ClientCommand,
    },
    /// Convert the configuration of the other port-knock daemon called knockd, by Judd Vinet
    ///
    /// Prints a configuration for this knockd. What cannot be converted becomes a comment with
    /// the reason and the way out. Port sequences cannot be converted: a client has a key
    /// instead, which `knockd client add` creates.
    ImportKnockd {
        /// The configuration to convert; it is not changed
        #[arg(value_name = "SOURCE", default_value = import::DEFAULT_SOURCE)]
        source: PathBuf,
        /// Write to this new file (mode 0600) instead of standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Validate the configuration and every file that it names; attach nothing
    Check(ConfigArg),
    /// Print a line `destination_port source_ip` for every SYN to the window
    Tap {
        /// Listen on this interface; may be repeated
        #[arg(long = "iface", value_name = "IF", required = true)]
        interfaces: Vec<String>,
        /// The first of the window's 256 ports
        #[arg(long, value_name = "PORT", default_value_t = Window::DEFAULT.base())]
        base: u16,
        /// Pass the SYNs to the host instead of dropping them
        #[arg(long)]
        pass: bool,
    },
    /// Follow the running daemon: every SYN, as seen by the kernel, and its outcome
    Tail(Watch),
    /// Show the counters, interfaces and open doors of the running daemon
    Status(Watch),
    /// Make the running daemon reload its configuration; an invalid one changes nothing
    Reload(Reach),
    /// Watch the running daemon on one screen: rates, open doors, outcome of each knock
    Top {
        #[command(flatten)]
        daemon: Reach,
        #[command(flatten)]
        options: top::Options,
    },
    /// Show the admitted addresses, their doors, and the remaining time
    Leases(Watch),
    /// Open a door manually, as if the address had knocked
    Open {
        /// The source address
        #[arg(value_name = "IP")]
        source: IpAddr,
        /// The name of the door
        door: String,
        /// How long, such as 30s or 10m [default: the door's `for`]
        #[arg(long = "for", value_name = "TIME", value_parser = lease)]
        lease: Option<Duration>,
        #[command(flatten)]
        daemon: Reach,
    },
    /// Close doors of an address at once
    Close {
        /// The source address
        #[arg(value_name = "IP")]
        source: IpAddr,
        /// The name of the door [default: every door]
        door: Option<String>,
        #[command(flatten)]
        daemon: Reach,
    },
    /// Remove the gate, which stays in force when knockd exits, and every lease in it
    Detach(ConfigArg),
}

#[derive(Debug, Subcommand)]
enum ClientCommand {
    /// Create a key for another client and print the command that sets up the client
    Add {
        /// The client's name
        name: String,
        #[command(flatten)]
        config: ConfigArg,
        #[command(flatten)]
        invitation: InvitationArgs,
    },
}

/// The printed command contains the client's key: give it to nobody else.
#[derive(Args, Debug)]
struct InvitationArgs {
    /// The name or address by which the client reaches this server [default: the host name]
    #[arg(long, value_name = "HOST")]
    server: Option<String>,
    /// Also print the knock:// address as a QR code
    #[arg(long)]
    qr: bool,
}

/// How to reach the running daemon.
#[derive(Args, Debug)]
struct Reach {
    /// The control socket of the daemon [default: `control_socket` in the configuration]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Args, Debug)]
struct Watch {
    #[command(flatten)]
    daemon: Reach,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogLevel {
    /// Only problems that need an administrator
    Error,
    /// Also problems that the daemon recovers from
    Warn,
    /// Also opened and closed doors, the output of their commands, and rate-limited refusals
    Info,
    /// Also every refusal with its reason
    Debug,
}

impl From<LogLevel> for LevelFilter {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
        }
    }
}

impl Cli {
    /// Opens the log that the command line selects and returns its format.
    #[must_use]
    pub fn open_log(&self) -> log::Format {
        log::init(self.run.log.into(), self.run.log_format)
    }

    /// Runs the selected command.
    ///
    /// # Errors
    ///
    /// Returns an error with a message for a person. The process then exits with status 1.
    pub fn execute(self) -> Result<()> {
        match self.command {
            None => self.run.execute(),
            Some(Command::Init {
                config,
                state_dir,
                client,
                invitation,
            }) => {
                let client = NewClient::new(&client, invitation.server)?;
                let uri = init::init(&config.config, &state_dir, client)?;
                invite(&uri, invitation.qr)
            }
            Some(Command::Client {
                command:
                    ClientCommand::Add {
                        name,
                        config,
                        invitation,
                    },
            }) => {
                let client = NewClient::new(&name, invitation.server)?;
                let uri = init::add_client(&config.config, client)?;
                info!("run `knockd reload` to add client {name:?} to a running knockd");
                invite(&uri, invitation.qr)
            }
            Some(Command::ImportKnockd { source, output }) => {
                import::import(&source, output.as_deref())
            }
            Some(Command::Check(config)) => config.check(),
            Some(Command::Tap {
                interfaces,
                base,
                pass,
            }) => {
                let window = Window::new(base)?;
                let verdict = if pass { Verdict::Pass } else { Verdict::Drop };
                runtime()?.block_on(tap(&interfaces, window, verdict))
            }
            Some(Command::Tail(watch)) => control::tail(&watch.daemon.socket(), watch.json),
            Some(Command::Status(watch)) => control::status(&watch.daemon.socket(), watch.json),
            Some(Command::Reload(daemon)) => control::reload(&daemon.socket()),
            Some(Command::Top { daemon, options }) => {
                runtime()?.block_on(top::top(&daemon.socket(), &options))
            }
            Some(Command::Leases(watch)) => control::leases(&watch.daemon.socket(), watch.json),
            Some(Command::Open {
                source,
                door,
                lease,
                daemon,
            }) => {
                let request = OpenRequest {
                    source,
                    door,
                    seconds: lease.map(|lease| lease.as_secs()),
                };
                control::open(&daemon.socket(), &request)
            }
            Some(Command::Close {
                source,
                door,
                daemon,
            }) => control::close(&daemon.socket(), &CloseRequest { source, door }),
            Some(Command::Detach(config)) => detach(&config),
        }
    }
}

/// Prints the command that sets up a client, and its QR code.
fn invite(uri: &str, qr: bool) -> Result<()> {
    println!("knock import {uri}");
    if qr {
        let code = QrCode::new(uri)?;
        println!("{}", code.render::<Dense1x2>().build());
    }
    Ok(())
}

impl Reach {
    fn socket(&self) -> PathBuf {
        self.socket
            .clone()
            .or_else(|| config::control_socket(&self.config.config))
            .unwrap_or_else(|| DEFAULT_SOCKET.into())
    }
}

impl ConfigArg {
    fn load(&self) -> Result<Config> {
        let config = Config::load(&self.config)?;
        let classic = config
            .clients
            .iter()
            .filter(|client| matches!(client.secret, Secret::Classic(_)));
        for client in classic {
            warn!(
                "client {:?} uses the classic protocol: anyone who records a knock can replay it",
                client.name
            );
        }
        if let Some(warning) = config.metrics.as_ref().and_then(metrics::Settings::warning) {
            warn!("{warning}");
        }
        Ok(config)
    }

    fn check(&self) -> Result<()> {
        let config = self.load()?;
        for door in &config.doors {
            for (key, command) in [("run", door.run.as_ref()), ("close", door.close.as_ref())] {
                if let Some(program) = command.and_then(Template::program)
                    && !exec::is_there(program)
                {
                    warn!(
                        "door {:?}: {key}: the program {program:?} does not exist",
                        door.name
                    );
                }
            }
        }
        if let Some(warning) = account::warning(config.user.as_ref()) {
            warn!("{warning}");
        }
        for port in config.unreachable_ports() {
            warn!("{port}: the gate admits no address: no door opens it and no network is trusted");
        }
        if let Some(warning) = session::warning(&config) {
            warn!("{warning}");
        }
        println!(
            "{}: valid. Window {} to {}, clients: {}, doors: {}",
            self.config.display(),
            config.window.base(),
            config.window.port(u8::MAX),
            names(config.clients.iter().map(|client| &client.name)),
            names(config.doors.iter().map(|door| &door.name)),
        );
        Ok(())
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

impl Run {
    fn execute(self) -> Result<()> {
        keep_secrets_out_of_dumps();
        let mut config = self.config.load()?;
        let interfaces = (!self.interfaces.is_empty()).then(|| Wanted::new(self.interfaces));
        if let Some(interfaces) = &interfaces {
            config.interfaces.clone_from(interfaces);
        }
        let origin = Origin {
            path: self.config.config.clone(),
            interfaces,
        };
        if config.interfaces.is_empty() && self.lines.is_none() {
            bail!(
                "no interface to listen on: give --iface IF, or set `interfaces` in {}",
                self.config.config.display()
            );
        }
        if let Some(warning) = session::warning(&config) {
            warn!("{warning}");
        }
        let result = runtime()?.block_on(async {
            if self.dry_run {
                supervisor::dry_run(config, origin, self.lines).await
            } else {
                supervisor::serve(config, origin, self.lines).await
            }
        });
        info!("stopped");
        result
    }
}

/// Disables core dumps and ptrace by unprivileged processes (`PR_SET_DUMPABLE` in prctl(2)): this
/// process holds the keys.
fn keep_secrets_out_of_dumps() {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};

    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        warn!("core dumps cannot be disabled: {error}");
    }
}

/// Removes the gate. This has to work with an invalid configuration: in this case it removes the
/// pins in the default directory only.
fn detach(config: &ConfigArg) -> Result<()> {
    match Config::load(&config.config) {
        Ok(config) => runtime()?.block_on(supervisor::detach(config)),
        Err(error) => {
            let socket = config::control_socket(&config.config);
            if control::is_running(&socket.unwrap_or_else(|| DEFAULT_SOCKET.into())) {
                bail!("knockd is running: stop it first");
            }
            warn!("{error:#}");
            warn!(
                "without a valid configuration, `close` is not run and only {DEFAULT_PIN_DIR} is cleared"
            );
            PinDir::at(DEFAULT_PIN_DIR.as_ref()).detach();
            Ok(())
        }
    }
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if lease < Duration::from_secs(1) || lease.subsec_nanos() != 0 {
        return Err("a lease has to be a whole number of seconds, at least one".into());
    }
    Ok(lease)
}

/// One thread is enough: everything that takes time runs in another process or in the kernel.
fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

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
