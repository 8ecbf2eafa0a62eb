//! Converts a section of the other knockd to a door.

use crate::import::{
    command::{Command, Commands},
    knockd::source::{Directive, Section},
    text::leading_number,
};

/// The other knockd's default of `Cmd_Timeout`, in seconds.
const DEFAULT_TIMEOUT: u64 = 10;

/// The maximum of a door's `for`, in seconds: 365 days.
const MAX_TIMEOUT: u64 = 365 * 24 * 60 * 60;

/// A converted or skipped section.
#[derive(Debug)]
pub(super) struct Door {
    /// The line where the section begins.
    pub(super) line: usize,
    /// The section's name.
    pub(super) section: String,
    /// What was skipped or changed, and the way out.
    pub(super) notes: Vec<String>,
    /// The door's commands, or the reason why it is skipped.
    pub(super) work: Result<Work, String>,
    /// The interfaces that the section names.
    pub(super) interfaces: Vec<String>,
}

/// The commands of a door.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) run: Command,
    pub(super) close: Option<Command>,
    /// The door's `for`, in seconds.
    pub(super) seconds: u64,
}

/// The directives that are converted. Of duplicates the last one counts.
#[derive(Default)]
struct Directives<'a> {
    start: Option<&'a Directive>,
    start_ipv6: Option<&'a Directive>,
    stop: Option<&'a Directive>,
    stop_ipv6: Option<&'a Directive>,
    timeout: Option<&'a Directive>,
}

impl<'a> Directives<'a> {
    fn all(&self) -> impl Iterator<Item = &'a Directive> {
        let all = [
            self.start,
            self.start_ipv6,
            self.stop,
            self.stop_ipv6,
            self.timeout,
        ];
        all.into_iter().flatten()
    }
}

impl From<&Section> for Door {
    fn from(section: &Section) -> Self {
        let mut door = Self {
            line: section.line,
            section: section.name.clone(),
            notes: Vec::new(),
            work: Err(String::new()),
            interfaces: Vec::new(),
        };
        let mut directives = Directives::default();
        for directive in &section.directives {
            door.take(directive, &mut directives);
        }
        door.work = door.work(&directives);
        if door.work.is_err() {
            for directive in directives.all() {
                door.note(directive, "is skipped with the door");
            }
        }
        door
    }
}

impl Door {
    fn note(&mut self, directive: &Directive, message: &str) {
        let Directive { line, key, .. } = directive;
        self.notes.push(format!("line {line}: {key}: {message}"));
    }

