//! `knock`: knocks on a server that runs `knockd`.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use knock_client::{Cli, Console, redacted};

fn main() -> ExitCode {
    let cli = match Cli::of_program() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let (mut out, mut notes) = (io::stdout(), io::stderr());
    let mut console = Console::new(&mut out, &mut notes, io::stderr().is_terminal());
    let result = client::run(&cli, &mut console);
    // Before the error, which would otherwise stand in the line that moves.
    drop(console);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("knock: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with the command line, or shows the help that it asks for.
fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if error.use_stderr() && redacted(&text) != text {
        complain(&text);
    } else {
        // Where even this cannot be said, the exit status still says it.
        let _ = error.print();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn complain(text: &str) {
    let _ = io::stderr().write_all(redacted(text).as_bytes());
}
