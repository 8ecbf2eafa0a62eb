//! Options before the command, as in `knockd --config FILE check`.

use std::ffi::{OsStr, OsString};

use clap::Command;

/// The options that most commands have too.
const SHARED: [&str; 4] = ["--config", "--log", "--log-format", "--socket"];

/// `arguments` with the options before the command of `cli` behind everything else, where the command
/// takes or refuses them. Other arguments stay as they are.
pub(crate) fn with_command_first(
    arguments: impl IntoIterator<Item = OsString>,
    cli: &Command,
) -> Vec<OsString> {
    let mut arguments: Vec<_> = arguments.into_iter().collect();
    let mut command = 1;
    while let Some(option) = arguments.get(command).and_then(|one| one.to_str()) {
        let name = option.split('=').next().unwrap_or_default();
        if !SHARED.contains(&name) {
            break;
        }
        command += if name == option { 2 } else { 1 };
    }
    let names = |name: &OsStr| cli.get_subcommands().any(|one| one.get_name() == name);
    if arguments.get(command).is_some_and(|name| names(name)) {
        arguments[1..].rotate_left(command - 1);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn reordered(line: &str) -> String {
        let words = line.split(' ').map(OsString::from);
        let words = with_command_first(words, &crate::Cli::command());
        let words: Vec<_> = words.iter().map(|word| word.to_str().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn options_move_behind_the_command() {
        for (given, taken) in [
            ("knockd --config a check", "knockd check --config a"),
            (
                "knockd --log=debug --config a client add b --qr",
                "knockd client add b --qr --log=debug --config a",
            ),
            ("knockd --socket /x status", "knockd status --socket /x"),
            ("knockd check --config a", "knockd check --config a"),
            ("knockd --config check", "knockd --config check"),
            ("knockd --config a --iface b", "knockd --config a --iface b"),
            // The daemon's own options belong to no command.
            ("knockd --iface a check", "knockd --iface a check"),
            ("knockd --lines - status", "knockd --lines - status"),
            ("knockd --config", "knockd --config"),
            ("knockd", "knockd"),
        ] {
            assert_eq!(reordered(given), taken);
        }
    }
}
