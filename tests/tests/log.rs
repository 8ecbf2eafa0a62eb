//! The log of the real daemon in its formats, and the rate limit of refusals.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _, pipe},
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use knock_tests::{
    frame::Segment,
    link::Pair,
    privilege,
    process::{Running, Signal, Stream},
    scene::{BACKUP, CONFIGURATION, Files, LAPTOP, SOON, SOURCE, SSH, classic, program},
};
use nix::{sys::signal::kill, unistd::Pid};
use rustix::{fs::fstat, pipe::fcntl_setpipe_size};
use serde_json::Value;

/// The input lines of a classic knock from `source`.
fn knock(source: &str) -> String {
    knock_at(SSH, source)
}

/// The input lines of a classic knock from `source` at the door with this sequence.
fn knock_at(sequence: &[u8], source: &str) -> String {
    let knock = classic(LAPTOP, sequence, SOURCE, Pair::SERVER_V4.into()).unwrap();
    knock
        .iter()
        .map(|frame| {
            let bytes = frame.bytes().unwrap();
            let port = Segment::read(&bytes).unwrap().destination.port();
            format!("{port} {source}\n")
        })
        .collect()
}

/// A host whose doors close after one second. Its journal, if open, is a socket of the test.
struct Host {
    pair: Pair,
    files: Files,
}

impl Host {
    fn new() -> Self {
        let configuration = CONFIGURATION.replace("\"1h\"", "\"1s\"");
        Self {
            pair: Pair::new().unwrap(),
            files: Files::new(&configuration).unwrap(),
        }
    }

    fn journal(&self) -> PathBuf {
        self.files.path("journal")
    }

    /// Binds the journal's socket at the place where the daemon of [`Host::knockd`] expects it.
    fn open_journal(&self) -> UnixDatagram {
        fs::create_dir(self.journal()).unwrap();
        let journal = UnixDatagram::bind(self.journal().join("socket")).unwrap();
        journal.set_read_timeout(Some(SOON)).unwrap();
        journal
    }

    /// The daemon in line mode on standard input. Its `/run/systemd` contains the test's journal
    /// only.
    fn knockd(&self, arguments: &[&str]) -> Command {
        let mut knockd = self.pair.server.command("unshare");
        knockd.args(["--mount", "sh", "-c"]).arg(format!(
            "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && \
             if [ -d {journal} ]; then mount --bind {journal} /run/systemd/journal; fi && \
             exec \"$@\"",
            journal = self.journal().display()
        ));
        knockd.arg("sh").arg(program("knockd").unwrap());
        knockd.args(["--lines", "-", "--config"]);
        knockd.arg(self.files.path("knockd.toml"));
        knockd.args(arguments);
        knockd.env_remove("JOURNAL_STREAM");
        knockd
    }

    /// The daemon's standard error after it has processed `lines`.
    fn logged(&self, arguments: &[&str], lines: &str) -> String {
        self.log_of(self.knockd(arguments), lines)
    }

    fn log_of(&self, command: Command, lines: &str) -> String {
        let (mut knockd, mut input) = Running::spawn_fed(command).unwrap();
        input.write_all(lines.as_bytes()).unwrap();
        drop(input);
        assert!(knockd.wait(SOON).unwrap().success());
        knockd.text(Stream::Err)
    }
}

/// The next entry that contains `wanted`.
fn entry(journal: &UnixDatagram, wanted: &str) -> String {
    let mut datagram = [0; 4096];
    loop {
        let len = journal.recv(&mut datagram).unwrap();
        let entry = String::from_utf8(datagram[..len].to_vec()).unwrap();
        if entry.contains(wanted) {
            return entry;
        }
    }
}

/// Starts `command` with a Unix stream as its standard error and returns the other end.
/// `JOURNAL_STREAM` names that stream, or another one if `is_journal` is false.
fn spawn_with_stream(mut command: Command, is_journal: bool) -> (Child, UnixStream) {
    let (test_end, daemon_end) = UnixStream::pair().unwrap();
    test_end.set_read_timeout(Some(SOON)).unwrap();
    let stream = if is_journal {
        fstat(&daemon_end).unwrap()
    } else {
        fstat(&test_end).unwrap()
    };
    command.env(
        "JOURNAL_STREAM",
        format!("{}:{}", stream.st_dev, stream.st_ino),
    );
    command
        .stdin(Stdio::piped())
        .stderr(OwnedFd::from(daemon_end));
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(knock("192.0.2.7").as_bytes()).unwrap();
    (child, test_end)
}

