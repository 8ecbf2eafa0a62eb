//! Runs the commands of doors: an argv without a shell, a bounded number in parallel, a time
//! limit for each, and their output in the log.

mod slots;

use std::{
    fmt,
    fs::File,
    io,
    num::NonZeroUsize,
    path::Path,
    process::{ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result};
use knock_common::legible::escaped;
use knockd_types::command::Command;
use rustix::process::{Pid, Signal, kill_process_group, setsid};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::Child,
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tracing::{info, warn};

pub use self::slots::Lane;
use self::slots::Slots;

/// The search path for programs without a slash, and the `PATH` of every command.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const NULL: &str = "/dev/null";

/// Whether a command's program exists in the search path.
#[must_use]
pub fn is_there(program: &str) -> bool {
    if program.contains('/') {
        // Commands run in `/`.
        Path::new("/").join(program).is_file()
    } else {
        PATH.split(':')
            .any(|dir| Path::new(dir).join(program).is_file())
    }
}

/// Lines of one command's output that are logged. The rest is read and discarded.
const MAX_LINES: usize = 100;

/// Bytes of one output line that are logged.
const MAX_LINE: usize = 1024;

/// The time for which output is read after a command has exited. A background process that the
/// command left behind may keep the pipe open forever.
const OUTPUT_GRACE: Duration = Duration::from_millis(500);

/// The outcome of a command.
#[derive(Debug)]
pub enum Ending {
    /// It exited with status 0.
    Succeeded,
    /// It exited with another status, or a signal terminated it.
    Failed(ExitStatus),
    /// It exceeded the time limit and was killed with its process group.
    TimedOut(Duration),
    /// It could not be started.
    NotStarted(io::Error),
}

impl Ending {
    /// Whether the command succeeded.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        matches!(self, Self::Succeeded)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => f.write_str("succeeded"),
            Self::Failed(status) => write!(f, "failed: {status}"),
            Self::TimedOut(limit) => write!(
                f,
                "was killed: it took longer than {}",
                humantime::format_duration(*limit)
            ),
            Self::NotStarted(error) => write!(f, "could not be started: {error}"),
        }
    }
}

/// Starts commands and reports the outcome of each. `T` identifies a command.
///
/// Commands beyond the bound wait in a queue. The caller bounds the queue: one command per open
/// door.
#[derive(Debug)]
pub struct Executor<T> {
    opening: Slots,
    closing: Slots,
    time_limit: Duration,
    /// `/dev/null`, the standard input of every command.
    null: Arc<File>,
    /// Whether commands get a session of their own, because this process has a controlling terminal.
    /// That is slow, since it takes fork(2).
    own_session: bool,
    endings: mpsc::UnboundedSender<(T, Ending)>,
}

impl<T: Copy + Send + 'static> Executor<T> {
    /// An executor that runs up to `at_once` commands in parallel that open doors, and as many that
    /// close doors, each for up to `time_limit`, and the channel that reports their outcomes.
    ///
    /// # Errors
    ///
    /// Returns an error if `/dev/null` cannot be opened.
    pub fn new(
        at_once: NonZeroUsize,
        time_limit: Duration,
    ) -> Result<(Self, mpsc::UnboundedReceiver<(T, Ending)>)> {
        let (endings, received) = mpsc::unbounded_channel();
        let null = File::open(NULL).with_context(|| format!("{NULL} cannot be read"))?;
        let executor = Self {
            opening: Slots::new(at_once),
            closing: Slots::new(at_once),
            time_limit,
            null: Arc::new(null),
            own_session: false,
            endings,
        };
        Ok((executor, received))
    }

    /// Runs each command in a session of its own.
    pub fn use_own_sessions(&mut self) {
        self.own_session = true;
    }

    /// Changes the bounds. Commands that were started before keep the old ones.
    pub fn set_limits(&mut self, at_once: NonZeroUsize, time_limit: Duration) {
        self.opening = Slots::new(at_once);
        self.closing = Slots::new(at_once);
        self.time_limit = time_limit;
    }

    /// Starts `command` as soon as a slot of its lane is free and calls `begun` when it runs. `id`
    /// identifies the command when its end is reported; `label` prefixes its output in the log.
    pub fn start(
        &mut self,
        id: T,
        lane: Lane,
        label: String,
        command: Command,
        begun: impl FnOnce() + Send + 'static,
    ) {
        let null = Arc::clone(&self.null);
        let own_session = self.own_session;
        let launch = move || {
            let child = spawn(&command, &null, own_session)?;
            begun();
            Ok(child)
        };
        let slots = if lane.closes {
            &mut self.closing
        } else {
            &mut self.opening
        };
        let claim = slots.claim(lane);
        // Fails while another command of the lane waits, so the order of requests is kept.
        let launched = match claim.try_take() {
            Some(slot) => Ok((slot, launch())),
            None => Err((claim, launch)),
        };
        let endings = self.endings.clone();
        let time_limit = self.time_limit;
        tokio::spawn(async move {
            let (_slot, child) = match launched {
                Ok(launched) => launched,
                Err((claim, launch)) => (claim.take().await, launch()),
            };
            let ending = match child {
                Ok(child) => attend(child, &label.into(), time_limit).await,
                Err(error) => Ending::NotStarted(error),
            };
            // The receiver is dropped only when the daemon stops.
            let _ = endings.send((id, ending));
        });
    }
}

