//! `knockd`, the port-knock daemon.

use std::{env, io, process::ExitCode};

use clap::Parser as _;
use knockd_cli::{Cli, LogFormat};

fn main() -> ExitCode {
    // The supervisor starts this program under this name as the listener.
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
            // The supervisor sends the log settings. Before that there is no log.
            if tracing::event_enabled!(tracing::Level::ERROR) {
                tracing::error!("{error:#}");
            } else {
                eprintln!("{}: {error:#}", knockd_listener::NAME);
            }
            ExitCode::FAILURE
        }
    }
}

/// Whether the reader of standard output has exited, as in `knockd tail | head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