#[test]
fn every_line_of_the_json_log_is_an_object() {
    if !privilege::namespaces() {
        return;
    }
    let host = Host::new();
    let log = host.logged(&["--log-format", "json"], &knock("192.0.2.7"));
    let lines: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for line in &lines {
        for field in ["time", "level", "message"] {
            assert!(line[field].is_string(), "{line}");
        }
    }
    let event = |name: &str| lines.iter().find(|line| line["event"] == name).unwrap();
    let opening = event("opening");
    assert_eq!(opening["client"], "laptop");
    assert_eq!(opening["door"], "ssh");
    assert_eq!(opening["source"], "192.0.2.7");
    assert_eq!(opening["lease"], 1);
    let command = event("command");
    assert_eq!(command["command"], "run");
    assert_eq!(command["ending"], "succeeded");
    assert_eq!(event("closed")["door"], "ssh");

    let output = Command::new(program("knockd").unwrap())
        .args(["check", "--log-format", "json"])
        .args(["--config", "/nowhere/knockd.toml"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let printed: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(printed["level"], "error");
    assert!(
        printed["message"]
            .as_str()
            .unwrap()
            .contains("/nowhere/knockd.toml")
    );
}

#[test]
fn a_service_logs_to_the_journal_with_fields() {
    if !privilege::namespaces() {
        return;
    }
    let host = Host::new();
    let journal = host.open_journal();
    let (mut child, mut stderr) = spawn_with_stream(host.knockd(&[]), true);
    let opening = entry(&journal, "accepted");
    for field in [
        "PRIORITY=6\n",
        "SYSLOG_IDENTIFIER=knockd\n",
        "MESSAGE=accepted door=\"ssh\" client=\"laptop\" source=192.0.2.7 lease=1s: opening\n",
        "KNOCKD_EVENT=opening\n",
        "KNOCKD_CLIENT=laptop\n",
        "KNOCKD_DOOR=ssh\n",
        "KNOCKD_SOURCE=192.0.2.7\n",
        "KNOCKD_LEASE=1\n",
    ] {
        assert!(opening.contains(field), "{opening}");
    }
    entry(&journal, "MESSAGE=stopped\n");
    assert!(child.wait().unwrap().success());
    let mut printed = String::new();
    stderr.read_to_string(&mut printed).unwrap();
    assert_eq!(printed, "");
}

#[test]
fn a_restarted_journal_receives_the_log_again() {
    if !privilege::namespaces() {
        return;
    }
    let host = Host::new();
    let journal = host.open_journal();
    let (knockd, mut input) =
        Running::spawn_fed(host.knockd(&["--log-format", "journal"])).unwrap();
    entry(&journal, "listening");
    let mut tail = host.pair.server.command(program("knockd").unwrap());
    tail.args(["tail", "--socket"])
        .arg(host.files.path("knockd.sock"));
    let tail = Running::spawn(tail).unwrap();
    tail.wait_for(|line| line.contains("following"), SOON)
        .unwrap();
    drop(journal);
    fs::remove_file(host.journal().join("socket")).unwrap();
    // The journal does not receive the entries of this knock.
    input.write_all(knock("192.0.2.7").as_bytes()).unwrap();
    tail.wait_for(|line| line.contains("closed door"), SOON)
        .unwrap();
    let journal = UnixDatagram::bind(host.journal().join("socket")).unwrap();
    journal.set_read_timeout(Some(SOON)).unwrap();
    input.write_all(knock("192.0.2.8").as_bytes()).unwrap();
    entry(&journal, "log entries lost");
    entry(&journal, "KNOCKD_SOURCE=192.0.2.8");
    drop(knockd);
}

/// Doors and signals do not wait for a log shipper, a pager or a terminal that was stopped.
#[test]
fn a_standard_error_that_nobody_reads_delays_nothing() {
    if !privilege::namespaces() {
        return;
    }
    let host = Host::new();
    let (reader, writer) = pipe().unwrap();
    fcntl_setpipe_size(&writer, 4096).unwrap();
    let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
    let mut command = host.knockd(&["--log", "debug"]);
    command.stdin(Stdio::piped()).stderr(writer);
    let mut knockd = command.spawn().unwrap();
    // It has the writing end of the pipe too.
    drop(command);
    let mut input = knockd.stdin.take().unwrap();
    lines.find(|line| line.contains("listening on")).unwrap();
    let mut tail = host.pair.server.command(program("knockd").unwrap());
    tail.args(["tail", "--socket"])
        .arg(host.files.path("knockd.sock"));
    let tail = Running::spawn(tail).unwrap();
    tail.wait_for(|line| line.contains("following"), SOON)
        .unwrap();

    let mut fill_and_knock = |knocker: &str| {
        for number in 0..100 {
            let refused = knock_at(BACKUP, &format!("192.0.2.{number}"));
            input.write_all(refused.as_bytes()).unwrap();
        }
        input.write_all(knock(knocker).as_bytes()).unwrap();
        let is_closed = |line: &str| line.contains("closed door") && line.contains(knocker);
        tail.wait_for(is_closed, SOON).unwrap();
    };
    fill_and_knock("192.0.2.201");
    thread::scope(|scope| {
        let told = scope.spawn(|| lines.find(|line| line.contains("log entries lost")));
        fill_and_knock("192.0.2.202");
        let told = told.join().unwrap().unwrap();
        assert!(told.contains("  WARN "), "{told}");
    });
    fill_and_knock("192.0.2.203");
    let id = Pid::from_raw(knockd.id().try_into().unwrap());
    kill(id, Signal::SIGTERM).unwrap();
    let deadline = Instant::now() + SOON;
    let status = loop {
        if let Some(status) = knockd.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < deadline, "SIGTERM has no effect");
        thread::sleep(Duration::from_millis(2));
    };
    assert!(status.success(), "{status}");
}

#[test]
fn an_inherited_journal_stream_is_not_used_as_the_journal() {
    if !privilege::namespaces() {
        return;
    }
    let host = Host::new();
    let journal = host.open_journal();
    let (mut child, mut stderr) = spawn_with_stream(host.knockd(&[]), false);
    assert!(child.wait().unwrap().success());
    let mut printed = String::new();
    stderr.read_to_string(&mut printed).unwrap();
    assert!(
        printed.contains("Z  INFO accepted door=\"ssh\""),
        "{printed}"
    );
    journal.set_nonblocking(true).unwrap();
    assert!(journal.recv(&mut [0]).is_err());
}

#[test]
fn without_a_journal_the_log_is_text() {
    if !privilege::namespaces() {
        return;
    }
    let host = Host::new();
    let log = host.logged(&["--log-format", "journal"], &knock("192.0.2.7"));
    assert!(log.contains("Z  INFO accepted door=\"ssh\""), "{log}");
    assert!(!log.contains('\x1b'), "{log}");
}

#[test]
fn a_flood_of_refusals_is_logged_as_a_few_lines_and_a_total() {
    if !privilege::namespaces() {
        return;
    }
    let host = Host::new();
    let flood = |source: &str| -> String {
        (0..2000_u32)
            .map(|i| format!("{} {source}\n", 61_000 + i * 31 % 256))
            .collect()
    };
    let log = host.logged(&[], &(flood("192.0.2.7") + &flood("2001:db8::7")));
    for (source, from) in [("192.0.2.7", "192.0.2.7"), ("2001:db8::7", "2001:db8::/64")] {
        let line = format!("refused source={source} reason=rate: ");
        assert_eq!(log.matches(&line).count(), 5, "{log}");
        let sum = format!(" more refusals from {from} in the last minute");
        let sum = log.lines().find(|line| line.ends_with(&sum)).unwrap();
        let count = sum.split_whitespace().nth(2).unwrap();
        // All refusals but those logged and those within the rate limit.
        assert!((1000..1995).contains(&count.parse().unwrap()), "{sum}");
    }
    assert!(log.lines().count() < 20, "{log}");
    // Invalid blocks, which are background noise, are not logged at this level.
    assert!(!log.contains("bad-parity"), "{log}");
}

#[test]
fn at_level_debug_every_refusal_is_logged() {
    if !privilege::namespaces() {
        return;
    }
    let host = Host::new();
    let lines: String = (0..40_u32)
        .map(|i| format!("{} 192.0.2.7\n", 61_000 + i * 31 % 256))
        .collect();
    let log = host.logged(&["--log", "debug"], &lines);
    assert_eq!(
        log.matches("DEBUG refused source=192.0.2.7").count(),
        25,
        "{log}"
    );
}
