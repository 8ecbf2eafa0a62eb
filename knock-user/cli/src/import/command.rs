//! Converts the commands of other daemons.

use thiserror::Error;

use crate::import::shell::{self, ADDRESS, MARK, Refusal};

/// The commands of a door of the knockd by Judd Vinet, per address family. An empty text means no
/// command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Commands<'a> {
    pub(super) ipv4: &'a str,
    pub(super) ipv6: &'a str,
}

/// A converted command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// Program and arguments, with the placeholders of knockd.toml.
    pub(super) argv: Vec<String>,
    /// Explains a difference from the original command.
    pub(super) note: Option<&'static str>,
}

/// Why a command cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Untranslatable {
    /// The address cannot be substituted by a variable.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The address is part of a script for a shell that another program starts. This shell may
    /// not have the variable in its environment.
    #[error("it passes the address to a shell that another program starts")]
    HandedOn,
}

const SHELLS: [&str; 7] = ["ash", "bash", "dash", "ksh", "mksh", "sh", "zsh"];

/// Programs that pass their arguments to a shell.
const SHELL_STARTERS: [&str; 3] = ["runuser", "ssh", "su"];

const NEEDS_SHELL: &str = "needs a shell, which reads the address from $KNOCK_IP";
const TWO_FAMILIES: &str = "differs between IPv4 and IPv6, so a shell selects the command";

impl Commands<'_> {
    /// One command for both address families, or `None` if both are empty.
    ///
    /// # Errors
    ///
    /// Returns an error if the command cannot be converted.
    pub(super) fn translate(self) -> Result<Option<Command>, Untranslatable> {
        // Only what that daemon replaces is replaced.
        let marked = |text: &str| text.replace(ADDRESS, &MARK.to_string());
        let (ipv4, ipv6) = (marked(self.ipv4), marked(self.ipv6));
        if ipv4 == ipv6 {
            return match &ipv4[..] {
                "" => Ok(None),
                text => one(text).map(Some),
            };
        }
        // Only IPv6 addresses contain colons.
        let script = format!(
            "case \"$KNOCK_IP\" in\n*:*)\n{}\n;;\n*)\n{}\n;;\nesac",
            branch(&ipv6)?,
            branch(&ipv4)?
        );
        Ok(Some(Command::sh(&script, TWO_FAMILIES)))
    }
}

fn branch(text: &str) -> Result<String, Refusal> {
    match text {
        "" => Ok(":".into()),
        text => shell::script(text),
    }
}

fn one(text: &str) -> Result<Command, Untranslatable> {
    let Some(words) = shell::words(text) else {
        return Ok(Command::sh(&shell::script(text)?, NEEDS_SHELL));
    };
    Command::of_words(words)
}

impl Command {
    /// The command that consists of `words`, in which [`MARK`] represents the address.
    ///
    /// # Errors
    ///
    /// Returns an error if the words are a shell and its script, and the address in the script cannot
    /// be replaced by a variable.
    pub(super) fn of_words(words: Vec<String>) -> Result<Self, Untranslatable> {
        let (words, note) = with_nested_script(words)?;
        Ok(Self {
            argv: words.iter().map(|word| template(word)).collect(),
            note,
        })
    }

    fn sh(script: &str, note: &'static str) -> Self {
        Self {
            argv: vec!["/bin/sh".into(), "-c".into(), template(script)],
            note: Some(note),
        }
    }
}

/// `text` with [`MARK`] replaced by the placeholder for the address, and percent signs escaped.
fn template(text: &str) -> String {
    text.replace('%', "%%").replace(MARK, ADDRESS)
}

/// Replaces the address by the variable in a word that is a script for a shell.
fn with_nested_script(
    mut words: Vec<String>,
) -> Result<(Vec<String>, Option<&'static str>), Untranslatable> {
    let Some(starter) = words.iter().position(|word| starts_shell(word)) else {
        return Ok((words, None));
    };
    let has_text = words.iter().any(|word| is_text(word));
    match nested_script(&mut words[starter..]) {
        Some(script) if !script.contains(MARK) => Ok((words, None)),
        Some(script) if starter == 0 => {
            *script = shell::script(script)?;
            Ok((words, Some(NEEDS_SHELL)))
        }
        None if !has_text => Ok((words, None)),
        // The starting program may clear the environment, as sudo does.
        _ => Err(Untranslatable::HandedOn),
    }
}

