//! Tests of changes that others begin or do not end.

use std::process;

use tempfile::TempDir;

use super::*;

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A file with this name.
    fn file(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, "old").unwrap();
        path
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string();
        let mut names: Vec<_> = entries.map(|entry| name(entry).unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn what_a_killed_command_has_left_is_in_nobodys_way() {
    let folder = Folder::new();
    let path = folder.file("a.toml");
    fs::write(beside(&path), "half of a configur").unwrap();
    let replacement = Replacement::begin(&path).unwrap();
    replacement.write("new").unwrap();
    replacement.complete().unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(folder.names(), ["a.toml"]);
}

#[test]
fn a_change_in_progress_names_its_process() {
    let folder = Folder::new();
    let path = folder.file("a.toml");
    let first = Replacement::begin(&path).unwrap();
    let error = Replacement::begin(&path).unwrap_err().to_string();
    let process = format!("a.toml.knockd-new: process {} (", process::id());
    assert!(error.contains(&process), "{error}");
    drop(first);
    assert_eq!(folder.names(), ["a.toml"]);
    Replacement::begin(&path).unwrap();
}

#[test]
fn files_whose_names_differ_in_the_extension_are_changed_at_the_same_time() {
    let folder = Folder::new();
    let paths = ["a", "a.conf", "a.toml"].map(|name| folder.file(name));
    let _all = paths.map(|path| Replacement::begin(&path).unwrap());
    assert_eq!(folder.names().len(), 6);
}

#[test]
fn a_link_in_the_place_of_the_new_content_is_not_followed() {
    let folder = Folder::new();
    let [path, other] = ["a.toml", "b"].map(|name| folder.file(name));
    std::os::unix::fs::symlink(&other, beside(&path)).unwrap();
    let error = Replacement::begin(&path).unwrap_err();
    assert!(
        format!("{error:#}").contains("a.toml.knockd-new: "),
        "{error:#}"
    );
    assert_eq!(fs::read_to_string(&other).unwrap(), "old");
}

#[test]
fn the_process_is_read_from_the_locks_of_the_kernel() {
    let locks = "\
1: POSIX  ADVISORY  WRITE 17 08:01:42 0 EOF
2: FLOCK  ADVISORY  WRITE 18 08:01:41 0 EOF
2: -> FLOCK  ADVISORY  WRITE 19 08:01:42 0 EOF
3: FLOCK  ADVISORY  WRITE 20 00:1f:42 0 EOF
";
    assert_eq!(process_of(locks, 42), Some(20));
    assert_eq!(process_of(locks, 43), None);
    assert_eq!(process_of("", 42), None);
}
