//! From the configuration of another port-knock daemon, jvinet's knockd, to one of ours.
//!
//! `source` reads it as that daemon does, `door` says what becomes of each of its sections,
//! and `command` of their commands. Nothing is lost silently: what is not carried over stands
//! in a comment.

mod command;
mod door;
mod shell;
mod source;

use std::{
    collections::HashSet,
    io::{self, Write as _},
    path::Path,
};

use anyhow::{Result, bail};
use knock_common::protocol::sealed::DoorTag;
use toml_edit::{Array, Value};
use tracing::{info, warn};

use self::{
    door::{Door, Work},
    source::{Directive, Source},
};
use crate::init;
use knockd_config;

/// Where the other knockd looks for its configuration.
pub const DEFAULT_SOURCE: &str = "/etc/knockd.conf";

/// What stands above everything. `{source}` is filled in.
const TOP: &str = "\
# The configuration of knockd, made by `knockd import-knockd` from
# {source}. Line numbers below are that file's; its own comments are
# not carried over.
#
# Before it is of use:
#   knockd client add NAME    makes a key, writes its [[client]] into this file, and prints the
#                             line that sets the client up
#   knockd check              says whether everything is right
#
# Port sequences are not carried over. A knock is one enciphered block now, which only a client
# with a key can make: `knock SERVER DOOR`. They are not shown here either, since they are secrets
# for as long as the other knockd runs. Start only one of the two.
#
# A command finds nothing in its environment but PATH, KNOCK_IP, KNOCK_DOOR, KNOCK_CLIENT and
# KNOCK_FOR, and is killed after `limits.command_timeout`, which is 30s.
";

/// Our configuration, and what became of each door.
#[derive(Debug)]
struct Import {
    /// The file.
    text: String,
    /// The names of the doors that are in it.
    doors: Vec<String>,
    /// Those that are not, each with its line, name and reason.
    left_out: Vec<String>,
}

/// Turns the other knockd's configuration at `source` into one of ours, which is written to the
/// new file `output`, for its owner alone, or else to standard output.
///
/// # Errors
///
/// `source` cannot be read, has lines that are nothing, each told with its place, or no door
/// that can be carried over; or `output` is there already, which is never overwritten, or cannot
/// be written.
pub fn import(source: &Path, output: Option<&Path>) -> Result<()> {
    let import = Import::new(&Source::load(source)?, source);
    let file = source.display();
    if import.doors.is_empty() {
        let reasons = import.left_out.iter();
        let reasons: String = reasons.map(|reason| format!("\n{file}:{reason}")).collect();
        bail!("{file}: no door can be carried over{reasons}");
    }
    for reason in &import.left_out {
        warn!("{file}:{reason}");
    }
    match output {
        None => io::stdout().write_all(import.text.as_bytes())?,
        Some(path) => {
            init::write_new(path, &import.text)?.keep();
            info!(
                "{} has the doors {}. It needs a client: knockd client add NAME --config {0}",
                path.display(),
                import.doors.join(", ")
            );
        }
    }
    Ok(())
}

impl Import {
    /// What becomes of `source`, which was read from `path`.
    fn new(source: &Source, path: &Path) -> Self {
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

    /// A line of the file.
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// What all doors have in common.
    fn options(&mut self, options: &[Directive], doors: &[Door]) {
        const LOG: &str = "what is logged goes to standard error, and with systemd to the journal";

        self.line("");
        let mut interface = None;
        for Directive {
            line, key, value, ..
        } in options
        {
            let message = match &key[..] {
                // The first one counts there.
                "interface" if interface.is_none() => {
                    interface = Some(value);
                    continue;
                }
                "interface" => format!("{value:?} is left out, since another stands before it"),
                "usesyslog" => LOG.into(),
                "logfile" => format!("{value:?} is left out: {LOG}"),
                "pidfile" => format!("{value:?} is not needed: knockd stays in the foreground"),
                _ => "there is no such key".into(),
            };
            self.line(&format!("# line {line}: {}: {message}", key.escape_debug()));
        }
        let of_doors = doors.iter().flat_map(|door| &door.interfaces);
        self.interfaces(interface.into_iter().chain(of_doors));
    }

    /// Where to listen, of which some may be named twice.
    fn interfaces<'a>(&mut self, named: impl Iterator<Item = &'a String>) {
        let mut seen = HashSet::new();
        let (good, bad): (Vec<_>, Vec<_>) = named
            .filter(|name| seen.insert(*name))
            .partition(|name| knockd_config::is_interface(name));
        for name in &bad {
            self.line(&format!(
                "# {name:?} is no interface: name those that are meant."
            ));
        }
        let mut commented = "";
        let mut interfaces: Array = good.into_iter().collect();
        if interfaces.is_empty() {
            interfaces.push("eth0");
            if bad.is_empty() {
                self.line("# None is named there, and its default is eth0; or look for -i in /etc/default/knockd.");
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
                self.line(&format!("# [{shown}], line {line}, is left out: {reason}."));
                self.notes(&door.notes);
                self.left_out
                    .push(format!("{line}: [{shown}] is left out: {reason}"));
                return;
            }
        };
        let name = names.fitting(section);
        if name != *section {
            let note = "here, since a name is short, printable and no other door's";
            door.notes.insert(0, format!("is called {name:?} {note}"));
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
        self.line(&format!("name = {}", Value::from(name)));
        let array = |argv: &[String]| argv.iter().collect::<Array>();
        self.line(&format!("run = {}", array(&work.run.argv)));
        let seconds = work.seconds;
        match &work.close {
            Some(close) => {
                self.line(&format!("close = {}", array(&close.argv)));
                self.line(&format!("for = \"{seconds}s\""));
            }
            None => self.line(&format!(
                "for = \"{seconds}s\"   # nothing is closed; but as long as this lasts, a further knock runs nothing"
            )),
        }
    }
}

/// Two doors, of which one takes back what the other did, were the way to close one by a knock.
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
            "this seems to take back what {:?} does: its command could be the `close` of that door, with a `for`, and this door go",
            doors[opening].section
        );
        doors[closing].notes.push(hint);
    }
}

/// The names of our doors, and what sealed knocks tell them apart by.
#[derive(Default)]
struct Names {
    taken: HashSet<String>,
    tags: HashSet<DoorTag>,
}

impl Names {
    /// The longest name of a door, in bytes.
    const MAX_LEN: usize = 64;

    /// A name for the door that was called `section`, like it if possible.
    fn fitting(&mut self, section: &str) -> String {
        let printable: String = section
            .trim()
            .chars()
            .map(|c| if c.is_control() { '-' } else { c })
            .collect();
        let base = if knockd_config::is_name(cut(&printable, Self::MAX_LEN)) {
            &printable
        } else {
            "door"
        };
        let mut name = cut(base, Self::MAX_LEN).to_owned();
        let mut number = 1;
        // There are 65536 tags, and far fewer doors: some number fits.
        while self.taken.contains(&name) || self.tags.contains(&DoorTag::of(&name)) {
            number += 1;
            let suffix = format!("-{number}");
            name = cut(base, Self::MAX_LEN - suffix.len()).to_owned();
            name.push_str(&suffix);
        }
        self.tags.insert(DoorTag::of(&name));
        self.taken.insert(name.clone());
        name
    }
}

/// As much of `text` as fits into `len` bytes.
fn cut(text: &str, len: usize) -> &str {
    &text[..text.floor_char_boundary(len)]
}

#[cfg(test)]
mod tests;
