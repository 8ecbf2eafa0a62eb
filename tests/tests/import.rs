//! Converts a configuration of the knockd by Judd Vinet and opens a door with it, with the real
//! programs.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    process::{Command, Output},
};

use knock_tests::{
    link::Pair,
    process::Running,
    scene::{SOON, program},
};

/// One command that needs a shell, and one that does not. `{folder}` is replaced with the test's
/// folder.
const SOURCE: &str = "\
[options]
\tUseSyslog
\tInterface = srv0

[greeter]
\tSequence      = 7000,8000:udp,9000:tcp
\tTCPFlags      = syn,!ack
\tStart_Command = echo '%IP% came, 100%' >> {folder}/visitors
\tCmd_Timeout   = 1
\tStop_Command  = cp {folder}/visitors {folder}/gone-%IP%
";

/// A folder with the original configuration and the converted one.
struct Site(tempfile::TempDir);

impl Site {
    fn new(source: &str) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        let folder = site.0.path().display().to_string();
        let source = source.replace("{folder}", &folder);
        fs::write(site.path("knockd.conf"), source).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("etc/knockd.toml")
    }

    fn knockd(&self, arguments: &[&str]) -> Command {
        let mut knockd = Command::new(program("knockd").unwrap());
        knockd.args(arguments);
        knockd
    }

    fn import(&self) -> Command {
        let mut import = self.knockd(&["import-knockd"]);
        import.arg(self.path("knockd.conf"));
        import
    }

    fn import_to_file(&self) -> Output {
        let output = self.import().arg("--output").arg(self.config()).output();
        output.unwrap()
    }

    /// The two steps of docs/migration.md. Returns the client's import command.
    fn set_up(&self) -> String {
        expect_success(&self.import_to_file());
        let mut add = self.knockd(&[
            "client",
            "add",
            "laptop",
            "--server",
            "192.0.2.1",
            "--no-reload",
        ]);
        expect_success(&add.arg("--config").arg(self.config()).output().unwrap())
    }
}

fn expect_success(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn an_import_is_valid_once_a_client_is_added() {
    let site = Site::new(SOURCE);
    let printed = expect_success(&site.import().output().unwrap());
    let line = site.set_up();
    assert!(line.starts_with("knock import 'knock://laptop@192.0.2.1:61000?server="));
    // The file has the text that was printed, the server key and the client.
    let written = fs::read_to_string(site.config()).unwrap();
    for line in printed.lines() {
        assert!(written.contains(line), "{line}\n{written}");
    }
    assert!(!written.contains("8000"), "{written}");
    let mode = fs::metadata(site.config()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let mut check = site.knockd(&["check"]);
    let report = expect_success(&check.arg("--config").arg(site.config()).output().unwrap());
    assert!(
        report.contains("clients: laptop, doors: greeter"),
        "{report}"
    );
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let site = Site::new(SOURCE);
    site.set_up();
    let before = fs::read(site.config()).unwrap();
    let report = error(&site.import_to_file());
    assert!(
        report.contains("exists already and is left unchanged"),
        "{report}"
    );
    assert_eq!(fs::read(site.config()).unwrap(), before);
}

#[test]
fn syntax_errors_are_reported_with_their_line() {
    let site = Site::new("[options]\nnonsense\n\n[a]\nsequence 7000,8000\n");
    let output = site.import_to_file();
    assert!(output.stdout.is_empty());
    let report = error(&output);
    for place in ["knockd.conf:2: ", "knockd.conf:5: "] {
        assert!(report.contains(place), "{report}");
    }
    assert!(!report.contains("7000"), "{report}");
    assert!(!site.config().exists());
}

#[test]
fn an_imported_door_opens_and_closes() {
    knock_tests::needs_bpf!();
    let site = Site::new(SOURCE);
    let line = site.set_up();
    // Only the system-wide paths are changed.
    let text = fs::read_to_string(site.config()).unwrap();
    let (socket, state) = (site.path("knockd.sock"), site.path("state"));
    let text = format!("control_socket = {socket:?}\nstate_dir = {state:?}\n{text}");
    fs::write(site.config(), text).unwrap();

    let pair = Pair::new().unwrap();
    let mut knockd = pair.server.command(program("knockd").unwrap());
    knockd.arg("--config").arg(site.config());
    let knockd = Running::spawn(knockd).unwrap();
    let listening = |line: &str| line.contains("listening on srv0");
    knockd.wait_for(listening, SOON).unwrap();

    let uri = line.trim_end().strip_prefix("knock import ").unwrap();
    let uri = uri.trim_matches('\'');
    for arguments in [
        &["import", uri, "--name", "home"][..],
        &["-4", "home", "greeter"],
    ] {
        let mut knock = pair.client.command(program("knock").unwrap());
        knock.env("HOME", site.path("home"));
        knock.env("XDG_CONFIG_HOME", site.path("home/.config"));
        expect_success(&knock.args(arguments).output().unwrap());
    }
    let closed = |line: &str| line.contains("closed door=\"greeter\"");
    knockd.wait_for(closed, SOON).unwrap();
    let client = Pair::CLIENT_V4;
    let gone = fs::read_to_string(site.path(&format!("gone-{client}"))).unwrap();
    assert_eq!(gone, format!("{client} came, 100%\n"));
}
