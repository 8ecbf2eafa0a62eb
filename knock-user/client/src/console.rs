//! The output of the client during and after a knock.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};
use knock_common::legible::escaped;

/// Prints results and notes for a person.
///
/// The result goes to `out`, and everything else to `notes`, because `ssh` discards the standard
/// output of a `Match exec` command but shows its standard error.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    notes: &'a mut dyn Write,
    live: bool,
    spinner: Option<ProgressBar>,
}

impl<'a> Console<'a> {
    /// A console that writes to `out` and `notes`. If `live` is set, standard error is a
    /// terminal, and a temporary line there shows progress.
    #[must_use]
    pub fn new(out: &'a mut dyn Write, notes: &'a mut dyn Write, live: bool) -> Self {
        Self {
            out,
            notes,
            live,
            spinner: None,
        }
    }

    /// Prints one line of the result. A broken pipe is not an error.
    ///
    /// # Errors
    ///
    /// Returns an error if the line cannot be written.
    pub fn print(&mut self, line: &str) -> Result<()> {
        self.quiet();
        write_line(self.out, line)
    }

    /// Writes `text` to the result as it is: what a program reads.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be written.
    pub fn copy(&mut self, text: &str) -> Result<()> {
        self.quiet();
        let written = self.out.write_all(text.as_bytes());
        written
            .and_then(|()| self.out.flush())
            .context("cannot write the result")
    }

    /// Prints one line about a problem that did not prevent the knock.
    ///
    /// # Errors
    ///
    /// Returns an error if the line cannot be written.
    pub fn note(&mut self, line: &str) -> Result<()> {
        let (notes, line) = (&mut *self.notes, format!("knock: {line}"));
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| write_line(notes, &line)),
            None => write_line(notes, &line),
        }
    }

    /// Shows `what` as progress, if standard error is a terminal.
    pub fn wait(&mut self, what: &str) {
        if !self.live {
            return;
        }
        let spinner = self.spinner.get_or_insert_with(|| {
            let spinner = ProgressBar::new_spinner();
            // On an invalid template the default style is used.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        });
        spinner.set_message(what.to_owned());
    }

    /// Shows `what` as progress, or prints it as a line if there is no terminal.
    ///
    /// # Errors
    ///
    /// Returns an error if the line cannot be written.
    pub fn wait_longer(&mut self, what: &str) -> Result<()> {
        self.wait(what);
        match &self.spinner {
            // indicatif hides the spinner on terminals that cannot move the cursor.
            Some(spinner) if !spinner.is_hidden() => Ok(()),
            _ => self.note(what),
        }
    }

    /// Removes the progress line.
    pub fn quiet(&mut self) {
        if let Some(spinner) = self.spinner.take() {
            spinner.finish_and_clear();
        }
    }
}

impl Drop for Console<'_> {
    fn drop(&mut self) {
        self.quiet();
    }
}

/// `text` with everything escaped that could control the terminal or mislead its reader: it may
/// contain a file's name, or the answer of another host. Line feeds stay.
#[must_use]
pub fn legible(text: &str) -> String {
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| escaped(line).collect())
        .collect();
    lines.join("\n")
}

fn write_line(to: &mut dyn Write, line: &str) -> Result<()> {
    match writeln!(to, "{}", legible(line)).and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the result"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    /// A writer that always fails with this kind of error.
    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(Error::from(self.0))
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_a_broken_pipe_is_ignored() {
        let write_to = |kind| {
            let mut notes = Vec::new();
            Console::new(&mut Broken(kind), &mut notes, false).print("done")
        };
        assert!(write_to(io::ErrorKind::BrokenPipe).is_ok());
        assert!(write_to(io::ErrorKind::StorageFull).is_err());
    }

    #[test]
    fn the_result_is_separate_from_notes() {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut out, &mut notes, false);
        console.wait("knocking");
        console.wait_longer("knocking again").unwrap();
        console.note("half of it").unwrap();
        console.print("done").unwrap();
        drop(console);
        assert_eq!(String::from_utf8(out).unwrap(), "done\n");
        let notes = String::from_utf8(notes).unwrap();
        assert_eq!(notes, "knock: knocking again\nknock: half of it\n");
    }
}
