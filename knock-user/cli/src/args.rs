//! Arguments that several commands share.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use knockd_config::{Config, DEFAULT_PATH, DEFAULT_SOCKET, metrics};
use knockd_runtime::log;
use knockd_types::policy::Secret;
use tracing::warn;
use tracing_subscriber::filter::LevelFilter;

use crate::patience;

#[derive(Args, Debug)]
pub(crate) struct ConfigArg {
    /// The configuration file
    #[arg(long = "config", value_name = "FILE", default_value = DEFAULT_PATH)]
    pub(crate) path: PathBuf,
}

impl ConfigArg {
    /// Loads the configuration and logs its warnings.
    ///
    /// # Errors
    ///
    /// Returns an error if the configuration cannot be read or is invalid.
    pub(crate) fn load(&self) -> Result<Config> {
        let config = patience::load(&self.path)?;
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

    /// The control socket in the configuration, or the default one if the configuration cannot be
    /// read or does not set it.
    pub(crate) fn control_socket(&self) -> PathBuf {
        knockd_config::control_socket(&self.path).unwrap_or_else(|| DEFAULT_SOCKET.into())
    }
}

/// How to reach the running daemon.
#[derive(Args, Debug)]
pub(crate) struct DaemonArgs {
    /// The control socket of the daemon [default: `control_socket` in the configuration]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArg,
}

impl DaemonArgs {
    /// The path of the control socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket
            .clone()
            .unwrap_or_else(|| self.config.control_socket())
    }
}

#[derive(Args, Debug)]
pub(crate) struct ViewArgs {
    #[command(flatten)]
    pub(crate) daemon: DaemonArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// The log level of standard error
    #[arg(
        long = "log",
        value_name = "LEVEL",
        default_value = "info",
        global = true
    )]
    level: LogLevel,

    /// The log format [default: journal if standard error is connected to it, else text]
    #[arg(long = "log-format", value_name = "FORMAT", global = true)]
    format: Option<log::Format>,
}

impl LogArgs {
    /// Opens the log and returns its format.
    pub(crate) fn open(&self) -> log::Format {
        log::init(self.level.into(), self.format)
    }
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
