//! `knockd check` accepts every configuration in docs/examples without a warning.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use knock_common::protocol::identity::{Owner, PrivateKey};
use knock_tests::{netns::Namespace, privilege, scene::program};

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A session that no gate refuses: `check` warns about others.
const OWN_SESSION: &str = "127.0.0.1 50022 127.0.0.1 22";

/// The examples, each with its file name.
fn examples() -> Vec<(String, String)> {
    let entries = fs::read_dir(Path::new(WORKSPACE).join("docs/examples")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let examples: Vec<_> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "toml")
        })
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read_to_string(path).unwrap())
        })
        .collect();
    assert!(examples.len() > 3, "{examples:?}");
    examples
}

/// The values of the lines `key = "value"` in `text`.
fn values<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let start = format!("{key} = \"");
    let rests = text.lines().filter_map(|line| line.strip_prefix(&start));
    rests.map(|rest| rest.split('"').next().unwrap()).collect()
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Programs that doors of the examples run, and that a test host need not have.
const PROGRAMS: &[&str] = &["cscli", "firewall-cmd", "ufw"];

/// Copies the example to `folder`, with the files that it may include, and creates the secrets that it names. The test host has
/// neither the user `knockd` nor `portknock`, nor the firewalls, and `check` warns about each.
fn install(text: &str, folder: &Path) -> PathBuf {
    for name in values(text, "server_key_file") {
        let key = PrivateKey::new([7; 32]);
        let line = format!("{}\n", key.key_file_text(Owner::Server));
        write(&folder.join(name), &line);
    }
    for name in values(text, "passphrase_file") {
        write(&folder.join(name), &format!("the passphrase in {name}\n"));
    }
    let script = format!("\"{WORKSPACE}/knock-user/packaging/firewall/portknock-nftables\"");
    let mut text = text.replace("\"portknock\"", &script);
    for program in PROGRAMS {
        text = text.replace(&format!("\"{program}\""), "\"true\"");
    }
    let conf_d = folder.join("conf.d");
    fs::create_dir_all(&conf_d).unwrap();
    for entry in fs::read_dir(Path::new(WORKSPACE).join("docs/examples/conf.d")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), conf_d.join(entry.file_name())).unwrap();
    }
    let path = folder.join("knockd.toml");
    write(&path, &format!("user = \"games\"\n{text}"));
    path
}

#[test]
fn every_example_is_valid_and_causes_no_warning() {
    // Otherwise it warns about what the network cards of this machine lack.
    let host = privilege::namespaces().then(|| Namespace::new().unwrap());
    for (name, text) in examples() {
        let folder = tempfile::tempdir().unwrap();
        let knockd = program("knockd").unwrap();
        let mut check = match &host {
            Some(host) => host.command(knockd),
            None => Command::new(knockd),
        };
        let Output { status, stderr, .. } = check
            .args(["check", "--config"])
            .arg(install(&text, folder.path()))
            .env("SSH_CONNECTION", OWN_SESSION)
            .output()
            .unwrap();
        let stderr = String::from_utf8(stderr).unwrap();
        assert!(status.success(), "{name}: {stderr}");
        let unexpected: Vec<_> = stderr
            .lines()
            .filter(|line| !line.contains("uses the classic protocol"))
            .filter(|line| !line.contains("there is no interface `eth"))
            // That of the machine that runs the test.
            .filter(|line| !line.contains("the clock of this host"))
            .collect();
        assert!(unexpected.is_empty(), "{name}: {unexpected:?}");
    }
}

/// The script takes exactly one address.
#[test]
fn every_example_calls_portknock_with_one_address() {
    for (name, text) in examples() {
        for (key, verb) in [("run", "open"), ("close", "close")] {
            let start = format!("{key} = [\"portknock\"");
            for line in text.lines().filter(|line| line.starts_with(&start)) {
                let call = format!("{key} = [\"portknock\", \"{verb}\", \"%IP%\"]");
                assert!(line.starts_with(&call), "{name}: {line}");
            }
        }
    }
}
