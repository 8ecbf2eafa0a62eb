//! Generates the manual page of a program with all of its commands from its command line.

use std::io;

use clap::Command;
use clap_mangen::Man;
use knockd_config::{DEFAULT_PATH, DEFAULT_PIN_DIR, DEFAULT_SOCKET, DEFAULT_STATE_DIR};

use crate::page::{MANUAL, Page};

const DAEMON: &str = "\
knockd waits for knocks and opens doors. A knock consists of 16 TCP SYNs to a window of 256 ports, on
which no service listens. Together the SYNs form one block that only a holder of the key can create.
An XDP program receives them before the firewall and sends no answer. A door runs a command, and
another one when its time is over; or it opens a port that the kernel keeps closed for all other
addresses (the gate); or both.

Without a command knockd runs in the foreground and logs to standard error. SIGTERM and SIGINT close
every open door and stop it. SIGHUP reloads the configuration. The gate stays in force after knockd
has exited for any reason, unless the configuration says otherwise; `knockd detach` removes it.";

/// The page of `knockd`.
pub(crate) fn daemon(command: Command) -> io::Result<String> {
    let command = command
        .long_about(DAEMON.replace('`', ""))
        .override_usage("knockd [OPTIONS]\nknockd COMMAND [OPTIONS]");
    let mut page = Page::default();
    page.section("FILES");
    for (path, what) in [
        (
            DEFAULT_PATH,
            "The configuration file. `knockd init` creates it.",
        ),
        (
            DEFAULT_STATE_DIR,
            "Persistent state: the replay store, the lease journal, and the history.",
        ),
        (DEFAULT_SOCKET, "The control socket of the running daemon."),
        (
            DEFAULT_PIN_DIR,
            "The pinned program and leases of the gate, which outlive the daemon.",
        ),
    ] {
        page.item(path, "", what);
    }
    page.section("EXIT STATUS");
    page.paragraph(
        "0 on success, 1 on failure, 2 if the command line is invalid. As the first process of a \
container, knockd exits with 128 and the number of the signal if one has ended the daemon.",
    );
    page.see_also(&[("knock", "1"), ("knockd.toml", "5"), ("systemctl", "1")]);
    program(command, "8", &page)
}

/// The page of `knock`.
pub(crate) fn client(command: Command) -> io::Result<String> {
    let mut page = Page::default();
    page.section("FILES");
    page.item(
        "~/.config/knock/knock.toml",
        "",
        "The profiles. `knock import` adds them.",
    );
    page.item(
        "~/.config/knock/keys",
        "",
        "The private keys of the profiles, one file each, with access for this user only.",
    );
    page.item(
        "~/.config/knock/pending",
        "",
        "The private keys of enrolments that wait for their invitation: `NAME@HOST.key`.",
    );
    page.see_also(&[("ssh_config", "5"), ("knockd", "8")]);
    program(command, "1", &page)
}

/// The page of `command`, followed by `rest`.
fn program(command: Command, section: &str, rest: &Page) -> io::Result<String> {
    let mut command = command
        .disable_help_subcommand(true)
        // An option that only `--help` shows would have no description here if it has a short one
        // alone.
        .mut_args(|argument| argument.hide_short_help(false));
    command.build();
    let man = Man::new(command.clone()).section(section).manual(MANUAL);
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    let mut text = String::from_utf8(text).map_err(io::Error::other)?;
    let mut page = Page::default();
    page.section("COMMANDS");
    text.push_str(&page.render());
    for command in command.get_subcommands() {
        subcommand(command, &mut text)?;
    }
    text.push_str(&after_help(&command).render());
    text.push_str(&rest.render());
    // Each part has its own preamble. Keep only one.
    let preamble = Page::default().render();
    Ok(preamble.clone() + &text.replace(&preamble, ""))
}

/// Adds the description and options of `command`, or of its subcommands.
fn subcommand(command: &Command, text: &mut String) -> io::Result<()> {
    if command.has_subcommands() {
        for command in command.get_subcommands() {
            subcommand(command, text)?;
        }
        return Ok(());
    }
    // Global options are described once, above.
    let command = command.clone().mut_args(|argument| {
        let common = argument.is_global_set() || argument.get_id() == "help";
        argument.hide(common)
    });
    let usage = command.clone().render_usage().to_string();
    let mut page = Page::default();
    page.subsection(usage.trim_start_matches("Usage: "));
    text.push_str(&page.render());
    let man = Man::new(command);
    text.push_str(&body(|text| man.render_description_section(text))?);
    text.push_str(&body(|text| man.render_options_section(text))?);
    Ok(())
}

/// A section without its heading.
fn body(section: impl FnOnce(&mut dyn io::Write) -> io::Result<()>) -> io::Result<String> {
    let mut text = Vec::new();
    section(&mut text)?;
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    let lines = text
        .split_once(".SH ")
        .and_then(|(_, text)| text.split_once('\n'));
    Ok(lines.map_or_else(String::new, |(_, body)| body.to_owned()))
}

/// The text after the options in `--help`. A paragraph that begins with one or two words and a
/// colon becomes a section; indented lines are preformatted.
fn after_help(command: &Command) -> Page {
    let text = command
        .get_after_long_help()
        .or_else(|| command.get_after_help())
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut page = Page::default();
    for paragraph in text.split("\n\n") {
        let paragraph = match paragraph.split_once(':') {
            Some((heading, rest))
                if heading.split_whitespace().count() <= 2 && !heading.starts_with(' ') =>
            {
                page.section(&heading.to_uppercase());
                rest.trim_start_matches('\n')
            }
            _ if paragraph.starts_with(' ') => paragraph,
            _ => {
                page.section("NOTES");
                paragraph
            }
        };
        if paragraph.starts_with("  ") {
            page.verbatim(paragraph);
        } else {
            page.paragraph(paragraph.trim());
        }
    }
    page
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    /// Every visible command and option.
    fn words(command: &Command) -> Vec<String> {
        let options = command
            .get_arguments()
            .filter(|option| !option.is_hide_set());
        let mut words: Vec<_> = options
            .filter_map(|option| Some(format!("--{}", option.get_long()?)))
            .collect();
        for command in command.get_subcommands() {
            words.push(command.get_name().to_owned());
            words.extend(self::words(command));
        }
        words
    }

    fn assert_complete(command: &Command, page: &str) {
        let words = words(command);
        assert!(words.len() > 10, "{words:?}");
        for word in words {
            let word = word.replace('-', r"\-");
            assert!(page.contains(&word), "{word} is not in the page");
        }
    }

    #[test]
    fn the_daemons_page_has_every_command_and_option() {
        let command = knockd_cli::Cli::command();
        assert_complete(&command, &daemon(command.clone()).unwrap());
    }

    #[test]
    fn the_clients_page_has_every_command_and_option() {
        let command = knock_client::Cli::command();
        assert_complete(&command, &client(command.clone()).unwrap());
    }
}
