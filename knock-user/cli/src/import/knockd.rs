//! `knockd import-knockd`: converts the configuration of the other port-knock daemon called
//! knockd, by Judd Vinet ("the other knockd" in this module).
//!
//! `source` parses the file like that daemon, `door` converts its sections.

mod door;
pub(crate) mod source;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use tracing::info;

use self::{
    door::{Door, Work},
    source::{Directive, Source},
};
use crate::import::{
    Import,
    names::Names,
    text::{array, string},
};

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

/// Converts the other knockd's configuration at `source`. Writes the result to the new file
/// `output` (mode 0600), or to standard output.
fn import(source: &Path, output: Option<&Path>) -> Result<()> {
    let import = Import::new(&Source::load(source)?, source);
    import.expect_a_door(source)?;
    if let Some(file) = import.write(output)? {
        info!(
            "{} has the doors {}. Add a client: knockd client add NAME --config {0}",
            file.path().display(),
            import.doors.join(", ")
        );
        file.keep();
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
            ..Self::default()
        };
        import.options(&source.options, &doors);
        let mut names = Names::new("door");
        for door in &mut doors {
            import.door(door, path, &mut names);
        }
        import
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
        self.interfaces(
            interface.into_iter().chain(of_doors),
            "The file names none. The other knockd's default is eth0; see also -i in /etc/default/knockd.",
        );
    }

    fn door(&mut self, door: &mut Door, path: &Path, names: &mut Names) {
        self.line("");
        let (section, line) = (&door.section, door.line);
        let shown = section.escape_debug();
        let work = match &door.work {
            Ok(work) => work,
            Err(reason) => {
                self.line(&format!("# [{shown}], line {line}, is skipped: {reason}."));
                self.notes(&door.notes);
                self.left_out.push(format!(
                    "{}:{line}: [{shown}] is skipped: {reason}",
                    path.display()
                ));
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

#[cfg(test)]
mod tests;
