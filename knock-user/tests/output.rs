//! `knock` and `knockd` when standard output is full or closed.

#![cfg(all(unix, feature = "daemon"))]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs::{self, File},
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

const KNOCKD: &str = env!("CARGO_BIN_EXE_knockd");
const KNOCK: &str = env!("CARGO_BIN_EXE_knock");

/// Standard outputs that take nothing.
const DEAD: [&str; 3] = ["full", "closed", "without a reader"];

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs `program` with `arguments`, in which `{folder}` is this folder.
    fn run(&self, program: &str, arguments: &str, stdout: &str) -> Output {
        let folder = self.path("").display().to_string();
        let arguments = arguments.replace("{folder}", folder.trim_end_matches('/'));
        let words = arguments.split(' ').filter(|word| !word.is_empty());
        let mut command = Command::new(program);
        if stdout == "closed" {
            command = Command::new("sh");
            command.args(["-c", "exec \"$@\" >&-", "sh", program]);
        }
        command.args(words).stderr(Stdio::piped());
        command
            .env("HOME", self.path(""))
            .env("KNOCK_CONFIG_DIR", self.path("profiles"));
        match stdout {
            "full" => command.stdout(File::options().write(true).open("/dev/full").unwrap()),
            "without a reader" => command.stdout(std::io::pipe().unwrap().1),
            _ => command.stdout(Stdio::piped()),
        };
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("panicked"), "{arguments}: {errors}");
        output
    }

    fn runs(&self, program: &str, arguments: &str) -> String {
        let output = self.run(program, arguments, "read");
        assert!(output.status.success(), "{arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Every file, with its content.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        fn collect(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    collect(&path, files);
                } else {
                    let mut bytes = Vec::new();
                    File::open(&path).unwrap().read_to_end(&mut bytes).unwrap();
                    files.push((path, bytes));
                }
            }
        }
        let mut files = Vec::new();
        collect(self.0.path(), &mut files);
        files.sort();
        files
    }
}

const INIT: &str = "init --config {folder}/etc/knockd.toml --state-dir {folder}/state --server ::1";

#[test]
fn an_invitation_that_cannot_be_shown_changes_nothing() {
    for dead in DEAD {
        let folder = Folder::new();
        for qr in ["", " --qr"] {
            let output = folder.run(KNOCKD, &format!("{INIT}{qr}"), dead);
            assert_eq!(output.status.code(), Some(1), "{dead}: {output:?}");
            let errors = String::from_utf8(output.stderr).unwrap();
            assert!(errors.contains("invitation"), "{dead}: {errors}");
            assert_eq!(folder.files(), [], "{dead}");
        }
        folder.runs(KNOCKD, INIT);
        for command in ["add phone", "rotate laptop"] {
            let before = folder.files();
            let command = format!(
                "client {command} --config {{folder}}/etc/knockd.toml --server ::1 --no-reload"
            );
            let output = folder.run(KNOCKD, &command, dead);
            assert_eq!(output.status.code(), Some(1), "{dead}: {output:?}");
            assert!(folder.files() == before, "{dead}");
            // It was not done.
            folder.runs(KNOCKD, &command);
        }
    }
}

/// A full disk is a failure. The end of the reader is none, as in `knockd check | true`.
#[test]
fn no_command_panics() {
    let folder = Folder::new();
    let invitation = folder.runs(KNOCKD, INIT);
    let invitation = invitation.trim().trim_start_matches("knock import ");
    let import = format!("import --name home {}", invitation.trim_matches('\''));
    folder.runs(KNOCK, &import);
    folder.runs(KNOCK, "keygen {folder}/laptop.key");
    fs::write(
        folder.path("other.conf"),
        "[SSH]\nsequence = 1,2\ncommand = true\n",
    )
    .unwrap();
    fs::write(
        folder.path("access.conf"),
        "SOURCE ANY\nKEY x\nOPEN_PORTS tcp/22\n",
    )
    .unwrap();
    for (program, arguments) in [
        (KNOCKD, "check --config {folder}/etc/knockd.toml"),
        (KNOCKD, "public-key --config {folder}/etc/knockd.toml"),
        (KNOCKD, "client list --config {folder}/etc/knockd.toml"),
        (
            KNOCKD,
            "client show laptop --server ::1 --config {folder}/etc/knockd.toml",
        ),
        (KNOCKD, "import-knockd {folder}/other.conf"),
        (KNOCKD, "import-fwknop {folder}/access.conf"),
        (KNOCKD, "--help"),
        (KNOCKD, "--version"),
        (KNOCK, "list"),
        (KNOCK, "doctor"),
        (KNOCK, "doctor --json"),
        (KNOCK, "pubkey {folder}/laptop.key"),
        (KNOCK, "enroll ::2"),
        (KNOCK, "page home --door ssh"),
        (KNOCK, "--dry-run home ssh"),
        (KNOCK, "--help"),
    ] {
        folder.runs(program, arguments);
        for dead in DEAD {
            let output = folder.run(program, arguments, dead);
            let expected = match (dead, arguments.starts_with("--")) {
                ("full", false) => Some(1),
                _ => output.status.code().filter(|code| *code <= 1),
            };
            assert_eq!(
                output.status.code(),
                expected,
                "{dead}: {arguments}: {output:?}"
            );
        }
    }
}

/// Whatever `init` takes as the server's name, `import` takes too.
#[test]
fn every_invitation_can_be_imported() {
    for (number, (server, is_taken)) in [
        ("192.0.2.1", true),
        ("example.org", true),
        ("example.org.", true),
        ("2001:db8::1", true),
        ("[2001:db8::1]", true),
        ("fe80::1%eth0", true),
        ("fe80::1", false),
        ("192.0.2.1:2222", false),
        ("root@example.org", false),
        ("http://example.org", false),
        ("bücher.example", true),
        ("“bücher.example”", false),
        ("a..b", false),
        ("a/b", false),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = Folder::new();
        let init = INIT.replace("::1", server);
        let output = folder.run(KNOCKD, &init, "read");
        assert_eq!(output.status.success(), is_taken, "{server}: {output:?}");
        if is_taken {
            let line = String::from_utf8(output.stdout).unwrap();
            let uri = line.trim().trim_start_matches("knock import ");
            let import = format!("import --name p{number} {}", uri.trim_matches('\''));
            folder.runs(KNOCK, &import);
        } else {
            let errors = String::from_utf8(output.stderr).unwrap();
            assert!(errors.contains("--server: "), "{server}: {errors}");
            assert_eq!(folder.files(), [], "{server}");
        }
    }
}
