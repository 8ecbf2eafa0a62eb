//! The configuration: read once, checked whole, and after that free of wrong states.

mod file;
mod place;
mod template;

use std::{
    collections::HashMap,
    fs::File,
    io::Read as _,
    num::{NonZeroU32, NonZeroUsize},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use knock_common::{
    protocol::{classic::Sequence, key::ClassicKey},
    rate::Rate,
    settings::Verdict,
    window::Window,
};
use toml::Spanned;

use self::place::{Problem, Problems};
pub use self::template::{Command, Expansion, Template, TemplateError};
use crate::passphrase::Passphrase;

/// Where the configuration is looked for without `--config`.
pub const DEFAULT_PATH: &str = "/etc/knockd/knockd.toml";

/// Where the running daemon is reached without `control_socket` or `--socket`.
pub const DEFAULT_SOCKET: &str = "/run/knockd/knockd.sock";

/// Far beyond any real configuration: protects against a wrong file.
const MAX_FILE_LEN: u64 = 1024 * 1024;

/// The daemon's configuration, valid as a whole.
#[derive(Debug)]
pub struct Config {
    /// Interfaces to attach to, unless the command line names others.
    pub interfaces: Vec<String>,
    /// The ports that are knocked on.
    pub window: Window,
    /// What happens to a SYN to the window.
    pub verdict: Verdict,
    /// How long a SYN waits for the others of its knock.
    pub sequence_timeout: Duration,
    /// The Unix socket for `tail` and `status`.
    pub control_socket: PathBuf,
    /// Every bound that can be configured.
    pub limits: Limits,
    /// Who may knock.
    pub clients: Vec<Client>,
    /// What can be opened.
    pub doors: Vec<Door>,
}

/// The bounds of everything that somebody outside could make grow.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events that one source may put on the ring, counted in the kernel.
    pub events: Rate,
    /// Sources with a knock in progress; the least recently seen one goes first.
    pub sources: NonZeroUsize,
    /// Doors open at the same time, over all sources.
    pub open_doors: NonZeroUsize,
    /// Commands running at the same time.
    pub commands: NonZeroUsize,
    /// How long a command may run.
    pub command_timeout: Duration,
}

/// Somebody who may knock.
#[derive(Debug)]
pub struct Client {
    /// His name in logs, doors and `%CLIENT%`.
    pub name: String,
    /// His key.
    pub key: ClassicKey,
}

/// Something that a knock opens.
#[derive(Debug)]
pub struct Door {
    /// Its name in logs and `%DOOR%`.
    pub name: String,
    /// Indices of the clients that may open it.
    pub clients: Vec<usize>,
    /// What a classic client knocks.
    pub sequence: Sequence,
    /// What is run when it opens.
    pub run: Template,
    /// What is run when it closes.
    pub close: Option<Template>,
    /// How long it stays open.
    pub lease: Duration,
}

impl Config {
    /// Reads and checks the configuration at `path` and every secret that it names.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or everything that is wrong in it, a line each, with file,
    /// line and key.
    pub fn load(path: &Path) -> Result<Self> {
        let text = read(path).with_context(|| format!("{}", path.display()))?;
        let parsed = toml::from_str(&text)
            .map_err(|error| Problems::new(path, &text, vec![Problem::from(error)]))?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let config = Checker::default()
            .check(parsed, folder)
            .map_err(|problems| Problems::new(path, &text, problems))?;
        Ok(config)
    }
}

fn read(path: &Path) -> Result<String> {
    let file = File::open(path).context("the configuration cannot be read")?;
    refuse_untrusted(&file)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_LEN + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_LEN {
        bail!("it is larger than {MAX_FILE_LEN} bytes: is it the right file?");
    }
    String::from_utf8(bytes).context("it is not UTF-8")
}

/// Refuses a file that somebody other than its owner and root could change: it says what
/// root will run.
fn refuse_untrusted(file: &File) -> Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    let metadata = file.metadata()?;
    let owner = metadata.uid();
    if owner != 0 && owner != rustix::process::geteuid().as_raw() {
        bail!("it belongs to user {owner}: it says what knockd runs, so chown it to root");
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o002 != 0 || (mode & 0o020 != 0 && metadata.gid() != 0) {
        bail!("others can change it (mode {mode:04o}): it says what knockd runs, so chmod go-w it");
    }
    Ok(())
}

/// Turns what stands in the file into a [`Config`] and gathers what is wrong with it.
#[derive(Default)]
struct Checker {
    problems: Vec<Problem>,
}

impl Checker {
    fn check(mut self, file: file::Config, folder: &Path) -> Result<Config, Vec<Problem>> {
        let names = self.unique_names("client", file.client.iter().map(|client| &client.name));
        self.unique_names("door", file.door.iter().map(|door| &door.name));
        if file.client.is_empty() {
            self.problem("there is no [[client]]: nobody could knock".into());
        }
        if file.door.is_empty() {
            self.problem("there is no [[door]]: nothing could be opened".into());
        }
        let clients = self.clients(file.client, folder);
        let doors = self.doors(file.door, &names);
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        let limits = file.limits;
        Ok(Config {
            interfaces: file.interfaces.into_iter().map(Into::into).collect(),
            window: file.window.base.into(),
            verdict: file.window.verdict.into(),
            sequence_timeout: file.sequence_timeout.into(),
            control_socket: file.control_socket,
            limits: Limits {
                events: Rate::new(limits.events_per_second, limits.event_burst),
                sources: limits.sources,
                open_doors: limits.open_doors,
                commands: limits.commands,
                command_timeout: limits.command_timeout.into(),
            },
            clients,
            doors,
        })
    }

