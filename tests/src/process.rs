//! Processes under observation: what they print is an event to wait for.

use std::{
    io::{BufRead as _, BufReader, Read},
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
pub use nix::sys::signal::Signal;
use nix::{sys::signal::kill, unistd::Pid};

/// Where a process printed a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Its standard output.
    Out,
    /// Its standard error.
    Err,
}

/// A line that a process printed, without its newline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it was printed.
    pub stream: Stream,
    /// What it says; bytes that are not UTF-8 are replaced.
    pub text: String,
}

/// A process whose output is captured. It is killed and reaped when this is dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    output: Arc<Output>,
}

#[derive(Debug, Default)]
struct Output {
    printed: Mutex<Printed>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Printed {
    lines: Vec<Line>,
    /// How many of the two streams have ended.
    ended: u8,
}

/// Copies the program `from` to `to`, where it is run.
///
/// By cp(1): a file that this process has written cannot be run ("Text file busy") as long as a
/// child, which another thread starts meanwhile, has it open as well.
///
/// # Errors
///
/// One cannot be read or the other not written.
pub fn copy_program(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg(from).arg(to).status()?;
    ensure!(
        status.success(),
        "{} is not copied to {}",
        from.display(),
        to.display()
    );
    Ok(())
}

impl Running {
    /// Starts `command` with an empty standard input.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null());
        Self::start(command)
    }

    /// Starts `command` with a standard input to write to; dropping that ends it.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn_fed(mut command: Command) -> Result<(Self, ChildStdin)> {
        command.stdin(Stdio::piped());
        let mut running = Self::start(command)?;
        let stdin = running.child.stdin.take().context("no standard input")?;
        Ok((running, stdin))
    }

    fn start(mut command: Command) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = format!("{command:?}");
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let output = Arc::new(Output::default());
        if let Some(pipe) = child.stdout.take() {
            output.follow(Stream::Out, pipe);
        }
        if let Some(pipe) = child.stderr.take() {
            output.follow(Stream::Err, pipe);
        }
        Ok(Self {
            name,
            child,
            output,
        })
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that was printed so far, in the order in which it arrived.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.output.printed().lines.clone()
    }

    /// What was printed to one stream so far, with a newline after each line.
    #[must_use]
    pub fn text(&self, stream: Stream) -> String {
        let printed = self.output.printed();
        let lines = printed.lines.iter().filter(|line| line.stream == stream);
        lines.map(|line| format!("{}\n", line.text)).collect()
    }

    /// The place after the last line so far, for [`wait_for_after`](Self::wait_for_after).
    #[must_use]
    pub fn mark(&self) -> usize {
        self.output.printed().lines.len()
    }

    /// The first line that is `wanted`, printed already or within `timeout`.
    ///
    /// # Errors
    ///
    /// When no such line comes, because the time is over or the process ended; the error
    /// has everything that was printed.
    pub fn wait_for(&self, wanted: impl FnMut(&str) -> bool, timeout: Duration) -> Result<String> {
        self.wait_for_after(0, wanted, timeout)
    }

    /// Like [`wait_for`](Self::wait_for), but passes over the lines before `mark`.
    ///
    /// # Errors
    ///
    /// Like [`wait_for`](Self::wait_for).
    pub fn wait_for_after(
        &self,
        mark: usize,
        mut wanted: impl FnMut(&str) -> bool,
        timeout: Duration,
    ) -> Result<String> {
        let deadline = Instant::now() + timeout;
        let mut next = mark;
        let mut printed = self.output.printed();
        loop {
            let new = printed.lines.get(next..).unwrap_or_default();
            if let Some(line) = new.iter().find(|line| wanted(&line.text)) {
                return Ok(line.text.clone());
            }
            next = next.max(printed.lines.len());
            let left = deadline.saturating_duration_since(Instant::now());
            let why = match (printed.has_ended(), left.is_zero()) {
                (true, _) => "it ended",
                (false, true) => "the time was over",
                (false, false) => {
                    printed = self.output.wait(printed, left);
                    continue;
                }
            };
            bail!(
                "{why} before the awaited line came from {}; it printed:\n{}",
                self.name,
                printed.transcript()
            );
        }
    }

    /// Sends `signal` to the process.
    ///
    /// # Errors
    ///
    /// When it is gone already.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.id()).context("no process id")?;
        kill(Pid::from_raw(id), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Whether the process has ended.
    ///
    /// # Errors
    ///
    /// When the kernel does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// How the process ended, with all its output read.
    ///
    /// # Errors
    ///
    /// When it does not end within `timeout`; the error has everything that it printed.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if Instant::now() >= deadline {
                bail!(
                    "{} did not end; it printed:\n{}",
                    self.name,
                    self.output.printed().transcript()
                );
            }
            thread::sleep(Duration::from_millis(2));
        };
        let mut printed = self.output.printed();
        // A grandchild may hold the pipes open for as long as it likes.
        while !printed.has_ended() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            printed = self.output.wait(printed, left);
        }
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only for a process that was reaped already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    /// Collects the lines of `pipe` on a thread that ends with it.
    fn follow(self: &Arc<Self>, stream: Stream, pipe: impl Read + Send + 'static) {
        let output = Arc::clone(self);
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut bytes = Vec::new();
            while pipe.read_until(b'\n', &mut bytes).is_ok_and(|len| len > 0) {
                let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                let text = String::from_utf8_lossy(text).into_owned();
                output.printed().lines.push(Line { stream, text });
                output.changed.notify_all();
                bytes.clear();
            }
            output.printed().ended += 1;
            output.changed.notify_all();
        });
    }

    fn printed(&self) -> MutexGuard<'_, Printed> {
        // A test that panicked inside `wanted` left the lines whole.
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(
        &self,
        printed: MutexGuard<'a, Printed>,
        left: Duration,
    ) -> MutexGuard<'a, Printed> {
        let outcome = self.changed.wait_timeout(printed, left);
        outcome.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Printed {
    fn has_ended(&self) -> bool {
        self.ended == 2
    }

    fn transcript(&self) -> String {
        let lines = self.lines.iter();
        lines.map(|line| format!("  {}\n", line.text)).collect()
    }
}

/// What `/proc` says of the process with this id behind `key`.
///
/// # Errors
///
/// There is no such process.
pub fn status(process: u32, key: &str) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    Ok(value.context("there is no such line")?.trim().to_owned())
}
