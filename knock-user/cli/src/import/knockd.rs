//! `knockd import-knockd`: converts the configuration of the other port-knock daemon called
//! knockd, by Judd Vinet ("the other knockd" in this module).
//!
//! `source` parses the file like that daemon, `door` converts its sections, and `command` their
//! commands. Nothing is lost silently: what cannot be converted becomes a comment.

mod command;
mod door;
mod shell;
pub(crate) mod source;

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use clap::Args;
use knock_common::{legible::misleads, protocol::door::ShortTag};
use toml_edit::{Array, Value};
use tracing::{info, warn};

use self::{
    door::{Door, Work},
    source::{Directive, Source},
};
use crate::{new_file, output};

/// Default path of the other knockd's configuration.
const DEFAULT_SOURCE: &str = "/etc/knockd.conf";

/// The head of the output, with the placeholder `{source}`.
const TOP: &str = "\
# Configuration of knockd, converted by `knockd import-knockd` from
# {source}. Line numbers below refer to that file. Its comments are
# not included.
#
# Next steps:
#   knockd client add NAME    creates a key, adds its [[client]] to this file, and prints the
#                             command that sets up the client
#   knockd check              validates the result
#
# Port sequences are not converted. A knock is one encrypted block, which only a client with a
# key can make: `knock SERVER DOOR`. The sequences are not shown here either: they are secrets
# as long as the other knockd runs. Run only one of the two daemons.
#
# The environment of a command contains only PATH, KNOCK_IP, KNOCK_DOOR, KNOCK_CLIENT and
# KNOCK_FOR. A command is killed after `limits.command_timeout` (default: 30s).
";

#[derive(Args, Debug)]
pub(crate) struct ImportKnockd {
    /// The configuration to convert; it is not changed
    #[arg(value_name = "SOURCE", default_value = DEFAULT_SOURCE)]
    source: PathBuf,
    /// Write to this new file (mode 0600) instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl ImportKnockd {
    /// Converts the configuration.
    ///
    /// # Errors
    ///
    /// Returns an error if the source cannot be read, has invalid lines (each is listed with its
    /// position), or has no door that can be converted; or if the output exists already or cannot
    /// be written.
    pub(crate) fn execute(&self) -> Result<()> {
        import(&self.source, self.output.as_deref())
    }
}

/// The result of a conversion.
#[derive(Debug)]
pub(crate) struct Import {
    /// The text of the new configuration.
    pub(crate) text: String,
    /// The names of the converted doors.
    pub(crate) doors: Vec<String>,
    /// The skipped doors, each with line, name and reason.
    left_out: Vec<String>,
}

/// Converts the other knockd's configuration at `source`. Writes the result to the new file
/// `output` (mode 0600), or to standard output.
fn import(source: &Path, output: Option<&Path>) -> Result<()> {
    let import = Import::new(&Source::load(source)?, source);
    let file = source.display();
    if import.doors.is_empty() {
        let reasons = import.left_out.iter();
        let reasons: String = reasons.map(|reason| format!("\n{file}:{reason}")).collect();
        bail!("{file}: no door can be converted{reasons}");
    }
    for reason in &import.left_out {
        warn!("{file}:{reason}");
    }
    match output {
        None => output::print_exactly(&import.text)?,
        Some(path) => {
            new_file::write_configuration(path, &import.text)?.keep();
            info!(
                "{} has the doors {}. Add a client: knockd client add NAME --config {0}",
                path.display(),
                import.doors.join(", ")
            );
        }
    }
    Ok(())
}

impl Import {
    /// Converts `source`, which was read from `path`.
    pub(crate) fn new(source: &Source, path: &Path) -> Self {
        let mut doors: Vec<Door> = source.doors.iter().map(Door::from).collect();
        hint_at_pairs(&mut doors);
        let mut import = Self {
            text: TOP.replace("{source}", &format!("{:?}", path.display().to_string())),
            doors: Vec::new(),
            left_out: Vec::new(),
        };
        import.options(&source.options, &doors);
        let mut names = Names::default();
        for door in &mut doors {
            import.door(door, &mut names);
        }
        import
    }

    /// Appends a line to the output.
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Converts `[options]`, and the interfaces that the doors name.
    fn options(&mut self, options: &[Directive], doors: &[Door]) {
        const LOG: &str = "the log goes to standard error, and with systemd to the journal";

        self.line("");
        let mut interface = None;
        for Directive {
            line, key, value, ..
        } in options
        {
            let message = match &key[..] {
                // The other knockd uses the first one.
                "interface" if interface.is_none() => {
                    interface = Some(value);
                    continue;
                }
                "interface" => format!("{value:?} is skipped: an earlier one has precedence"),
                "usesyslog" => LOG.into(),
                "logfile" => format!("{value:?} is skipped: {LOG}"),
                "pidfile" => format!("{value:?} is not needed: knockd stays in the foreground"),
                _ => "unknown key".into(),
            };
            self.line(&format!("# line {line}: {}: {message}", key.escape_debug()));
        }
        let of_doors = doors.iter().flat_map(|door| &door.interfaces);
        self.interfaces(interface.into_iter().chain(of_doors));
    }