    fn problem(&mut self, message: String) {
        self.problems.push(Problem::anywhere(message));
    }

    fn problem_at<T>(&mut self, value: &Spanned<T>, message: String) {
        self.problems.push(Problem::at(value.span(), message));
    }

    /// Every name with its index; a name that stands twice is a problem.
    fn unique_names<'a>(
        &mut self,
        kind: &str,
        names: impl Iterator<Item = &'a Spanned<file::Name>>,
    ) -> HashMap<String, usize> {
        let mut indices = HashMap::new();
        for (index, name) in names.enumerate() {
            let text = name.get_ref().as_str();
            if indices.insert(text.to_owned(), index).is_some() {
                self.problem_at(name, format!("there are two {kind}s named `{text}`"));
            }
        }
        indices
    }

    fn clients(&mut self, entries: Vec<file::Client>, folder: &Path) -> Vec<Client> {
        let mut passphrases: Vec<(String, Passphrase)> = Vec::new();
        for entry in entries {
            let name = entry.name.into_inner().into();
            let path = folder.join(entry.passphrase_file.get_ref());
            let passphrase = match Passphrase::from_file(&path) {
                Ok(passphrase) => passphrase,
                Err(error) => {
                    let message = format!("{}: {error}", path.display());
                    self.problem_at(&entry.passphrase_file, message);
                    continue;
                }
            };
            if let Some((other, _)) = passphrases
                .iter()
                .find(|(_, other)| other.as_bytes() == passphrase.as_bytes())
            {
                let message = format!(
                    "client `{name}` has the passphrase of client `{other}`: their knocks cannot be told apart"
                );
                self.problem_at(&entry.passphrase_file, message);
            }
            passphrases.push((name, passphrase));
        }
        passphrases
            .into_iter()
            .map(|(name, passphrase)| Client {
                name,
                key: ClassicKey::from_passphrase(passphrase.as_bytes()),
            })
            .collect()
    }

    fn doors(
        &mut self,
        entries: Vec<file::Door>,
        client_indices: &HashMap<String, usize>,
    ) -> Vec<Door> {
        let mut doors: Vec<Door> = Vec::new();
        for entry in entries {
            let name: String = entry.name.into_inner().into();
            let sequence: Sequence = entry.sequence.get_ref().clone().into();
            if let Some(other) = doors.iter().find(|other| other.sequence == sequence) {
                let message = format!(
                    "door `{name}` has the sequence of door `{}`; trailing zeros do not tell two apart",
                    other.name
                );
                self.problem_at(&entry.sequence, message);
            }
            let clients = match entry.clients {
                None => client_indices.values().copied().collect(),
                Some(names) => self.door_clients(&names, client_indices),
            };
            doors.push(Door {
                name,
                clients,
                sequence,
                run: entry.run,
                close: entry.close,
                lease: entry.lease.into(),
            });
        }
        doors
    }

    fn door_clients(
        &mut self,
        names: &Spanned<Vec<Spanned<file::Name>>>,
        client_indices: &HashMap<String, usize>,
    ) -> Vec<usize> {
        if names.get_ref().is_empty() {
            let message = "nobody may open this door; leave `clients` out to let every client";
            self.problem_at(names, message.into());
        }
        let mut indices = Vec::new();
        for name in names.get_ref() {
            let text = name.get_ref().as_str();
            match client_indices.get(text) {
                Some(index) => indices.push(*index),
                None => self.problem_at(name, format!("there is no [[client]] named `{text}`")),
            }
        }
        indices
    }
}

/// Default bounds, each with its reason.
mod default {
    use super::{NonZeroU32, NonZeroUsize};

    const fn u32(value: u32) -> NonZeroU32 {
        match NonZeroU32::new(value) {
            Some(value) => value,
            None => panic!("a bound is above zero"),
        }
    }

    const fn usize(value: usize) -> NonZeroUsize {
        match NonZeroUsize::new(value) {
            Some(value) => value,
            None => panic!("a bound is above zero"),
        }
    }

    /// Four knocks a second, each with every SYN.
    pub(super) const EVENTS_PER_SECOND: NonZeroU32 = u32(64);
    /// A knock in eight copies.
    pub(super) const EVENT_BURST: NonZeroU32 = u32(128);
    /// About 70 MB if every one of them held a full queue.
    pub(super) const SOURCES: NonZeroUsize = usize(65_536);
    /// More visitors than a door for people ever has; a few hundred bytes each.
    pub(super) const OPEN_DOORS: NonZeroUsize = usize(4096);
    /// Enough for a burst of firewall scripts on a small machine.
    pub(super) const COMMANDS: NonZeroUsize = usize(16);
}

#[cfg(test)]
mod tests;
