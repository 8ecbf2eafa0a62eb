//! `knockd`, the port-knock daemon.

use std::{io, process::ExitCode};

use clap::Parser as _;
use knock_user::daemon::{cli::Cli, log::Format};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = cli.open_log();
    match cli.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if log == Format::Text {
                eprintln!("knockd: {error:#}");
            } else {
                tracing::error!("{error:#}");
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
