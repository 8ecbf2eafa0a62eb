//! Configurations for unit tests.

use std::{fs, os::unix::fs::PermissionsExt as _};

use knockd_config::Config;

/// Two clients and three doors: `ssh` has `run` and `close`, `web` opens a port, and only `laptop`
/// may open `backup`.
pub(crate) const TWO_CLIENTS: &str = r#"
interfaces = ["eth0"]
state_dir = "/var/lib/knockd"
server_key_file = "server.key"

[gate]
protect = ["tcp/80", "udp/80"]

[limits]
open_doors = 2

[[client]]
name = "laptop"
protocol = "classic"
passphrase_file = "laptop.pass"

[[client]]
name = "phone"
protocol = "classic"
passphrase_file = "phone.pass"

[[door]]
name = "ssh"
sequence = [1, 2, 3, 4]
run = ["true"]
close = ["true"]
for = "30s"

[[door]]
name = "web"
sequence = [5, 6]
open = ["tcp/80"]
for = "30s"

[[door]]
name = "backup"
clients = ["laptop"]
sequence = [9]
run = ["false"]
for = "30s"
"#;

/// The configuration in `text`.
pub(crate) fn config(text: &str) -> Config {
    let dir = tempfile::tempdir().unwrap();
    for (name, passphrase) in [
        ("laptop.pass", "correct horse"),
        ("phone.pass", "open sesame"),
        ("other.pass", "battery staple"),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, passphrase).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let key = dir.path().join("server.key");
    fs::write(
        &key,
        "knockd2:kdPePtooXZWhwSf3xoBoDaSiI4SLU1G6i30WClMItVw\n",
    )
    .unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let mut config = Config::parse(text, &dir.path().join("knockd.toml")).unwrap();
    // The state directory is that of a daemon on this machine.
    config.limits.history = 0;
    config
}

/// A client with a key pair to add to a configuration.
pub(crate) const PAIR_CLIENT: &str = r#"
[[client]]
name = "tablet"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"
"#;
