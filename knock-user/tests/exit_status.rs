//! The exit statuses of `knock` and `knockd`, as the tables in docs/client.md and docs/operations.md
//! list them. Scripts depend on them.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    net::UdpSocket,
    process::{Command, Stdio},
};

use knock_common::protocol::identity::{Owner, PrivateKey};
use knockd_credentials::key_file;

const SERVER: &str = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI";

/// A name with a label that is too long, so that no query is sent.
fn nowhere() -> String {
    "x".repeat(64)
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        let home = Self(tempfile::tempdir().unwrap());
        let key = PrivateKey::new([7; 32]);
        key_file::create(Owner::Client, &home.0.path().join("laptop.key"), &key).unwrap();
        home
    }

    /// Asserts that `program` exits with `status`. In `arguments`, `{folder}` is the home directory,
    /// and `{keys}` are the options for the keys.
    fn exits(&self, status: i32, program: &str, arguments: &str) {
        let folder = self.0.path().display().to_string();
        let keys = format!("--key-file {folder}/laptop.key --server-key {SERVER}");
        let arguments = arguments
            .replace("{keys}", &keys)
            .replace("{folder}", &folder);
        let output = Command::new(program)
            .args(arguments.split(' ').filter(|word| !word.is_empty()))
            .env("HOME", &folder)
            .env("XDG_CONFIG_HOME", format!("{folder}/config"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(
            output.status.code(),
            Some(status),
            "{arguments}: {output:?}"
        );
    }
}

#[test]
fn knock_exits_as_documented() {
    let home = Home::new();
    let knock =
        |status, arguments: &str| home.exits(status, env!("CARGO_BIN_EXE_knock"), arguments);
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let here = format!("{{keys}} --udp --udp-port {port} 127.0.0.1 ssh");
    let nowhere = format!("{{keys}} {} ssh", nowhere());

    knock(0, &here);
    knock(
        0,
        &format!("doctor {{keys}} --udp --udp-port {port} 127.0.0.1"),
    );
    knock(1, &nowhere);
    knock(1, "pubkey {folder}/none.key");
    knock(1, &format!("doctor {{keys}} {}", self::nowhere()));
    knock(2, "");
    knock(2, "home ssh extra");
    knock(2, "doctor home --knock");
    knock(125, &format!("--hold {nowhere} -- true"));
    knock(126, &format!("--hold {here} -- {{folder}}/laptop.key"));
    knock(127, &format!("--hold {here} -- {{folder}}/none"));
    knock(7, &format!("--hold {here} -- sh -c exit${{IFS}}7"));
    knock(128 + 15, &format!("--hold {here} -- sh -c kill${{IFS}}$$"));
}

#[cfg(feature = "daemon")]
#[test]
fn knockd_exits_as_documented() {
    let home = Home::new();
    let knockd =
        |status, arguments: &str| home.exits(status, env!("CARGO_BIN_EXE_knockd"), arguments);
    let config = "--config {folder}/etc/knockd.toml";
    knockd(
        0,
        &format!("init {config} --state-dir {{folder}}/state --server ::1"),
    );
    knockd(0, &format!("check {config}"));
    knockd(0, "--help");
    let client = |rest: &str| format!("client {rest} {config} --no-reload");
    knockd(0, &client("add phone --server bücher.example"));
    knockd(0, &client("rotate phone --server ::1"));
    knockd(0, &client("expire phone now"));
    // A warning, about the client that has expired.
    knockd(0, &format!("check {config}"));
    knockd(0, &format!("client list {config}"));
    knockd(0, &format!("client show phone {config}"));
    knockd(0, &client("remove phone"));
    knockd(0, &format!("history {config}"));
    // It exists already.
    knockd(
        1,
        &format!("init {config} --state-dir {{folder}}/state --server ::1"),
    );
    knockd(1, "check --config {folder}/none.toml");
    knockd(1, "status --socket {folder}/none.sock");
    knockd(1, &client("add laptop --server ::1"));
    knockd(1, &client("remove phone"));
    knockd(1, &format!("client show phone {config}"));
    knockd(1, "import-knockd {folder}/none.conf");
    knockd(1, "import-fwknop {folder}/none.conf");
    knockd(2, "status --none");
    knockd(2, "check --config");
    knockd(2, "client expire laptop");
    knockd(2, "client revoke laptop");
    knockd(2, "import-fwknop --none");
}