    /// Stores `directive` in `directives`, or notes why it is skipped.
    fn take<'a>(&mut self, directive: &'a Directive, directives: &mut Directives<'a>) {
        let place = match &directive.key[..] {
            "start_command" | "command" => &mut directives.start,
            "start_command_6" | "command_6" => &mut directives.start_ipv6,
            "stop_command" => &mut directives.stop,
            "stop_command_6" => &mut directives.stop_ipv6,
            "cmd_timeout" => &mut directives.timeout,
            _ => return self.leave_out(directive),
        };
        if let Some(before) = place.replace(directive) {
            let message = format!(
                "is overridden by line {}, since the last one counts",
                directive.line
            );
            self.note(before, &message);
        }
        if !directive.is_utf8 {
            self.note(
                directive,
                "is not UTF-8 and was read as Latin-1: check the command",
            );
        }
    }

    fn leave_out(&mut self, directive: &Directive) {
        let value = &directive.value;
        let message = match &directive.key[..] {
            "sequence" => format!(
                "had {} ports, which stay a secret: see the top of this file",
                value.split(',').count()
            ),
            "one_time_sequences" => {
                format!("{value:?} is not needed: a knock is single-use")
            }
            "seq_timeout" | "timeout" => format!(
                "{value:?} applied to the port sequence; the limit for a knock is `sequence_timeout`"
            ),
            "tcpflags" => {
                format!("{value:?} is not needed: a knock consists of SYNs only")
            }
            "target" => format!(
                "{value:?} has no counterpart: a knock may go to any address; on a router, see `window.verdict`"
            ),
            "interface" => {
                self.interfaces.push(value.clone());
                "every door listens on all of `interfaces`".into()
            }
            "usesyslog" | "logfile" | "pidfile" => "belongs to [options]".into(),
            key => {
                let (line, key) = (directive.line, key.escape_debug());
                self.notes.push(format!("line {line}: {key}: unknown key"));
                return;
            }
        };
        self.note(directive, &message);
    }

    fn work(&mut self, directives: &Directives<'_>) -> Result<Work, String> {
        let value = |directive: Option<&Directive>| {
            directive.map_or("", |found| &found.value[..]).to_owned()
        };
        // Without an IPv6 directive the IPv4 command applies. An empty directive means no command.
        let start = value(directives.start);
        let start_ipv6 = value(directives.start_ipv6.or(directives.start));
        let mut stop = value(directives.stop);
        let mut stop_ipv6 = value(directives.stop_ipv6.or(directives.stop));
        let run = self
            .command("run", &start, &start_ipv6)?
            .ok_or("it has no command")?;
        // The other knockd runs no stop command where no start command ran.
        let ipv4 = (&start, &mut stop, directives.stop);
        let ipv6 = (&start_ipv6, &mut stop_ipv6, directives.stop_ipv6);
        for (start, stop, directive) in [ipv4, ipv6] {
            if start.is_empty() && !stop.is_empty() {
                stop.clear();
                if let Some(directive) = directive {
                    self.note(directive, "is not run for a family without a start_command");
                }
            }
        }
        let close = self.command("close", &stop, &stop_ipv6)?;
        let seconds = self.seconds(directives.timeout, close.is_some());
        Ok(Work {
            run,
            close,
            seconds,
        })
    }

    /// The converted command for `key` in knockd.toml.
    fn command(&mut self, key: &str, ipv4: &str, ipv6: &str) -> Result<Option<Command>, String> {
        let command = Commands { ipv4, ipv6 }.translate().map_err(|error| {
            format!(
                "the command for `{key}` cannot be converted: {error}. Move it to a script, which reads the address from $KNOCK_IP, and write a [[door]] that runs the script"
            )
        })?;
        if let Some(note) = command.as_ref().and_then(|command| command.note) {
            self.notes.push(format!("`{key}` {note}"));
        }
        if [ipv4, ipv6].iter().any(|text| text.contains("sleep")) {
            let killed = "is killed after `limits.command_timeout`, including sleeps";
            let instead = "use `close` and `for` for what follows the sleep";
            self.notes.push(format!("`{key}` {killed}: {instead}"));
        }
        Ok(command)
    }

    /// The door's `for`, in seconds.
    fn seconds(&mut self, timeout: Option<&Directive>, is_closed: bool) -> u64 {
        if !is_closed {
            if let Some(timeout) = timeout {
                self.note(timeout, "has no effect without a stop_command");
            }
            // A knock for an open door runs nothing, but the other knockd runs the command on
            // every knock: keep the door open as briefly as possible.
            return 1;
        }
        let Some(timeout) = timeout else {
            return DEFAULT_TIMEOUT;
        };
        let read = leading_number(&timeout.value);
        let seconds = u64::try_from(read).unwrap_or(0).clamp(1, MAX_TIMEOUT);
        if timeout.value != seconds.to_string() {
            let message = format!("{:?} becomes {seconds}s: check `for`", timeout.value);
            self.note(timeout, &message);
        }
        seconds
    }

    /// Whether this door seems to undo what `other` does.
    pub(super) fn seems_to_close(&self, other: &Self) -> bool {
        let (Ok(ours), Ok(theirs)) = (&self.work, &other.work) else {
            return false;
        };
        let after = |name: &str, prefix: &str| {
            let (start, rest) = name.split_at_checked(prefix.len())?;
            start.eq_ignore_ascii_case(prefix).then(|| rest.to_owned())
        };
        let closed = after(&self.section, "close");
        let same_names = closed.is_some() && closed == after(&other.section, "open");
        same_names || takes_back(&ours.run.argv, &theirs.run.argv)
    }
}

/// Whether `ours` equals `theirs` except that it deletes an iptables rule instead of adding it.
fn takes_back(ours: &[String], theirs: &[String]) -> bool {
    let adds = |word: &str| matches!(word, "-A" | "-I" | "--append" | "--insert");
    let deletes = |word: &str| matches!(word, "-D" | "--delete");
    let pairs = || ours.iter().zip(theirs);
    ours.len() == theirs.len()
        && pairs().all(|(our, their)| our == their || deletes(our) && adds(their))
        && ours != theirs
}
