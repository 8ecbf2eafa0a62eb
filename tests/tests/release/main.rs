//! What a release consists of, where it is meant to run. The static programs are tried as they are
//! built for the tests; the rest, which takes long to build, by `cargo xtask release --try`.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod empty_root;
mod image;
mod systems;
mod visit;

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Output},
};

/// The folder that cargo builds into.
fn target() -> PathBuf {
    let test = env::current_exe().unwrap();
    test.ancestors().nth(3).unwrap().to_owned()
}

/// The file of the release whose name starts and ends so.
fn file(start: &str, end: &str) -> PathBuf {
    let folder = target().join("release-files");
    let entries = fs::read_dir(&folder).unwrap();
    let mut paths = entries.map(|entry| entry.unwrap().path());
    let found = paths.find(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with(start) && name.ends_with(end)
    });
    found.unwrap_or_else(|| panic!("{} has no {start}…{end}", folder.display()))
}

/// The standard output of a command that succeeds.
fn stdout(mut command: Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    assert!(status.success(), "{command:?}: {out}{err}");
    out
}
