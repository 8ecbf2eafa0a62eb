//! A change of the configuration: made by one command at a time, validated, and written at once.

use std::path::{Path, PathBuf};

use anyhow::Result;
use knockd_config::Config;

use super::document::Document;
use crate::{patience, replacement::Replacement};

/// A change that is being made. Dropping it changes nothing.
#[derive(Debug)]
pub(super) struct Change<'a> {
    config: &'a Path,
    /// The files that may be edited, in the order in which they are replaced. One of them is the
    /// configuration itself, whose replacement is the lock of the change as a whole.
    parts: Vec<Part>,
}

/// A file that may be edited.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    document: Document,
    replacement: Replacement,
}

impl Part {
    fn open(path: &Path) -> Result<Self> {
        // Before the text is read, so that no change is made to a text that is out of date.
        let replacement = Replacement::begin(path)?;
        let document = Document::read(path)?;
        Ok(Self {
            path: path.to_owned(),
            document,
            replacement,
        })
    }
}

impl<'a> Change<'a> {
    /// Begins a change of the configuration at `config`.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be read, or if another change is in progress.
    pub(super) fn begin(config: &'a Path) -> Result<Self> {
        let parts = vec![Part::open(config)?];
        Ok(Self { config, parts })
    }

    /// The configuration before the change.
    ///
    /// # Errors
    ///
    /// Returns an error with every problem in it.
    pub(super) fn before(&self) -> Result<Config> {
        patience::load(self.config)
    }

    /// The file at `path`, the configuration or one that it includes, to be edited. Files are replaced
    /// in the order of the last call for each.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be read, or if another change is in progress.
    pub(super) fn edit(&mut self, path: &Path) -> Result<&mut Document> {
        let known = self.parts.iter().position(|part| part.path == path);
        let part = match known {
            Some(index) => self.parts.remove(index),
            None => Part::open(path)?,
        };
        let last = self.parts.len();
        self.parts.push(part);
        Ok(&mut self.parts[last].document)
    }

    /// Validates the change and writes it to the disk, beside the configuration. If it replaces several
    /// files, the configuration is valid after each of them, so that a crash in between does no harm.
    ///
    /// # Errors
    ///
    /// Returns an error if the configuration would be invalid, or if it cannot be written.
    pub(super) fn prepare(self) -> Result<Prepared> {
        let changed = |part: &Part| part.document.is_changed();
        let (parts, unchanged): (Vec<_>, Vec<_>) = self.parts.into_iter().partition(changed);
        let texts = parts.iter().map(|part| part.document.to_string());
        let texts: Vec<_> = texts.collect();
        let paths = parts.iter().map(|part| part.path.as_path());
        let changes: Vec<_> = paths.zip(texts.iter().map(String::as_str)).collect();
        for count in 1..changes.len() {
            patience::parse_changed(self.config, &changes[..count])?;
        }
        let after = patience::parse_changed(self.config, &changes)?;
        for (part, text) in parts.iter().zip(&texts) {
            part.replacement.write(text)?;
        }
        let replacements = |parts: Vec<Part>| parts.into_iter().map(|part| part.replacement);
        Ok(Prepared {
            after,
            replacements: replacements(parts).collect(),
            _locks: replacements(unchanged).collect(),
        })
    }
}

/// A valid change that only has to be put in place. Dropping it changes nothing.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The configuration after the change.
    pub(super) after: Config,
    replacements: Vec<Replacement>,
    /// Those of files that stay as they are, which keep others from changing them.
    _locks: Vec<Replacement>,
}

impl Prepared {
    /// Puts the change in place.
    ///
    /// # Errors
    ///
    /// Returns an error if that fails. What was not replaced by then is unchanged.
    pub(super) fn complete(self) -> Result<()> {
        self.replacements
            .into_iter()
            .try_for_each(Replacement::complete)
    }
}
