//! Parses the files of fwknop like fwknopd: see its fwknopd(8), and `parse_access_file()` in version
//! 2.6.11.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    rc::Rc,
};

use anyhow::{Context as _, Result, bail};
use knock_common::legible::escaped;

use crate::import::lines::{self, Invalid, Mistakes, decoded, is_space};

/// The length of a line that its `fgets()` reads. The rest would become another line.
const MAX_LINE_LEN: usize = 1022;

/// How deep files may include each other, the first one included.
const MAX_DEPTH: usize = 3;

/// How many files are read. More than any real configuration.
const MAX_FILES: usize = 256;

/// More stanzas than any real configuration.
const MAX_STANZAS: usize = 1024;

/// The variables whose values are needed. No other value is kept: it may be a key.
const KEPT: &[&str] = &[
    "ACCESS_EXPIRE",
    "ACCESS_EXPIRE_EPOCH",
    "CMD_CYCLE_CLOSE",
    "CMD_CYCLE_OPEN",
    "CMD_CYCLE_TIMER",
    "DESTINATION",
    "DISABLE_DNAT",
    "ENABLE_FIREWD_SNAT",
    "ENABLE_IPT_SNAT",
    "ENABLE_NFQ_CAPTURE",
    "ENABLE_UDP_SERVER",
    "FORCE_MASQUERADE",
    "FORCE_NAT",
    "FORCE_SNAT",
    "FORWARD_ALL",
    "FW_ACCESS_TIMEOUT",
    "MAX_FW_TIMEOUT",
    "MAX_SPA_PACKET_AGE",
    "NFQ_INTERFACE",
    "NFQ_PORT",
    "OPEN_PORTS",
    "PCAP_FILTER",
    "PCAP_INTF",
    "REQUIRE_SOURCE",
    "REQUIRE_SOURCE_ADDRESS",
    "REQUIRE_USERNAME",
    "RESTRICT_PORTS",
    "SNAT_TRANSLATE_IP",
    "SOURCE",
    "UDPSERV_PORT",
];

/// Where a line is, displayed as `FILE:LINE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    file: Rc<str>,
    line: usize,
}

/// `VARIABLE VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) place: Place,
    pub(super) key: String,
    /// The value; empty if it is not needed, or might be a key.
    pub(super) value: String,
    /// Whether the line is UTF-8. If not, it was read as Latin-1.
    pub(super) is_utf8: bool,
}

/// The directives from one `SOURCE` to the next.
#[derive(Debug)]
pub(super) struct Stanza {
    /// Its number, from 1, as in the log of fwknopd.
    pub(super) number: usize,
    /// The directives; the first one is `SOURCE`.
    pub(super) directives: Vec<Directive>,
}

/// The access control: `access.conf` and what it includes.
#[derive(Debug, Default)]
pub(crate) struct Access {
    pub(super) stanzas: Vec<Stanza>,
    /// Directives before the first `SOURCE` of a file, which have no effect.
    pub(super) orphans: Vec<Directive>,
}

/// The files that a configuration consists of.
pub(crate) trait Files {
    /// The content of the file at `path`.
    ///
    /// # Errors
    ///
    /// Returns an error with the path if it cannot be read.
    fn read(&self, path: &Path) -> Result<Vec<u8>>;

    /// The paths of the files in `folder`.
    ///
    /// # Errors
    ///
    /// Returns an error with the path if it cannot be read.
    fn list(&self, folder: &Path) -> Result<Vec<PathBuf>>;
}

/// The files of this host.
pub(crate) struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        lines::read(path)
    }

    fn list(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        fs::read_dir(folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
            .with_context(|| folder.display().to_string())
    }
}

impl Access {
    /// Reads the access control at `path`.
    ///
    /// # Errors
    ///
    /// Returns an error if a file cannot be read or has invalid lines, or if files include each other
    /// too deeply.
    pub(crate) fn load(path: &Path, files: &dyn Files) -> Result<Self> {
        let mut reader = Reader {
            files,
            folder: path.parent().unwrap_or(Path::new("")),
            count: 0,
            access: Self::default(),
        };
        reader.file(path, 1)?;
        Ok(reader.access)
    }
}

/// The directives of the file at `path`.
///
/// # Errors
///
/// Returns an error if the file cannot be read or has invalid lines.
pub(super) fn directives(path: &Path, files: &dyn Files) -> Result<Vec<Directive>> {
    let file: String = escaped(&path.display().to_string()).collect();
    let file = Rc::from(file);
    parse(&files.read(path)?, &file).map_err(|mistakes| {
        let file = file.to_string();
        Mistakes { file, mistakes }.into()
    })
}

