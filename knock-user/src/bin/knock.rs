//! `knock`: knocks on a server that runs `knockd`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser as _;
use knock_user::client::{self, Cli};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match client::run(&cli, &mut io::stdout(), &mut io::stderr()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where even this cannot be said, the exit status still says it.
            let _ = writeln!(io::stderr(), "knock: {error:#}");
            ExitCode::FAILURE
        }
    }
}
