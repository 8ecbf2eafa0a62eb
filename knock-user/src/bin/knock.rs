//! The client `knock`, which knocks on a server that runs `knockd`.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use knock_client::{Cli, Console, legible, redacted};

fn main() -> ExitCode {
    let cli = match Cli::of_program() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let (mut out, mut notes) = (io::stdout(), io::stderr());
    let mut console = Console::new(&mut out, &mut notes, io::stderr().is_terminal());
    let result = knock_client::run(&cli, &mut console);
    // Removes the progress line, so that the error does not appear in it.
    drop(console);
    match result {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            let error = legible(&format!("{error:#}"));
            complain(&format!("knock: {error}\n"));
            ExitCode::from(cli.failure_status())
        }
    }
}

/// Prints the error of the command line parser, or the help text that was requested.
fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if error.use_stderr() && redacted(&text) != text {
        complain(&text);
    } else {
        // If this fails, the exit status still reports the error.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn complain(text: &str) {
    let _ = io::stderr().write_all(redacted(text).as_bytes());
}