fn parse(bytes: &[u8], file: &Rc<str>) -> Result<Vec<Directive>, Invalid> {
    let mut directives = Vec::new();
    let mut mistakes = Vec::new();
    for (line, bytes) in lines::numbered(bytes) {
        let file = Rc::clone(file);
        match directive(Place { file, line }, bytes) {
            Ok(directive) => directives.extend(directive),
            Err(mistake) => mistakes.push((line, mistake)),
        }
    }
    if mistakes.is_empty() {
        Ok(directives)
    } else {
        Err(mistakes)
    }
}

/// The directive in a line; `None` if the line is blank or a comment.
fn directive(place: Place, bytes: &[u8]) -> Result<Option<Directive>, &'static str> {
    if bytes.len() > MAX_LINE_LEN {
        return Err("the line is so long that fwknopd would split it");
    }
    let (text, is_utf8) = decoded(bytes);
    let text = text.trim_matches(is_space);
    if text.is_empty() || text.starts_with(['#', ';']) {
        return Ok(None);
    }
    if text.contains(|c: char| c.is_control() && c != '\t') {
        return Err("the line contains a control character");
    }
    // A semicolon ends the value, even inside a command.
    let (key, rest) = text.split_once(is_space).unwrap_or((text, ""));
    let value = rest.trim_start_matches(is_space).split(';').next();
    let value = value.unwrap_or_default().trim_end_matches(is_space);
    if value.is_empty() {
        return Err("this is not `VARIABLE VALUE`");
    }
    let key = key.rsplit_once(':').map_or(key, |(key, _)| key);
    let is_kept = KEPT.contains(&key) || key.starts_with("%include");
    Ok(Some(Directive {
        place,
        key: key.to_owned(),
        value: if is_kept { value } else { "" }.to_owned(),
        is_utf8,
    }))
}

impl Directive {
    /// Whether the value means yes.
    pub(super) fn is_yes(&self) -> bool {
        self.value.starts_with(['Y', 'y'])
    }

    /// The name of the variable if it looks like one. It may be the rest of a key.
    pub(super) fn shown_key(&self) -> &str {
        const WITH_DIGITS: [&str; 3] = ["%include_keys", "HMAC_KEY_BASE64", "KEY_BASE64"];
        let is_letter = |c: char| c.is_ascii_uppercase() || c == '_';
        let is_name =
            !self.key.is_empty() && self.key.len() <= 32 && self.key.chars().all(is_letter);
        if is_name || WITH_DIGITS.contains(&&self.key[..]) {
            &self.key
        } else {
            "this line"
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

struct Reader<'a> {
    files: &'a dyn Files,
    /// What relative paths are relative to.
    folder: &'a Path,
    /// How many files were read.
    count: usize,
    access: Access,
}

impl Reader<'_> {
    /// Reads the file at `path`, and what it includes.
    fn file(&mut self, path: &Path, depth: usize) -> Result<()> {
        self.count += 1;
        if self.count > MAX_FILES {
            bail!(
                "{}: more than {MAX_FILES} files are included",
                escaped(&path.display().to_string()).collect::<String>()
            );
        }
        // A file continues its own stanza after what it includes.
        let mut stanza = None;
        for directive in directives(path, self.files)? {
            match &directive.key[..] {
                "%include" | "%include_folder" => self
                    .include(&directive, depth)
                    .with_context(|| format!("{}: {}", directive.place, directive.key))?,
                "SOURCE" => stanza = Some(self.stanza(directive)?),
                _ => match stanza.and_then(|index: usize| self.access.stanzas.get_mut(index)) {
                    Some(stanza) => stanza.directives.push(directive),
                    None => self.access.orphans.push(directive),
                },
            }
        }
        Ok(())
    }

    /// Begins a stanza, and returns its index.
    fn stanza(&mut self, source: Directive) -> Result<usize> {
        let index = self.access.stanzas.len();
        if index == MAX_STANZAS {
            bail!(
                "{}: there are more than {MAX_STANZAS} stanzas: is it the right file?",
                source.place
            );
        }
        self.access.stanzas.push(Stanza {
            number: index + 1,
            directives: vec![source],
        });
        Ok(index)
    }

    fn include(&mut self, directive: &Directive, depth: usize) -> Result<()> {
        if depth == MAX_DEPTH {
            bail!("fwknopd does not go deeper than {MAX_DEPTH} files");
        }
        let path = self.folder.join(&directive.value);
        if directive.key == "%include" {
            return self.file(&path, depth + 1);
        }
        let mut paths = self.files.list(&path)?;
        // The order of fwknopd is that of the file system.
        paths.sort();
        for path in paths.iter().filter(|path| is_conf(path)) {
            self.file(path, depth + 1)?;
        }
        Ok(())
    }
}

/// Whether `%include_folder` includes the file: fwknopd compares the first characters of its extension.
fn is_conf(path: &Path) -> bool {
    path.extension()
        .and_then(|extension| extension.to_str())
        .is_some_and(|extension| extension.starts_with("conf"))
}

#[cfg(test)]
pub(super) mod tests;