    /// Writes `interfaces`. `named` may contain duplicates.
    fn interfaces<'a>(&mut self, named: impl Iterator<Item = &'a String>) {
        let mut seen = HashSet::new();
        let (good, bad): (Vec<_>, Vec<_>) = named
            .filter(|name| seen.insert(*name))
            .partition(|name| knockd_config::is_interface(name));
        for name in &bad {
            self.line(&format!(
                "# {name:?} is not an interface name: replace it with the intended one."
            ));
        }
        let mut commented = "";
        let mut interfaces: Array = good.into_iter().collect();
        if interfaces.is_empty() {
            interfaces.push("eth0");
            if bad.is_empty() {
                self.line("# The file names none. The other knockd's default is eth0; see also -i in /etc/default/knockd.");
            } else {
                commented = "# ";
            }
        }
        self.line(&format!("{commented}interfaces = {interfaces}"));
    }

    fn door(&mut self, door: &mut Door, names: &mut Names) {
        self.line("");
        let (section, line) = (&door.section, door.line);
        let shown = section.escape_debug();
        let work = match &door.work {
            Ok(work) => work,
            Err(reason) => {
                self.line(&format!("# [{shown}], line {line}, is skipped: {reason}."));
                self.notes(&door.notes);
                self.left_out
                    .push(format!("{line}: [{shown}] is skipped: {reason}"));
                return;
            }
        };
        let name = names.fitting(section);
        if name != *section {
            let note = "since a name has to be short, printable and unique";
            door.notes
                .insert(0, format!("is renamed to {name:?}, {note}"));
        }
        self.line(&format!("# [{shown}], line {line}"));
        self.notes(&door.notes);
        self.work(&name, work);
        self.doors.push(name);
    }

    fn notes(&mut self, notes: &[String]) {
        for note in notes {
            self.line(&format!("#   {note}"));
        }
    }

    fn work(&mut self, name: &str, work: &Work) {
        self.line("[[door]]");
        self.line(&format!("name = {}", string(name)));
        self.line(&format!("run = {}", array(&work.run.argv)));
        let seconds = work.seconds;
        match &work.close {
            Some(close) => {
                self.line(&format!("close = {}", array(&close.argv)));
                self.line(&format!("for = \"{seconds}s\""));
            }
            None => self.line(&format!(
                "for = \"{seconds}s\"   # there is no `close`; during this time, another knock has no effect"
            )),
        }
    }
}

/// `words` as a TOML array.
fn array(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| string(word)).collect();
    format!("[{}]", words.join(", "))
}

/// `text` as a TOML string, in which everything that misleads is escaped.
fn string(text: &str) -> String {
    if !text.chars().any(misleads) {
        return Value::from(text).to_string();
    }
    let mut string = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => string.extend(['\\', c]),
            _ if misleads(c) => string.push_str(&format!("\\U{:08x}", u32::from(c))),
            _ => string.push(c),
        }
    }
    string.push('"');
    string
}

/// Adds a hint to each door that undoes another one: the other knockd needs a second door to close
/// the first one.
fn hint_at_pairs(doors: &mut [Door]) {
    let pairs: Vec<_> = (0..doors.len())
        .filter_map(|closing| {
            let opening = (0..doors.len()).find(|opening| {
                *opening != closing && doors[closing].seems_to_close(&doors[*opening])
            })?;
            Some((closing, opening))
        })
        .collect();
    for (closing, opening) in pairs {
        let hint = format!(
            "this seems to undo {:?}: use its command as the `close` of that door, with a `for`, and remove this door",
            doors[opening].section
        );
        doors[closing].notes.push(hint);
    }
}

/// The names of the new doors, and their tags in knocks. Both have to be unique.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    tags: HashSet<ShortTag>,
}

impl Names {
    /// The maximum length of a door's name, in bytes.
    const MAX_LEN: usize = 64;

    /// A valid, unique name for the door that was called `section`, as similar as possible.
    fn fitting(&mut self, section: &str) -> String {
        let printable: String = section
            .trim()
            .chars()
            .map(|c| if misleads(c) { '-' } else { c })
            .collect();
        let base = if knockd_config::is_name(cut(&printable, Self::MAX_LEN)) {
            &printable
        } else {
            "door"
        };
        let mut name = cut(base, Self::MAX_LEN).to_owned();
        let mut number = 1;
        // There are 65536 tags and far fewer doors, so a free number exists.
        while self.taken.contains(&name) || self.tags.contains(&ShortTag::of(&name)) {
            number += 1;
            let suffix = format!("-{number}");
            name = cut(base, Self::MAX_LEN - suffix.len()).to_owned();
            name.push_str(&suffix);
        }
        self.tags.insert(ShortTag::of(&name));
        self.taken.insert(name.clone());
        name
    }
}

/// The longest prefix of `text` that fits into `len` bytes.
fn cut(text: &str, len: usize) -> &str {
    &text[..text.floor_char_boundary(len)]
}

#[cfg(test)]
mod tests;
