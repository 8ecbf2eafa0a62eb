//! Generates the manual pages and the shell completions (bash, zsh, fish) from the code.
//! `cargo xtask package` runs it. The programs themselves do not contain this code.
//!
//! With `--configuration-reference` it prints the key reference in docs/configuration.md instead.

mod configuration;
mod page;
mod program;

use std::{env, fs, path::Path};

use anyhow::{Context as _, Result};
use clap::{Command, CommandFactory as _};
use clap_complete::{Shell, generate_to};

fn main() -> Result<()> {
    let argument = env::args_os()
        .nth(1)
        .context("usage: knockd-manpages DIRECTORY | --configuration-reference")?;
    if argument == "--configuration-reference" {
        print!("{}", configuration::reference());
        return Ok(());
    }
    let folder = Path::new(&argument);
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    for (name, page) in [
        ("knock.1", program::client(knock_client::Cli::command())?),
        ("knockd.8", program::daemon(knockd_cli::Cli::command())?),
        ("knockd.toml.5", configuration::page()),
    ] {
        fs::write(folder.join(name), page).with_context(|| name.to_owned())?;
    }
    complete(knock_client::Cli::command(), folder)?;
    complete(knockd_cli::Cli::command(), folder)
}

/// Writes the completions of `command` to `folder`.
fn complete(mut command: Command, folder: &Path) -> Result<()> {
    let name = command.get_name().to_owned();
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut command, &name, folder)
            .with_context(|| format!("{name}: completion for {shell}"))?;
    }
    Ok(())
}
