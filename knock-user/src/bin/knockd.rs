//! `knockd`, the port-knock daemon.

use std::{
    env,
    io::{self, Write as _},
    process::ExitCode,
};

use knockd_cli::{Cli, LogFormat, legible};

fn main() -> ExitCode {
    // The supervisor starts its other processes as the same program with their name.
    if let Some(name) = env::args_os().next() {
        if name == knockd_listener::NAME {
            return run(knockd_listener::NAME, knockd_listener::main);
        }
        if name == knockd_exporter::NAME {
            return run(knockd_exporter::NAME, knockd_exporter::main);
        }
        #[cfg(feature = "fleet")]
        if name == knockd_fleet::NAME {
            return run(knockd_fleet::NAME, knockd_fleet::main);
        }
    }
    let cli = Cli::of_process();
    let log = cli.open_log();
    match cli.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            if log == LogFormat::Text {
                complain(&format!("knockd: {error:#}"));
            } else {
                tracing::error!("{error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Runs the process `name`, which has no command line.
fn run(name: &str, main: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    match main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The supervisor sends the log settings. Before that there is no log.
            if tracing::event_enabled!(tracing::Level::ERROR) {
                tracing::error!("{error:#}");
            } else {
                complain(&format!("{name}: {error:#}"));
            }
            ExitCode::FAILURE
        }
    }
}

/// Prints the reason of a failure. If nothing reads it, the exit status is still right.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{}", legible(text));
}

/// Whether the reader of standard output has exited, as in `knockd tail | head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