/// Waits for the end of `child` and logs its output with the prefix `label`.
async fn attend(mut child: Child, label: &Arc<str>, time_limit: Duration) -> Ending {
    let output = [
        child.stdout.take().map(|pipe| log_output(pipe, label)),
        child.stderr.take().map(|pipe| log_output(pipe, label)),
    ];
    let ending = match timeout(time_limit, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ending::Succeeded,
        Ok(Ok(status)) => Ending::Failed(status),
        Ok(Err(error)) => Ending::NotStarted(error),
        Err(_) => {
            kill(&mut child).await;
            Ending::TimedOut(time_limit)
        }
    };
    for mut reader in output.into_iter().flatten() {
        if timeout(OUTPUT_GRACE, &mut reader).await.is_err() {
            reader.abort();
        }
    }
    ending
}

fn spawn(command: &Command, null: &File, own_session: bool) -> io::Result<Child> {
    let mut process = tokio::process::Command::new(&command.program);
    if let Some(account) = &command.account {
        // This also drops the supplementary groups.
        process.uid(account.uid).gid(account.gid);
    }
    if own_session {
        // SAFETY: setsid(2) may be called between fork and exec.
        unsafe { process.pre_exec(|| Ok(setsid().map(drop)?)) };
    } else {
        process.process_group(0);
    }
    let child = process
        .args(&command.arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(
            command
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .current_dir("/")
        .stdin(null.try_clone()?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    // The kernel may prefer this process to the command that it just started. The command is
    // more urgent.
    thread::yield_now();
    Ok(child)
}

/// Kills the process group of `child`. The child is not reaped yet, so its process group id cannot
/// have been reused.
async fn kill(child: &mut Child) {
    let group = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some(group) = group
        && let Err(error) = kill_process_group(group, Signal::KILL)
    {
        // Do not wait for the child: it would occupy its slot forever.
        warn!("cannot kill process group {group:?}: {error}");
        return;
    }
    if let Err(error) = child.wait().await {
        warn!("cannot reap a command: {error}");
    }
}

/// Logs the output from `pipe` line by line. Continues to read after the last logged line, so that
/// no command blocks on a full pipe.
fn log_output(
    mut pipe: impl AsyncRead + Unpin + Send + 'static,
    label: &Arc<str>,
) -> JoinHandle<()> {
    let label = Arc::clone(label);
    tokio::spawn(async move {
        let mut lines = Lines::default();
        let mut buffer = [0; 4096];
        // A read error ends the output, just like end of file.
        while let Ok(len @ 1..) = pipe.read(&mut buffer).await {
            for line in lines.push(&buffer[..len]) {
                info!("{label}: {line}");
            }
        }
        for line in lines.finish() {
            info!("{label}: {line}");
        }
    })
}

/// Splits output into lines and limits their number and length.
#[derive(Debug, Default)]
struct Lines {
    line: Vec<u8>,
    logged: usize,
    left_out: u64,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for byte in bytes {
            match byte {
                b'\n' => complete.extend(self.end()),
                _ if self.line.len() < MAX_LINE => self.line.push(*byte),
                _ => {}
            }
        }
        complete
    }

    fn finish(mut self) -> Vec<String> {
        let mut last = Vec::new();
        if !self.line.is_empty() {
            last.extend(self.end());
        }
        if self.left_out > 0 {
            last.push(format!("… and {} more lines", self.left_out));
        }
        last
    }

    fn end(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        if self.logged == MAX_LINES {
            self.left_out += 1;
            return None;
        }
        self.logged += 1;
        // A command can neither forge a log line nor control a terminal.
        Some(escaped(&String::from_utf8_lossy(&line)).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Instant};

    use super::*;

    fn shell(script: &str) -> Command {
        Command {
            program: "sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("KNOCK_IP", "192.0.2.7".into())],
            account: None,
        }
    }

    async fn ending(command: Command, time_limit: Duration) -> Ending {
        let (mut executor, mut endings) = Executor::new(NonZeroUsize::MIN, time_limit).unwrap();
        executor.start((), OPENS, "test".into(), command, || ());
        endings.recv().await.unwrap().1
    }

    const LONG: Duration = Duration::from_secs(60);

    const OPENS: Lane = Lane {
        closes: false,
        door: 0,
        client: 1,
    };

    #[tokio::test]
    async fn success_failure_and_absence_are_distinguished() {
        assert!(ending(shell("exit 0"), LONG).await.succeeded());
        let failed = ending(shell("exit 3"), LONG).await;
        assert_eq!(failed.to_string(), "failed: exit status: 3");
        let missing = Command {
            program: "/nowhere/portknock".into(),
            ..shell("")
        };
        let missing = ending(missing, LONG).await.to_string();
        assert!(
            missing.starts_with("could not be started: No such file"),
            "{missing}"
        );
    }

    #[tokio::test]
    async fn the_environment_is_what_is_documented() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("environment");
        let script = format!("exec env > {}", file.display());
        assert!(ending(shell(&script), LONG).await.succeeded());
        let environment = fs::read_to_string(file).unwrap();
        let mut names: Vec<_> = environment
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, _)| name)
            // Variables that sh sets itself.
            .filter(|name| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_"))
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["KNOCK_IP", "PATH"]);
    }

    #[tokio::test]
    async fn a_hanging_command_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", file.display());
        let limit = Duration::from_millis(500);
        let ending = ending(shell(&script), limit).await;
        assert_eq!(ending.to_string(), "was killed: it took longer than 500ms");
        let child = fs::read_to_string(file).unwrap();
        let status = Path::new("/proc").join(child.trim()).join("status");
        // A killed process is a zombie until init reaps it.
        let is_gone =
            || fs::read_to_string(&status).map_or(true, |text| text.contains("State:\tZ"));
        let deadline = Instant::now() + LONG;
        while !is_gone() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(is_gone());
    }

    #[tokio::test]
    async fn a_command_can_have_a_session_of_its_own() {
        for own_session in [false, true] {
            let (mut executor, mut endings) = Executor::new(NonZeroUsize::MIN, LONG).unwrap();
            if own_session {
                executor.use_own_sessions();
            }
            // Session and process are fields 6 and 1 of proc_pid_stat(5).
            let is_leader = "read -r pid name state parent group session rest < /proc/$$/stat; [ $session = $$ ]";
            executor.start((), OPENS, "test".into(), shell(is_leader), || ());
            let (_, ending) = endings.recv().await.unwrap();
            assert_eq!(ending.succeeded(), own_session, "{ending}");
        }
    }

    #[tokio::test]
    async fn a_background_process_does_not_hold_the_ending_up() {
        let begun = Instant::now();
        let ending = ending(shell("sleep 5 & exit 0"), LONG).await;
        assert!(ending.succeeded());
        assert!(begun.elapsed() < Duration::from_secs(4));
    }

    #[tokio::test]
    async fn commands_at_once_are_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        let (mut executor, mut endings) = Executor::new(NonZeroUsize::MIN, LONG).unwrap();
        for id in 0..5 {
            let lock = lock.display();
            let script = format!("mkdir {lock} && sleep 0.01 && rmdir {lock}");
            executor.start(id, OPENS, "test".into(), shell(&script), || ());
        }
        for _ in 0..5 {
            let (id, ending) = endings.recv().await.unwrap();
            assert!(ending.succeeded(), "{id}: {ending}");
        }
    }

    #[tokio::test]
    async fn closing_never_waits_for_an_opening() {
        let (mut executor, mut endings) = Executor::new(NonZeroUsize::MIN, LONG).unwrap();
        for id in 0..64 {
            let slow = shell("exec sleep 60");
            executor.start(id, OPENS, "test".into(), slow, || ());
        }
        let lane = Lane {
            closes: true,
            ..OPENS
        };
        executor.start(64, lane, "test".into(), shell("exit 0"), || ());
        let (id, ending) = endings.recv().await.unwrap();
        assert!(id == 64 && ending.succeeded(), "{id}: {ending}");
    }

    #[test]
    fn programs_are_looked_for_where_they_are_run() {
        assert!(is_there("sh") && is_there("/bin/sh") && is_there("bin/sh"));
        assert!(!is_there("no-such-program") && !is_there("/nowhere/sh"));
    }

    #[test]
    fn output_is_bounded_and_cannot_forge() {
        let mut lines = Lines::default();
        let mut logged = lines.push(b"one\ntw");
        logged.extend(lines.push(b"o \x1b[2J\r\n\xff\n"));
        assert_eq!(logged, ["one", "two \\u{1b}[2J\\r", "\u{fffd}"]);
        let many = "y\n".repeat(200);
        assert_eq!(lines.push(many.as_bytes()).len(), MAX_LINES - 3);
        lines.push(&[b'x'; 5000]);
        assert_eq!(lines.line.len(), MAX_LINE);
        assert_eq!(lines.finish(), ["… and 104 more lines"]);
    }
}
