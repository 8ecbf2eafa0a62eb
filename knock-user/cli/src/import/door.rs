//! A section of the other knockd as one of our doors.

use crate::import::{
    command::{Command, Commands},
    source::{Directive, Section},
};

/// The other knockd's `Cmd_Timeout` where there is none, in seconds.
const DEFAULT_TIMEOUT: u64 = 10;

/// The longest time that a door of ours may be open, in seconds: 365 days.
const MAX_TIMEOUT: u64 = 365 * 24 * 60 * 60;

/// What became of a section.
#[derive(Debug)]
pub(super) struct Door {
    /// Where the section begins.
    pub(super) line: usize,
    /// As the section had it.
    pub(super) section: String,
    /// What is not in the door, or not as it was, and what to do about it.
    pub(super) notes: Vec<String>,
    /// What it does, or why it is left out.
    pub(super) work: Result<Work, String>,
    /// The interfaces that it named.
    pub(super) interfaces: Vec<String>,
}

/// What a door does.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Work {
    pub(super) run: Command,
    pub(super) close: Option<Command>,
    /// How long it is open, in seconds.
    pub(super) seconds: u64,
}

/// The directives that count, of which each may stand once.
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
                door.note(directive, "is left out with the door");
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

    /// Puts `directive` in its place, or says why there is none.
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
                "line {} says it again, and the last one counts",
                directive.line
            );
            self.note(before, &message);
        }
        if !directive.is_utf8 {
            self.note(
                directive,
                "is no UTF-8 and was read as Latin-1: look whether the command is right",
            );
        }
    }

    fn leave_out(&mut self, directive: &Directive) {
        let value = &directive.value;
        let message = match &directive.key[..] {
            "sequence" => format!(
                "its length was {}, and its ports stay a secret: see the top",
                value.split(',').count()
            ),
            "one_time_sequences" => {
                format!("{value:?} is not needed: a sealed knock holds once")
            }
            "seq_timeout" | "timeout" => format!(
                "{value:?} was for the old sequence; how long a knock may take now says `sequence_timeout`"
            ),
            "tcpflags" => {
                format!("{value:?} is not needed: a knock is SYNs, and nothing else counts")
            }
            "target" => format!(
                "{value:?} has no counterpart: knocks count whatever address they go to; on a router, see `window.verdict`"
            ),
            "interface" => {
                self.interfaces.push(value.clone());
                "every door listens on all of `interfaces`".into()
            }
            "usesyslog" | "logfile" | "pidfile" => "belongs to [options]".into(),
            key => {
                let (line, key) = (directive.line, key.escape_debug());
                self.notes
                    .push(format!("line {line}: {key}: there is no such key"));
                return;
            }
        };
        self.note(directive, &message);
    }

    fn work(&mut self, directives: &Directives<'_>) -> Result<Work, String> {
        let value = |directive: Option<&Directive>| {
            directive.map_or("", |found| &found.value[..]).to_owned()
        };
        // What is not said for IPv6 is as it is for IPv4, but said to be nothing it is nothing.
        let start = value(directives.start);
        let start_ipv6 = value(directives.start_ipv6.or(directives.start));
        let mut stop = value(directives.stop);
        let mut stop_ipv6 = value(directives.stop_ipv6.or(directives.stop));
        let run = self
            .command("run", &start, &start_ipv6)?
            .ok_or("it has no command, and a door of ours does something")?;
        // Nothing is closed that did not open.
        let ipv4 = (&start, &mut stop, directives.stop);
        let ipv6 = (&start_ipv6, &mut stop_ipv6, directives.stop_ipv6);
        for (start, stop, directive) in [ipv4, ipv6] {
            if start.is_empty() && !stop.is_empty() {
                stop.clear();
                if let Some(directive) = directive {
                    self.note(directive, "is not run where nothing is at the start");
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

    /// The command called `key` in our configuration.
    fn command(&mut self, key: &str, ipv4: &str, ipv6: &str) -> Result<Option<Command>, String> {
        let command = Commands { ipv4, ipv6 }.translate().map_err(|error| {
            format!(
                "what would be `{key}` cannot be carried over, since {error}. Put it into a script, which finds the address in $KNOCK_IP, and write a [[door]] that runs it"
            )
        })?;
        if let Some(note) = command.as_ref().and_then(|command| command.note) {
            self.notes.push(format!("`{key}` {note}"));
        }
        if [ipv4, ipv6].iter().any(|text| text.contains("sleep")) {
            let killed = "is killed after `limits.command_timeout`, asleep or not";
            let instead = "let `close` and `for` do what comes after the sleep";
            self.notes.push(format!("`{key}` {killed}: {instead}"));
        }
        Ok(command)
    }

    /// How long the door is open.
    fn seconds(&mut self, timeout: Option<&Directive>, is_closed: bool) -> u64 {
        if !is_closed {
            if let Some(timeout) = timeout {
                self.note(timeout, "without a stop_command it means nothing");
            }
            // A knock at a door that is open runs nothing, but there every knock did.
            return 1;
        }
        let Some(timeout) = timeout else {
            return DEFAULT_TIMEOUT;
        };
        let read = leading_number(&timeout.value);
        let seconds = u64::try_from(read).unwrap_or(0).clamp(1, MAX_TIMEOUT);
        if timeout.value != seconds.to_string() {
            let message = format!("{:?} is {seconds}s here: look at `for`", timeout.value);
            self.note(timeout, &message);
        }
        seconds
    }

    /// Whether this door undoes what `other` does, as far as that can be seen.
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

/// Whether `ours` is `theirs` but for what makes iptables delete what it had added.
fn takes_back(ours: &[String], theirs: &[String]) -> bool {
    let adds = |word: &str| matches!(word, "-A" | "-I" | "--append" | "--insert");
    let deletes = |word: &str| matches!(word, "-D" | "--delete");
    let pairs = || ours.iter().zip(theirs);
    ours.len() == theirs.len()
        && pairs().all(|(our, their)| our == their || deletes(our) && adds(their))
        && ours != theirs
}

/// What C's `atoi()` makes of `text`.
fn leading_number(text: &str) -> i64 {
    let text = text.trim_start();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.bytes().take_while(u8::is_ascii_digit);
    let number = digits.fold(0_i64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add((digit - b'0').into())
    });
    sign * number
}
