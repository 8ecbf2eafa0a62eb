//! `knockd`, the port-knock daemon.

use std::{io, process::ExitCode};

use clap::Parser as _;
use knock_user::daemon::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("knockd: {error:#}");
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
