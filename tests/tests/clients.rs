//! The life of a client, from `knockd client add` to `knockd client remove`, with a running daemon.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use knock_common::protocol::identity::{KeyPair, PrivateKey};
use knock_tests::{
    link::Pair,
    needs_bpf,
    scene::{SOON, SOURCE, STRANGER, Scene, laptop, program, request_of, syn_key},
    service::{Greeter, try_connect},
};
use rustix::pipe::fcntl_setpipe_size;
use serde_json::{Value, json};

/// Two doors of the gate, of which one names its clients.
const CONFIGURATION: &str = r#"
control_socket = "{folder}/knockd.sock"
state_dir = "{folder}/state"
server_key_file = "server.key"

# Anna's.
[[client]]
name = "laptop"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"

[[door]]
name = "ssh"
open = ["tcp/22"]
for = "1h"

[[door]]
name = "admin"
clients = ["laptop"] # only her
open = ["tcp/2222"]

[gate]
protect = ["tcp/22", "tcp/2222"]
"#;

struct Site {
    scene: Scene,
    _service: Greeter,
}

impl Site {
    fn new() -> Self {
        let scene = Scene::with(CONFIGURATION).unwrap();
        scene.pair.add_client_address(STRANGER.ip()).unwrap();
        let service = Greeter::start(&scene.pair.server, 22).unwrap();
        Self {
            scene,
            _service: service,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut knockd = self.scene.pair.server.command(program("knockd").unwrap());
        knockd.arg("client").args(arguments);
        knockd
            .arg("--config")
            .arg(self.scene.files.path("knockd.toml"));
        knockd
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// The standard output of a command that succeeds.
    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The standard error of a command that fails.
    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    /// The client called `name`, as `knockd client list --json` shows it.
    fn listed(&self, name: &str) -> Value {
        let clients: Vec<Value> =
            serde_json::from_str(&self.succeeds(&["list", "--json"])).unwrap();
        let client = clients.into_iter().find(|client| client["name"] == name);
        client.unwrap()
    }

    /// Knocks for door `ssh` with `key`.
    fn knock(&self, key: &KeyPair, source: SocketAddr) {
        let key = syn_key(key).unwrap();
        let block = request_of(&key, "ssh", source.ip()).unwrap().seal(&key);
        self.scene.send_block(block, source).unwrap();
    }

    /// Knocks, and waits until the gate admits `source`.
    fn opens(&self, key: &KeyPair, source: SocketAddr) {
        let mark = self.scene.knockd.mark();
        self.knock(key, source);
        self.follows(mark, "gate open ", source);
        assert!(self.is_admitted(source));
    }

    /// Runs a command that closes the door at once.
    fn closes(&self, arguments: &[&str], source: SocketAddr) -> String {
        assert!(self.is_admitted(source));
        let printed = self.succeeds(arguments);
        assert!(!self.is_admitted(source), "{arguments:?}");
        printed
    }

    /// Waits for a log line after `mark` that begins with `event` and ends with `source`.
    fn follows(&self, mark: usize, event: &str, source: SocketAddr) {
        let source = format!("source={}", source.ip());
        let is_it = |line: &str| line.contains(event) && line.contains(&source);
        self.scene.knockd.wait_for_after(mark, is_it, SOON).unwrap();
    }

    fn is_admitted(&self, source: SocketAddr) -> bool {
        let ssh = SocketAddr::new(Pair::SERVER_V4.into(), 22);
        let timeout = Duration::from_millis(500);
        try_connect(&self.scene.pair.client, Some(source.ip()), ssh, timeout).is_ok()
    }

    fn configuration(&self) -> String {
        fs::read_to_string(self.scene.files.path("knockd.toml")).unwrap()
    }
}

/// The private key in an invitation.
fn invited(line: &str) -> KeyPair {
    let key = line.trim_end().trim_end_matches('\'');
    let (_, key) = key.rsplit_once("&key=").unwrap();
    PrivateKey::from_text(key.as_bytes()).unwrap().into()
}

#[test]
fn a_client_lives_from_its_invitation_to_its_removal() {
    needs_bpf!();
    let site = Site::new();
    let before = site.configuration();
    let first = invited(&site.succeeds(&["add", "phone", "--server", "192.0.2.1"]));
    site.opens(&first, SOURCE);
    let phone = site.listed("phone");
    assert_eq!(phone["public_key"], first.public().to_string());
    assert_eq!(phone["doors"], json!(["ssh"]));
    assert_eq!(site.listed("laptop")["doors"], json!(["ssh", "admin"]));

    // Both keys are valid after a rotation, and what the old one has opened stays open.
    let second = invited(&site.succeeds(&["rotate", "phone", "--server", "192.0.2.1"]));
    assert!(site.is_admitted(SOURCE));
    let phone = site.listed("phone");
    assert_eq!(phone["public_key"], second.public().to_string());
    let previous = &phone["previous_key"];
    assert_eq!(previous["public_key"], first.public().to_string());
    site.opens(&second, STRANGER);
    let mark = site.scene.knockd.mark();
    site.knock(&first, SOURCE);
    site.follows(mark, "accepted door=\"ssh\" client=\"phone\"", SOURCE);

    // An expired client keeps nothing open, and its knocks say why they are refused.
    site.closes(&["expire", "phone", "now"], SOURCE);
    assert!(!site.is_admitted(STRANGER));
    let mark = site.scene.knockd.mark();
    site.knock(&second, STRANGER);
    site.follows(mark, "reason=expired", STRANGER);
    site.succeeds(&["expire", "phone", "never"]);
    site.opens(&second, STRANGER);

    let removed = site.closes(&["remove", "phone"], STRANGER);
    assert!(removed.contains(&second.public().to_string()), "{removed}");
    assert_eq!(site.configuration(), before);
    let clients = site.succeeds(&["list"]);
    assert!(
        !clients.contains("phone") && clients.contains("laptop"),
        "{clients}"
    );
}

/// For a key that others may have.
#[test]
fn an_old_key_can_end_at_once() {
    needs_bpf!();
    let site = Site::new();
    site.opens(&laptop().unwrap(), SOURCE);
    let rotate = ["rotate", "laptop", "--server", "192.0.2.1", "--keep", "0s"];
    let second = invited(&site.closes(&rotate, SOURCE));
    let mark = site.scene.knockd.mark();
    site.knock(&laptop().unwrap(), SOURCE);
    site.follows(mark, "reason=bad-parity", SOURCE);
    site.opens(&second, SOURCE);
}

/// The command waits for a reader of its output.
#[test]
fn a_command_that_is_killed_keeps_nobody_from_changing_the_configuration() {
    needs_bpf!();
    let site = Site::new();
    let before = site.configuration();
    let (_reader, mut full) = io::pipe().unwrap();
    let size = fcntl_setpipe_size(&full, 4096).unwrap();
    full.write_all(&vec![0; size]).unwrap();
    let mut rotate = site.command(&["rotate", "laptop", "--server", "192.0.2.1"]);
    let mut rotate = rotate.stdout(full).spawn().unwrap();
    let new = site.scene.files.path("knockd.toml.knockd-new");
    let deadline = Instant::now() + SOON;
    while !new.metadata().is_ok_and(|file| file.len() > 0) {
        assert!(Instant::now() < deadline, "{:?}", rotate.try_wait());
        thread::sleep(Duration::from_millis(2));
    }
    let error = site.fails(&["expire", "laptop", "never"]);
    let process = format!("process {} (knockd) is changing", rotate.id());
    assert!(error.contains(&process), "{error}");
    rotate.kill().unwrap();
    rotate.wait().unwrap();
    assert!(new.exists());
    assert_eq!(site.configuration(), before);
    site.succeeds(&["add", "phone", "--server", "192.0.2.1"]);
    assert!(!new.exists());
    site.listed("phone");
}

#[test]
fn a_client_that_is_needed_is_not_removed() {
    needs_bpf!();
    let site = Site::new();
    site.opens(&laptop().unwrap(), SOURCE);
    let error = site.fails(&["remove", "laptop"]);
    assert!(error.contains("is the only client"), "{error}");
    site.succeeds(&["add", "phone", "--server", "192.0.2.1"]);
    let error = site.fails(&["remove", "laptop"]);
    assert!(
        error.contains("door \"admin\" names no other client"),
        "{error}"
    );
    assert!(site.is_admitted(SOURCE));
}

#[test]
fn an_invitation_without_a_secret_can_be_shown_again() {
    needs_bpf!();
    let site = Site::new();
    let own = KeyPair::from(PrivateKey::new([7; 32])).public().to_string();
    let public_key = format!("--public-key={own}");
    let add = [
        "add",
        "phone",
        "--server",
        "192.0.2.1",
        &public_key,
        "--doors",
        "ssh",
    ];
    let printed = site.succeeds(&add);
    let shown = site.succeeds(&["show", "phone", "--server", "192.0.2.1"]);
    assert!(shown.ends_with(&printed), "{shown}");
    assert!(shown.contains(&own), "{shown}");
    let json = site.succeeds(&["show", "phone", "--server", "192.0.2.1", "--json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["invitation"], printed.trim_end());
    assert_eq!(json["fingerprint"], site.listed("phone")["fingerprint"]);
    let error = site.fails(&["show", "tablet", "--server", "192.0.2.1"]);
    assert!(error.contains("has no client \"tablet\""), "{error}");
}

#[test]
fn what_is_in_force_is_told() {
    needs_bpf!();
    let mut site = Site::new();
    site.opens(&laptop().unwrap(), SOURCE);
    site.succeeds(&["expire", "laptop", "now", "--no-reload"]);
    assert!(site.is_admitted(SOURCE));
    site.succeeds(&["expire", "laptop", "never"]);

    // A change by hand that needs a restart: the daemon refuses it with everything else.
    let path = site.scene.files.path("knockd.toml");
    let valid = site.configuration();
    fs::write(&path, valid.replace("/state\"", "/elsewhere\"")).unwrap();
    let error = site.fails(&["expire", "laptop", "now"]);
    for part in [
        "the configuration is changed",
        "what was in force before",
        "`state_dir`",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert_eq!(site.listed("laptop")["has_expired"], true);
    assert!(site.is_admitted(SOURCE));

    site.scene.stop().unwrap();
    let output = site.run(&["expire", "laptop", "2999-01-01"]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && told.contains("no knockd answers at"),
        "{told}"
    );
}
