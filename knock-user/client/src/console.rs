//! What a person sees while and after a knock.

use std::{
    io::{self, Write},
    time::Duration,
};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressStyle};

/// Where a person reads.
///
/// The result goes to `out`, and all else to `notes`: `ssh` throws away what a command of its
/// `Match exec` writes to standard output, and shows what it writes to standard error.
pub struct Console<'a> {
    out: &'a mut dyn Write,
    notes: &'a mut dyn Write,
    live: bool,
    spinner: Option<ProgressBar>,
}

impl<'a> Console<'a> {
    /// A console that writes to `out` and `notes`. `live` tells that standard error is a
    /// terminal: progress is shown there as a line that moves, and disappears.
    #[must_use]
    pub fn new(out: &'a mut dyn Write, notes: &'a mut dyn Write, live: bool) -> Self {
        Self {
            out,
            notes,
            live,
            spinner: None,
        }
    }

    /// Says the result, one line. A reader that has gone away (a broken pipe) is no error.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn say(&mut self, line: &str) -> Result<()> {
        self.quiet();
        write_line(self.out, line)
    }

    /// Says what went wrong without spoiling the knock.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn note(&mut self, line: &str) -> Result<()> {
        let (notes, line) = (&mut *self.notes, format!("knock: {line}"));
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| write_line(notes, &line)),
            None => write_line(notes, &line),
        }
    }

    /// Tells that it takes a while: on a terminal in a line that moves.
    pub fn wait(&mut self, what: &str) {
        if !self.live {
            return;
        }
        let spinner = self.spinner.get_or_insert_with(|| {
            let spinner = ProgressBar::new_spinner();
            // The standard style, should this one ever be wrong.
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                spinner.set_style(style);
            }
            spinner.enable_steady_tick(Duration::from_millis(100));
            spinner
        });
        spinner.set_message(what.to_owned());
    }

    /// Tells that it takes longer: where [`Console::wait`] shows nothing, in a line.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn wait_longer(&mut self, what: &str) -> Result<()> {
        self.wait(what);
        match &self.spinner {
            // A terminal that cannot move its lines has one all the same.
            Some(spinner) if !spinner.is_hidden() => Ok(()),
            _ => self.note(what),
        }
    }

    /// Takes the line that moves away.
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

fn write_line(to: &mut dyn Write, line: &str) -> Result<()> {
    match writeln!(to, "{line}").and_then(|()| to.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write the result"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Error;

    use super::*;

    /// Always fails to write, in the way given.
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
    fn only_a_broken_pipe_is_forgiven() {
        let write_to = |kind| {
            let mut notes = Vec::new();
            Console::new(&mut Broken(kind), &mut notes, false).say("done")
        };
        assert!(write_to(io::ErrorKind::BrokenPipe).is_ok());
        assert!(write_to(io::ErrorKind::StorageFull).is_err());
    }

    #[test]
    fn the_result_stands_apart() {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut out, &mut notes, false);
        console.wait("knocking");
        console.wait_longer("knocking again").unwrap();
        console.note("half of it").unwrap();
        console.say("done").unwrap();
        drop(console);
        assert_eq!(String::from_utf8(out).unwrap(), "done\n");
        let notes = String::from_utf8(notes).unwrap();
        assert_eq!(notes, "knock: knocking again\nknock: half of it\n");
    }
}
