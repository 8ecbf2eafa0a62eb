//! A folder with an original configuration and the converted one.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use knock_tests::{
    link::Pair,
    process::Running,
    scene::{SOON, program},
};

pub(crate) struct Site(tempfile::TempDir);

impl Site {
    /// A folder with `files`, in which `{folder}` is replaced with its path.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        let folder = site.0.path().display().to_string();
        for (name, text) in files {
            fs::write(site.path(name), text.replace("{folder}", &folder)).unwrap();
        }
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The path of the converted configuration.
    pub(crate) fn config(&self) -> PathBuf {
        self.path("etc/knockd.toml")
    }

    pub(crate) fn knockd(&self, arguments: &[&str]) -> Command {
        let mut knockd = Command::new(program("knockd").unwrap());
        knockd.args(arguments);
        knockd
    }

    /// Starts the daemon with the converted configuration, in which only the system-wide paths are
    /// changed.
    pub(crate) fn start(&self, pair: &Pair) -> Running {
        let text = fs::read_to_string(self.config()).unwrap();
        let (socket, state) = (self.path("knockd.sock"), self.path("state"));
        let text = format!("control_socket = {socket:?}\nstate_dir = {state:?}\n{text}");
        fs::write(self.config(), text).unwrap();
        let mut knockd = pair.server.command(program("knockd").unwrap());
        knockd.arg("--config").arg(self.config());
        let knockd = Running::spawn(knockd).unwrap();
        let listening = |line: &str| line.contains("listening on srv0");
        knockd.wait_for(listening, SOON).unwrap();
        knockd
    }
}

pub(crate) fn expect_success(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}
