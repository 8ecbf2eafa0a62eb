//! A terminal emulator for interactive programs: it renders their output and sends key presses.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    mem,
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, Command, ExitStatus},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    pty::openpty,
    sys::{
        signal::{Signal, kill},
        termios::{Termios, tcgetattr},
    },
    unistd::Pid,
};
use rustix::termios::{Winsize, tcsetwinsize};

/// A pseudoterminal with a program, which is killed and reaped when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    /// The master end: writes are key presses.
    master: File,
    /// Kept open, so that the settings can be read after the program has ended.
    slave: OwnedFd,
    settings_before: Termios,
    child: Child,
    output: Arc<Output>,
}

#[derive(Debug)]
struct Output {
    display: Mutex<Display>,
    changed: Condvar,
}

impl Terminal {
    /// Starts `command` in a new terminal of `columns` × `rows`. The command must make it its
    /// controlling terminal, for instance with `setsid --ctty`.
    ///
    /// # Errors
    ///
    /// Returns an error if no pseudoterminal is available or the command cannot be started.
    pub fn spawn(mut command: Command, columns: u16, rows: u16) -> Result<Self> {
        let pty = openpty(None, None).context("cannot make a terminal")?;
        tcsetwinsize(&pty.master, size(columns, rows))?;
        command
            .stdin(pty.slave.try_clone()?)
            .stdout(pty.slave.try_clone()?)
            .stderr(pty.slave.try_clone()?)
            .env("TERM", "xterm-256color");
        let settings_before = tcgetattr(pty.slave.as_fd())?;
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let output = Arc::new(Output {
            display: Mutex::new(Display::new(columns.into(), rows.into())),
            changed: Condvar::new(),
        });
        let master = File::from(pty.master);
        output.follow(master.try_clone()?);
        Ok(Self {
            master,
            slave: pty.slave,
            settings_before,
            child,
            output,
        })
    }

    /// Whether the terminal's settings (echo, signal characters and so on) are the same as before
    /// the program started.
    ///
    /// # Errors
    ///
    /// Returns an error if tcgetattr(3) fails.
    pub fn settings_are_restored(&self) -> Result<bool> {
        Ok(tcgetattr(self.slave.as_fd())? == self.settings_before)
    }

