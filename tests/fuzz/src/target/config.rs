//! The configuration.

use std::{
    path::{Path, PathBuf},
    sync::LazyLock,
};

use knock_common::protocol::identity::{KEY_LEN, Owner, PrivateKey};
use knockd_config::{Config, is_name};
use knockd_credentials::{key_file, secret_file};

/// The path of the configuration, in a folder with the secret files of a few names.
static PATH: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("there is room").keep();
    let server = PrivateKey::new([7; KEY_LEN]);
    key_file::create(Owner::Server, &folder.join("server.key"), &server).expect("there is room");
    for name in ["laptop.pass", "phone.pass"] {
        secret_file::create(&folder.join(name), name).expect("there is room");
    }
    folder.join("knockd.toml")
});

/// A configuration has valid names, and a problem begins with its place.
pub(crate) fn run(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else {
        return;
    };
    // The fuzzer must not find the devices of this machine.
    if text.contains("/dev") || text.contains("/proc") {
        return;
    }
    check(text, &PATH);
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
            let place = format!("{}:", path.display());
            let error = error.to_string();
            assert!(
                error.lines().all(|line| line.starts_with(&place)),
                "{error}"
            );
        }
    }
}
