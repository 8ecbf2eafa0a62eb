//! `knockd`, the port-knock daemon.

use std::{env, io, process::ExitCode};

use clap::Parser as _;
use knockd_cli::{Cli, LogFormat};

fn main() -> ExitCode {
    // How knockd starts the process that faces the network.
    if env::args_os()
        .next()
        .is_some_and(|name| name == knockd_listener::NAME)
    {
        return listen();
    }
    let cli = Cli::parse();
    let log = cli.open_log();
    match cli.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if log == LogFormat::Text {
                eprintln!("knockd: {error:#}");
            } else {
                tracing::error!("{error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn listen() -> ExitCode {
    match knockd_listener::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where the log goes is not known from the beginning.
            if tracing::event_enabled!(tracing::Level::ERROR) {
                tracing::error!("{error:#}");
            } else {
                eprintln!("{}: {error:#}", knockd_listener::NAME);
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether the reader of standard output has seen enough, as in `knockd tail | head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
