//! Converts the commands of `CMD_CYCLE_OPEN` and `CMD_CYCLE_CLOSE`.
//!
//! fwknopd replaces its variables in the text and splits the result at white space: quotes and
//! operators of a shell are characters like any other, see `build_cmd()` and `strtoargv()` in version
//! 2.6.11.

use knock_common::gate::Transport;
use knockd_types::rules::Port;
use thiserror::Error;

use crate::import::{
    command::{Command, Untranslatable},
    lines::is_space,
    shell::MARK,
};

/// Represents the door's time in seconds. The source contains no control characters.
const TIME_MARK: &str = "\u{1}";

/// Why a command cannot be converted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Unconvertible {
    #[error("$DST has no counterpart: write the address that the clients knock at in its place")]
    Destination,
    #[error("$TIMEOUT, a point in time, has no counterpart: use %FOR%, a number of seconds")]
    Deadline,
    #[error("$PORT and $PROTO are what the client asks for: name the ports with --open")]
    Port,
    #[error("it has no words")]
    Empty,
    #[error(transparent)]
    Shell(#[from] Untranslatable),
}

/// A variable of fwknopd.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Variable {
    Address,
    Destination,
    Port,
    Protocol,
    Deadline,
    Time,
}

/// In the order in which fwknopd compares them with the text after a `$`.
const VARIABLES: [(&str, Variable); 8] = [
    ("IP", Variable::Address),
    ("SRC", Variable::Address),
    ("PKT_SRC", Variable::Address),
    ("DST", Variable::Destination),
    ("PORT", Variable::Port),
    ("PROTO", Variable::Protocol),
    ("TIMEOUT", Variable::Deadline),
    ("CLIENT_TIMEOUT", Variable::Time),
];

/// Characters that mean something to a shell.
const SHELL: &str = "&|<>()`*?[]{}~\\'\"";

/// Whether the command in `text` depends on the port that a client asks for.
pub(super) fn uses_port(text: &str) -> bool {
    let is_port = |variable| matches!(variable, Some(Variable::Port | Variable::Protocol));
    pieces(text).any(|(variable, _)| is_port(variable))
}

/// The command in `text` for `port`, and what has to be said about it.
///
/// # Errors
///
/// Returns an error if the command depends on what a knock does not contain.
pub(super) fn command(
    text: &str,
    port: Option<Port>,
) -> Result<(Vec<String>, Vec<&'static str>), Unconvertible> {
    let mut expanded = String::new();
    let mut notes = Vec::new();
    for (index, (variable, rest)) in pieces(text).enumerate() {
        match variable {
            Some(Variable::Address) => expanded.push(MARK),
            Some(Variable::Destination) => return Err(Unconvertible::Destination),
            Some(Variable::Deadline) => return Err(Unconvertible::Deadline),
            Some(Variable::Time) => expanded.push_str(TIME_MARK),
            Some(Variable::Port) => {
                let port = port.ok_or(Unconvertible::Port)?;
                expanded.push_str(&port.number.to_string());
            }
            Some(Variable::Protocol) => {
                let port = port.ok_or(Unconvertible::Port)?;
                expanded.push_str(protocol(port));
            }
            // fwknopd drops the `$`.
            None if index > 0 => {
                notes.push("a `$` before no variable of fwknopd is dropped, as by fwknopd");
            }
            None => {}
        }
        expanded.push_str(rest);
    }
    if expanded.contains(|c: char| SHELL.contains(c)) {
        notes.push("quotes and operators of a shell are passed to the program as they are, as by fwknopd: use a script if that is not intended");
    }
    let words = expanded.split(is_space).filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(str::to_owned).collect();
    if words.is_empty() {
        return Err(Unconvertible::Empty);
    }
    let command = Command::of_words(words)?;
    notes.extend(command.note);
    notes.dedup();
    let argv = command.argv.iter();
    Ok((
        argv.map(|word| word.replace(TIME_MARK, "%FOR%")).collect(),
        notes,
    ))
}

/// The variables in `text`, each with the text after it. The first one is the text before all of
/// them, and has no variable, like what follows a `$` that begins none.
fn pieces(text: &str) -> impl Iterator<Item = (Option<Variable>, &str)> {
    text.split('$').enumerate().map(|(index, piece)| {
        VARIABLES
            .iter()
            .filter(|_| index > 0)
            .find_map(|(name, variable)| Some((Some(*variable), piece.strip_prefix(name)?)))
            .unwrap_or((None, piece))
    })
}

/// The number of the protocol in IP headers.
fn protocol(port: Port) -> &'static str {
    match port.transport {
        Transport::Tcp => "6",
        Transport::Udp => "17",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(text: &str) -> String {
        let (argv, _) = command(text, Some("udp/53".parse().unwrap())).unwrap();
        argv.join("|")
    }

    #[test]
    fn variables_become_placeholders_or_what_the_door_knows() {
        for (text, expected) in [
            ("/bin/touch /tmp/$IP", "/bin/touch|/tmp/%IP%"),
            ("x /tmp/2$IP_$PORT_$PROTOTEST", "x|/tmp/2%IP%_53_17TEST"),
            ("x $IP_$IP", "x|%IP%_%IP%"),
            ("x $SRC_$PKT_SRC $SRC$PKT_SRC", "x|%IP%_%IP%|%IP%%IP%"),
            ("echo 1$CLIENT_TIMEOUT1", "echo|1%FOR%1"),
            ("x 100% %IP% %FOR% $IP", "x|100%%|%%IP%%|%%FOR%%|%IP%"),
            ("  x \t y  ", "x|y"),
            ("x $HOME $ $$IP", "x|HOME|%IP%"),
        ] {
            assert_eq!(argv(text), expected, "{text}");
        }
    }

    #[test]
    fn there_is_no_shell_but_one_that_is_named() {
        assert_eq!(argv("echo '$IP' >> /x && y"), "echo|'%IP%'|>>|/x|&&|y");
        let (_, notes) = command("echo $IP > /x", None).unwrap();
        assert!(
            notes[0].starts_with("quotes and operators of a shell"),
            "{notes:?}"
        );
        let (argv, notes) = command("sh -c logger<$IP $IP", None).unwrap();
        assert_eq!(argv, ["sh", "-c", "logger<\"$KNOCK_IP\"", "%IP%"]);
        assert_eq!(notes.len(), 2);
        assert_eq!(
            command("sudo sh -c x;$IP", None),
            Err(Unconvertible::Shell(Untranslatable::HandedOn))
        );
    }

    #[test]
    fn what_a_knock_does_not_contain_cannot_be_converted() {
        for (text, expected) in [
            ("x $DST", Unconvertible::Destination),
            ("x $TIMEOUT", Unconvertible::Deadline),
            ("x $PORT", Unconvertible::Port),
            ("x $PROTO", Unconvertible::Port),
            (" ", Unconvertible::Empty),
        ] {
            assert_eq!(command(text, None), Err(expected), "{text}");
        }
        assert!(uses_port("x $IP$PROTO") && !uses_port("x $IP PORT"));
    }
}
