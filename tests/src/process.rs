//! Child processes whose output a test can wait for.

use std::{
    io::{BufRead as _, BufReader, Read},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
pub use nix::sys::signal::Signal;
use nix::{sys::signal::kill, unistd::Pid};
use rustix::pipe::fcntl_setpipe_size;

/// The largest size of a pipe that every user may ask for, by default (pipe(7)).
const PIPE_SIZE: usize = 1024 * 1024;

/// The output stream of a line.
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
    /// The stream.
    pub stream: Stream,
    /// The text; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// When it was read.
    pub at: Instant,
}

/// A process with captured output. It is killed and reaped when this is dropped.
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
    /// Number of streams that have ended, 0 to 2.
    ended: u8,
}

/// Copies the program `from` to `to`, to be executed there.
///
/// Uses cp(1), because execve(2) of a file that this process has just written can fail with
/// ETXTBSY: a child that another thread forks at that moment inherits the file descriptor.
///
/// # Errors
///
/// Returns an error if `from` cannot be read or `to` cannot be written.
pub fn copy_program(from: &Path, to: &Path) -> Result<()> {
    let status = Command::new("cp").arg(from).arg(to).status()?;
    ensure!(
        status.success(),
        "cannot copy {} to {}",
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
    /// Returns an error if the command cannot be started.
    pub fn spawn(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null());
        Self::start(command)
    }

    /// Starts `command` with a pipe as standard input; dropping the pipe ends the input.
    ///
    /// # Errors
    ///
    /// Returns an error if the command cannot be started.
    pub fn spawn_fed(mut command: Command) -> Result<(Self, ChildStdin)> {
        command.stdin(Stdio::piped());
        let mut running = Self::start(command)?;
        let stdin = running.child.stdin.take().context("no standard input")?;
        Ok((running, stdin))
    }

    /// Starts `command` with this standard input.
    ///
    /// # Errors
    ///
    /// Returns an error if the command cannot be started.
    pub fn spawn_with(mut command: Command, stdin: OwnedFd) -> Result<Self> {
        command.stdin(stdin);
        Self::start(command)
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
            // The daemon does not wait for the reader, which may get no processor for some time.
            let _ = fcntl_setpipe_size(&pipe, PIPE_SIZE);
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

    /// All lines printed so far, in the order of their arrival.
    #[must_use]
    pub fn lines(&self) -> Vec<Line> {
        self.output.printed().lines.clone()
    }

    /// The lines printed to one stream so far, each with a newline.
    #[must_use]
    pub fn text(&self, stream: Stream) -> String {
        let printed = self.output.printed();
        let lines = printed.lines.iter().filter(|line| line.stream == stream);
        lines.map(|line| format!("{}\n", line.text)).collect()
    }

    /// The position after the last line, for [`wait_for_after`](Self::wait_for_after).
    #[must_use]
    pub fn mark(&self) -> usize {
        self.output.printed().lines.len()
    }

    /// Waits up to `timeout` for the first line that satisfies `wanted`, including lines printed
    /// before.
    ///
    /// # Errors
    ///
    /// Returns an error, with all the output, on timeout or if the process ends first.
    pub fn wait_for(&self, wanted: impl FnMut(&str) -> bool, timeout: Duration) -> Result<String> {
        self.wait_for_after(0, wanted, timeout)
    }

    /// Like [`wait_for`](Self::wait_for), but ignores the lines before `mark`.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`wait_for`](Self::wait_for).
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
                (false, true) => "the timeout expired",
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
    /// Returns an error if the process does not exist.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.id()).context("no process id")?;
        kill(Pid::from_raw(id), signal)
            .with_context(|| format!("cannot send {signal} to {}", self.name))
    }

    /// Whether the process has ended.
    ///
    /// # Errors
    ///
    /// Returns an error if waitpid(2) fails.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for the process to end and reads the rest of its output.
    ///
    /// # Errors
    ///
    /// Returns an error, with all the output, if the process does not end within `timeout`.
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
        // A grandchild may keep the pipes open.
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
        // Both fail only if the process was reaped before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Output {
    /// Collects the lines of `pipe` on a thread that ends with the pipe.
    fn follow(self: &Arc<Self>, stream: Stream, pipe: impl Read + Send + 'static) {
        let output = Arc::clone(self);
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            let mut bytes = Vec::new();
            while pipe.read_until(b'\n', &mut bytes).is_ok_and(|len| len > 0) {
                let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                let text = String::from_utf8_lossy(text).into_owned();
                output.printed().lines.push(Line {
                    stream,
                    text,
                    at: Instant::now(),
                });
                output.changed.notify_all();
                bytes.clear();
            }
            output.printed().ended += 1;
            output.changed.notify_all();
        });
    }

    fn printed(&self) -> MutexGuard<'_, Printed> {
        // A panic inside `wanted` cannot leave the lines inconsistent.
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

/// The value of `key` in the file `/proc/PID/status` of a process.
///
/// # Errors
///
/// Returns an error if there is no such process or no such key.
pub fn status(process: u32, key: &str) -> Result<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let value = status
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    Ok(value.context("there is no such line")?.trim().to_owned())
}
