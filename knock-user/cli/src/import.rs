//! `knockd import-knockd` and `knockd import-fwknop`: convert the configurations of other daemons.
//!
//! `knockd` and `fwknop` parse a file like the daemon that reads it, and convert it. Nothing is lost
//! silently: what cannot be converted becomes a comment.

mod command;
pub(crate) mod fwknop;
pub(crate) mod knockd;
mod lines;
mod names;
mod shell;
mod text;

use std::{collections::HashSet, path::Path};

use anyhow::{Result, bail};
use tracing::warn;

use self::text::array;
use crate::{
    new_file::{self, NewFile},
    output,
};

/// The result of a conversion.
#[derive(Debug, Default)]
pub(crate) struct Import {
    /// The text of the new configuration.
    pub(crate) text: String,
    /// The names of the converted doors.
    pub(crate) doors: Vec<String>,
    /// What was skipped, each as `FILE:LINE: MESSAGE` with the reason.
    left_out: Vec<String>,
}

impl Import {
    /// Appends a line to the text.
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Appends comments about what was converted last.
    fn notes(&mut self, notes: &[String]) {
        for note in notes {
            self.line(&format!("#   {note}"));
        }
    }

    /// Writes `interfaces`. `named` may contain duplicates. If it is empty, the other daemon's default
    /// is used and `explanation` written.
    fn interfaces<'a>(&mut self, named: impl Iterator<Item = &'a String>, explanation: &str) {
        let mut seen = HashSet::new();
        let (mut interfaces, bad): (Vec<_>, Vec<_>) = named
            .filter(|name| seen.insert(*name))
            .cloned()
            .partition(|name| knockd_config::is_interface(name));
        for name in &bad {
            self.line(&format!(
                "# {name:?} is not an interface name: replace it with the intended one."
            ));
        }
        let mut commented = "";
        if interfaces.is_empty() {
            interfaces.push("eth0".into());
            if bad.is_empty() {
                self.line(&format!("# {explanation}"));
            } else {
                commented = "# ";
            }
        }
        self.line(&format!("{commented}interfaces = {}", array(&interfaces)));
    }

    /// Logs what was skipped.
    ///
    /// # Errors
    ///
    /// Returns an error with the reasons if no door of `source` is left.
    fn expect_a_door(&self, source: &Path) -> Result<()> {
        if self.doors.is_empty() {
            let reasons = self.left_out.iter();
            let reasons: String = reasons.map(|reason| format!("\n{reason}")).collect();
            bail!("{}: no door can be converted{reasons}", source.display());
        }
        for reason in &self.left_out {
            warn!("{reason}");
        }
        Ok(())
    }

    /// Prints the text, or writes it to the new file `output` (mode 0600).
    ///
    /// # Errors
    ///
    /// Returns an error if `output` exists already, or nothing can be written.
    fn write(&self, output: Option<&Path>) -> Result<Option<NewFile>> {
        match output {
            None => {
                output::print_exactly(&self.text)?;
                Ok(None)
            }
            Some(path) => new_file::write_configuration(path, &self.text).map(Some),
        }
    }
}