/// The script in `sh -c SCRIPT`. Other options may precede `-c`.
fn nested_script(words: &mut [String]) -> Option<&mut String> {
    let (shell, arguments) = words.split_first_mut()?;
    if !SHELLS.contains(&file_name(shell)) {
        return None;
    }
    let mut arguments = arguments.iter_mut();
    arguments
        .by_ref()
        .take_while(|word| word.starts_with('-') && !word.starts_with("--"))
        .find(|option| option.contains('c'))?;
    arguments.next()
}

fn starts_shell(word: &str) -> bool {
    let name = file_name(word);
    SHELLS.contains(&name) || SHELL_STARTERS.contains(&name)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether `word` contains the address and is more than an address, an option or a path.
fn is_text(word: &str) -> bool {
    let is_plain = |c: char| c.is_alphanumeric() || c == MARK || "-_./:=,@%+".contains(c);
    word.contains(MARK) && !word.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(text: &str) -> Result<Option<Command>, Untranslatable> {
        let (ipv4, ipv6) = (text, text);
        Commands { ipv4, ipv6 }.translate()
    }

    fn argv(text: &str) -> Vec<String> {
        both(text).unwrap().unwrap().argv
    }

    #[test]
    fn a_plain_command_is_its_words_with_our_placeholders() {
        assert_eq!(
            argv("/sbin/iptables -A INPUT -s %IP% --comment '100% %DOOR% %IP%'"),
            [
                "/sbin/iptables",
                "-A",
                "INPUT",
                "-s",
                "%IP%",
                "--comment",
                "100%% %%DOOR%% %IP%"
            ]
        );
        assert_eq!(both("x %IP%").unwrap().unwrap().note, None);
        assert_eq!(both(""), Ok(None));
        assert_eq!(argv("x '%I''P%' %%IP%IP%"), ["x", "%%IP%%", "%%%IP%IP%%"]);
    }

    #[test]
    fn a_shell_finds_the_address_in_a_variable() {
        let command = both("iptables -A INPUT -s %IP%; date +%s >> '/log/%IP%'")
            .unwrap()
            .unwrap();
        assert_eq!(
            command.argv,
            [
                "/bin/sh",
                "-c",
                r#"iptables -A INPUT -s "$KNOCK_IP"; date +%%s >> '/log/'"$KNOCK_IP"''"#
            ]
        );
        assert_eq!(command.note, Some(NEEDS_SHELL));
        assert_eq!(
            both("echo `whois %IP%`"),
            Err(Untranslatable::Refused(Refusal::Unclear))
        );
    }

    #[test]
    fn a_shell_in_the_command_finds_it_there_too() {
        assert_eq!(
            argv("/bin/bash -e -c 'open %IP%; log \"%IP%\"' name %IP%"),
            [
                "/bin/bash",
                "-e",
                "-c",
                r#"open "$KNOCK_IP"; log "${KNOCK_IP}""#,
                "name",
                "%IP%"
            ]
        );
        assert_eq!(
            argv("sh -c 'echo 1; echo 2'"),
            ["sh", "-c", "echo 1; echo 2"]
        );
        // Arguments of a script file are not a script.
        assert_eq!(
            argv("sh /root/open.sh -c %IP%"),
            ["sh", "/root/open.sh", "-c", "%IP%"]
        );
        assert_eq!(argv("sudo -u fw sh /root/open.sh %IP%")[5], "%IP%");
        assert_eq!(argv("logger 'open for %IP%'"), ["logger", "open for %IP%"]);
        for text in [
            "sudo sh -c 'open %IP%'",
            "ssh fw 'open %IP%'",
            "su fw -c \"open %IP%\"",
        ] {
            assert_eq!(both(text), Err(Untranslatable::HandedOn), "{text}");
        }
    }

    #[test]
    fn two_families_are_told_apart_by_a_shell() {
        let commands = Commands {
            ipv4: "echo 4 %IP%",
            ipv6: "echo 6 %IP% # in time",
        };
        let command = commands.translate().unwrap().unwrap();
        let output = |address: &str| {
            let mut sh = std::process::Command::new(&command.argv[0]);
            sh.args(&command.argv[1..]).env("KNOCK_IP", address);
            String::from_utf8(sh.output().unwrap().stdout).unwrap()
        };
        assert_eq!(output("192.0.2.7"), "4 192.0.2.7\n");
        assert_eq!(output("2001:db8::7"), "6 2001:db8::7\n");
        let (ipv4, ipv6) = ("", "echo %IP%");
        let only_ipv6 = Commands { ipv4, ipv6 }.translate().unwrap().unwrap();
        assert!(only_ipv6.argv[2].contains("*)\n:\n"), "{only_ipv6:?}");
    }
}