    /// Sends `keys` as input.
    ///
    /// # Errors
    ///
    /// Returns an error if the write fails.
    pub fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.master.write_all(keys.as_bytes())?)
    }

    /// Resizes the terminal to `columns` × `rows`; the kernel sends SIGWINCH.
    ///
    /// # Errors
    ///
    /// Returns an error if the ioctl fails.
    pub fn resize(&self, columns: u16, rows: u16) -> Result<()> {
        // Resized first, so that output for the new size fits.
        self.output.display().resize(columns.into(), rows.into());
        Ok(tcsetwinsize(&self.master, size(columns, rows))?)
    }

    /// Sends `signal` to the program.
    ///
    /// # Errors
    ///
    /// Returns an error if the process does not exist.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id())?;
        Ok(kill(Pid::from_raw(id), signal)?)
    }

    /// Waits until the primary screen with a visible cursor is back, and returns its text.
    ///
    /// # Errors
    ///
    /// Returns an error, with the current text, on timeout.
    pub fn wait_for_shell(&self, timeout: Duration) -> Result<String> {
        self.wait(
            |display| display.first.is_none() && !display.hides_cursor,
            timeout,
        )
    }

    /// Waits until the screen's text satisfies `wanted`, and returns it.
    ///
    /// # Errors
    ///
    /// Returns an error, with the current text, on timeout.
    pub fn wait_for(&self, wanted: impl Fn(&str) -> bool, timeout: Duration) -> Result<String> {
        self.wait(|display| wanted(&display.text()), timeout)
    }

    fn wait(&self, wanted: impl Fn(&Display) -> bool, timeout: Duration) -> Result<String> {
        let deadline = Instant::now() + timeout;
        let mut display = self.output.display();
        loop {
            if wanted(&display) {
                return Ok(display.text());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                bail!(
                    "the terminal does not show the expected text but\n{}",
                    display.text()
                );
            }
            let outcome = self.output.changed.wait_timeout(display, left);
            display = outcome.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All bytes received so far.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.output.display().bytes.clone()
    }

    /// Waits for the program to end.
    ///
    /// # Errors
    ///
    /// Returns an error, with the current text, on timeout.
    pub fn ended(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!(
                    "the program did not end; the screen shows\n{}",
                    self.output.display().text()
                );
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Both fail only if the process was reaped before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    /// Renders the output on a thread that ends with the terminal.
    fn follow(self: &Arc<Self>, mut master: File) {
        let output = Arc::clone(self);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(len @ 1..) = master.read(&mut buffer) {
                let mut display = output.display();
                display.write(buffer.get(..len).unwrap_or_default());
                output.changed.notify_all();
            }
        });
    }

    fn display(&self) -> MutexGuard<'_, Display> {
        // A panic inside `wanted` cannot leave the display inconsistent.
        self.display.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The subset of a terminal that the tests need: single-width characters, cursor position (ECMA-48,
/// CUP), CR and LF, erase in display (ED) and xterm's alternate screen (1049). Other control
/// sequences are ignored.
#[derive(Debug)]
struct Display {
    bytes: Vec<u8>,
    /// Number of bytes rendered.
    shown: usize,
    cells: Vec<Vec<char>>,
    /// The primary screen while the alternate screen is shown.
    first: Option<Vec<Vec<char>>>,
    row: usize,
    column: usize,
    hides_cursor: bool,
}

impl Display {
    fn new(columns: usize, rows: usize) -> Self {
        Self {
            bytes: Vec::new(),
            shown: 0,
            cells: vec![vec![' '; columns]; rows],
            first: None,
            row: 0,
            column: 0,
            hides_cursor: false,
        }
    }

    /// Clears both screens.
    fn resize(&mut self, columns: usize, rows: usize) {
        let blank = vec![vec![' '; columns]; rows];
        if let Some(first) = &mut self.first {
            first.clone_from(&blank);
        }
        self.cells = blank;
    }

    fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        while let Some(used) = self.step() {
            self.shown += used;
        }
    }

    /// Renders the next character or control sequence and returns its length, or `None` if it is
    /// incomplete.
    fn step(&mut self) -> Option<usize> {
        let rest = self.bytes.get(self.shown..)?;
        match *rest {
            [] | [0x1b] => None,
            [0x1b, b'[', ref sequence @ ..] => {
                let end = sequence.iter().position(|b| (0x40..=0x7e).contains(b))?;
                let parameters = String::from_utf8_lossy(sequence.get(..end)?).into_owned();
                let function = *sequence.get(end)?;
                self.control(function, &parameters);
                Some(end + 3)
            }
            [0x1b, ..] => Some(2),
            [b'\r', ..] => {
                self.column = 0;
                Some(1)
            }
            [b'\n', ..] => {
                self.row += 1;
                Some(1)
            }
            [first, ..] => {
                let len = match first {
                    0xf0.. => 4,
                    0xe0.. => 3,
                    0xc0.. => 2,
                    _ => 1,
                };
                let text = String::from_utf8_lossy(rest.get(..len)?).into_owned();
                self.put(text.chars().next().unwrap_or('\u{fffd}'));
                Some(len)
            }
        }
    }

    fn control(&mut self, function: u8, parameters: &str) {
        let mut numbers = parameters
            .split(';')
            .map(|n| n.parse::<usize>().unwrap_or(1));
        match (function, parameters) {
            (b'h', "?1049") => {
                let blank = self.cells.iter().map(|row| vec![' '; row.len()]).collect();
                self.first = Some(mem::replace(&mut self.cells, blank));
            }
            (b'l', "?1049") => {
                if let Some(first) = self.first.take() {
                    self.cells = first;
                }
            }
            (b'h' | b'l', "?25") => self.hides_cursor = function == b'l',
            (b'H', _) => {
                self.row = numbers.next().unwrap_or(1).saturating_sub(1);
                self.column = numbers.next().unwrap_or(1).saturating_sub(1);
            }
            (b'J', _) => self.cells.iter_mut().for_each(|row| row.fill(' ')),
            _ => {}
        }
    }

    fn put(&mut self, c: char) {
        let row = self.cells.get_mut(self.row);
        if let Some(cell) = row.and_then(|row| row.get_mut(self.column)) {
            *cell = c;
        }
        self.column += 1;
    }

    fn text(&self) -> String {
        let rows = self.cells.iter().map(|row| row.iter().collect::<String>());
        rows.map(|row| format!("{}\n", row.trim_end())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_text_is_rendered() {
        let mut display = Display::new(6, 2);
        for byte in "\u{1b}[2J\u{1b}[2;3H\u{1b}[1;31m…b\u{1b}[1;1Hc\r\nd".bytes() {
            display.write(&[byte]);
        }
        assert_eq!(display.text(), "c\nd …b\n");
    }

    #[test]
    fn the_primary_screen_is_restored() {
        let mut display = Display::new(6, 1);
        display.write(b"first\x1b[?1049h\x1b[?25l\x1b[1;1Hother");
        assert_eq!(display.text(), "other\n");
        assert!(display.hides_cursor);
        display.write(b"\x1b[?1049l\x1b[?25h");
        assert_eq!(display.text(), "first\n");
        assert!(!display.hides_cursor);
    }
}
