//! The configuration.

use std::path::Path;

use knock_common::protocol::identity::{KEY_LEN, Owner, PrivateKey};
use knockd_config::{Config, is_name};
use knockd_credentials::{key_file, secret_file};
use tempfile::TempDir;

thread_local! {
    /// The folder of the configuration, with the secret files of a few names. It is removed at the end
    /// of the thread.
    static FOLDER: TempDir = folder();
}

fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("there is room");
    let path = |name| folder.path().join(name);
    let server = PrivateKey::new([7; KEY_LEN]);
    key_file::create(Owner::Server, &path("server.key"), &server).expect("there is room");
    for name in ["laptop.pass", "phone.pass"] {
        secret_file::create(&path(name), name).expect("there is room");
    }
    folder
}

/// A configuration has valid names, and a problem begins with its place.
pub(crate) fn run(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    // The fuzzer must not find the devices of this machine.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    // Nor other files than those of the folder.
    if text.contains("include") && text.contains('/') {
        return;
    }
    FOLDER.with(|folder| check(text, &folder.path().join("knockd.toml")));
}

fn check(text: &str, path: &Path) {
    match Config::parse(text, path) {
        Ok(config) => {
            assert!(!config.clients.is_empty() && !config.doors.is_empty());
            for client in &config.clients {
                assert!(is_name(&client.name), "{}", client.name);
            }
            for door in &config.doors {
                assert!(is_name(&door.name), "{}", door.name);
                assert!(door.max_lease >= door.lease, "{}", door.name);
                let known = |client: &usize| *client < config.clients.len();
                assert!(door.clients.iter().all(known), "{}", door.name);
            }
        }
        Err(error) => {
            let folder = path.parent().expect("it is in a folder").display();
            // Of the configuration, or of a file that it includes.
            let place = format!("{folder}/");
            let error = error.to_string();
            assert!(
                error.lines().all(|line| line.starts_with(&place)),
                "{error}"
            );
        }
    }
}
