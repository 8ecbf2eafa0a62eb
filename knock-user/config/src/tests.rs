use std::{
    fs::{self, File},
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt as _,
    time::Duration,
};

use knock_common::{protocol::syn::SynSecret, settings::Verdict, window::Window};
use knockd_types::{interface::Wanted, policy::Secret, rules::Port};

use super::*;
use crate::{source::MAX_LEN, template::Expansion};

mod clients;
mod fleet;
mod gate;
mod include;
mod metrics;
mod network;

const GOOD: &str = r#"
interfaces = ["eth0"]

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
clients = ["laptop"]
sequence = [1, 2, 3, 4]
run = ["portknock", "open", "%IP%"]
close = ["portknock", "close", "%IP%"]
for = "1m 30s"

[[door]]
name = "backup"
sequence = [9]
run = ["backup"]
"#;

const SERVER_KEY: &str = "knockd2:kdPePtooXZWhwSf3xoBoDaSiI4SLU1G6i30WClMItVw\n";

/// The public key of [`SERVER_KEY`].
const SERVER: &str = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("laptop.pass", "correct horse battery staple\n", 0o600);
        folder.write("phone.pass", "open sesame\n", 0o600);
        folder.write("server.key", SERVER_KEY, 0o600);
        folder.write("ca.pem", fleet::CERTIFICATE, 0o644);
        folder.write("node.pem", fleet::CERTIFICATE, 0o644);
        folder.write("node.key", fleet::PRIVATE_KEY, 0o600);
        folder.write("fleet.key", fleet::FLEET_KEY, 0o600);
        folder
    }

    fn write(&self, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn load(&self, content: &str) -> Result<Config> {
        Config::load(&self.write("knockd.toml", content, 0o644))
    }

    fn error(&self, content: &str) -> String {
        let folder = format!("{}/", self.0.path().display());
        format!("{:#}", self.load(content).unwrap_err()).replace(&folder, "")
    }
}

#[test]
fn reads_a_whole_configuration() {
    let config = Folder::new().load(GOOD).unwrap();
    assert_eq!(config.interfaces, Wanted::by_name(["eth0"]));
    assert_eq!(config.window, Window::DEFAULT);
    assert_eq!(config.verdict, Verdict::Drop);
    assert_eq!(config.sequence_timeout, Duration::from_secs(15));
    assert_eq!(config.clients.len(), 2);
    let [ssh, backup] = &config.doors[..] else {
        panic!("two doors");
    };
    assert_eq!(ssh.clients, [0]);
    assert_eq!(ssh.lease, Duration::from_secs(90));
    assert_eq!(backup.lease, Duration::from_secs(30));
    let mut everybody = backup.clients.clone();
    everybody.sort_unstable();
    assert_eq!(everybody, [0, 1]);
    let command = ssh.run.as_ref().unwrap().expand(&Expansion {
        source: Ipv4Addr::new(192, 0, 2, 7).into(),
        door: "ssh",
        client: "laptop",
        seconds: 90,
    });
    assert_eq!(command.arguments, ["open", "192.0.2.7"]);
}

#[test]
fn the_example_of_the_documentation_is_valid() {
    let page = include_str!("../../../docs/configuration.md");
    let block = page.split("```toml\n").nth(1).unwrap();
    let text = block.split("```").next().unwrap();
    // The package creates the user `knockd`.
    let text = text.replace("\"knockd\"", "\"nobody\"");
    let config = Folder::new().load(&text).unwrap();
    let port: Port = "tcp/22".parse().unwrap();
    assert!(config.opens(port) && config.doors[0].run.is_some());
    assert!(config.gate.unwrap().rules.protect.contains(&port));
}

#[test]
fn every_mistake_names_file_line_and_key() {
    let folder = Folder::new();
    folder.write("exposed.pass", "secret words\n", 0o644);
    for (good, bad, expected) in [
        (
            "[[door]]",
            "colour = 1\n[[door]]",
            "knockd.toml:14: colour: unknown field `colour`",
        ),
        (
            "[\"eth0\"]",
            "[\"eth0/1\"]",
            "knockd.toml:2: interfaces: this is not a valid name",
        ),
        (
            "interfaces",
            "[window]\nbase = 65281\n[x]\ninterfaces",
            "knockd.toml:3: base: 65281 cannot be",
        ),
        (
            "[[door]]\nname = \"b",
            "[window]\nbase = 0\n[[door]]\nname = \"b",
            "knockd.toml:23: base: 0 cannot be",
        ),
        (
            "[1, 2, 3, 4]",
            "[]",
            "knockd.toml:17: sequence: a sequence has 1 to 15 numbers, not 0",
        ),
        (
            "[9]",
            "[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]",
            "knockd.toml:24: sequence: a sequence has 1 to 15 numbers, not 16",
        ),
        (
            "[9]",
            "[256]",
            "knockd.toml:24: sequence: invalid value: integer `256`",
        ),
        (
            "[9]",
            "[1, 2, 3, 4, 0]",
            "knockd.toml:24: sequence: door `backup` has the same sequence as door `ssh`",
        ),
        (
            "\"backup\"\ns",
            "\"ssh\"\ns",
            "knockd.toml:23: name: there are two doors named `ssh`",
        ),
        (
            "\"phone\"",
            "\"laptop\"",
            "knockd.toml:10: name: there are two clients named `laptop`",
        ),
        (
            "\"open\", \"%IP%\"",
            "\"%ADDRESS%\"",
            "knockd.toml:18: run: unknown placeholder `%ADDRESS%`",
        ),
        (
            "\"close\", \"%IP%\"",
            "\"%IP\"",
            "knockd.toml:19: close: a `%` begins a placeholder",
        ),
        (
            "1m 30s",
            "soon",
            "knockd.toml:20: for: `soon` is not a duration",
        ),
        ("1m 30s", "0s", "knockd.toml:20: for: 0s is not between"),
        (
            "1m 30s",
            "366days",
            "knockd.toml:20: for: 366days is not between 1s and 365days",
        ),
        (
            "1m 30s",
            "1500ms",
            "knockd.toml:20: for: `1500ms` is not a number of whole seconds",
        ),
        (
            "clients = [\"laptop\"]",
            "clients = [\"tablet\"]",
            "knockd.toml:16: clients: there is no [[client]] named `tablet`",
        ),
        (
            "clients = [\"laptop\"]",
            "clients = []",
            "knockd.toml:16: clients: no client may open this door",
        ),
        (
            "laptop.pass",
            "exposed.pass",
            "knockd.toml:7: passphrase_file: exposed.pass: others can read or change it (mode 0644)",
        ),
        (
            "laptop.pass",
            "phone.pass",
            "knockd.toml:12: passphrase_file: client `phone` has the same passphrase as client `laptop`",
        ),
        (
            "laptop.pass",
            "nowhere",
            "knockd.toml:7: passphrase_file: nowhere: it cannot be read: No such file",
        ),
        (
            "\"classic\"",
            "\"open\"",
            "knockd.toml:6: protocol: unknown variant `open`, expected `knock2` or `classic`",
        ),
        (
            "passphrase_file = \"laptop.pass\"",
            "public_key = \"j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8\"",
            "knockd.toml:7: public_key: a classic client has a `passphrase_file`, not a key",
        ),
        (
            "passphrase_file = \"laptop.pass\"",
            "",
            "knockd.toml:5: name: client `laptop` needs a `passphrase_file`",
        ),
        (
            "sequence = [1, 2, 3, 4]",
            "",
            "knockd.toml:15: name: door `ssh` has no `sequence`, which its classic clients",
        ),
        (
            "for = \"1m 30s\"",
            "for = \"1m\"\nmax_for = \"30s\"",
            "knockd.toml:21: max_for: this is less than the door's `for`",
        ),
        (
            "[[door]]",
            "max_skew = \"25h\"\n[[door]]",
            "knockd.toml:14: max_skew: unknown field `max_skew`",
        ),
        (
            "[\"backup\"]",
            "\"backup\"",
            "knockd.toml:25: run: invalid type: string",
        ),
        ("interfaces =", "interfaces", "knockd.toml:2: "),
    ] {
        assert!(GOOD.contains(good), "{good}");
        let error = folder.error(&GOOD.replacen(good, bad, 1));
        assert!(
            error.starts_with(expected),
            "{good} -> {bad}:\n{error}\nnot\n{expected}"
        );
        assert!(!error.contains("secret words"), "{error}");
    }
}

const PAIRS: &str = r#"
max_skew = "90s"
state_dir = "/tmp/state"
server_key_file = "server.key"

[datagram]
port = 62201

[[client]]
name = "laptop"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"

[[client]]
name = "tablet"
public_key = "0iwA2BrX1liN0SVIFdL419C0RcwmnJ8wsaE_V3M7bVc"

[[client]]
name = "phone"
protocol = "classic"
passphrase_file = "phone.pass"

[[door]]
name = "ssh"
run = ["true"]
max_for = "1h"
require_binding = true
"#;

#[test]
fn a_client_has_a_key_pair_unless_it_is_classic() {
    let config = Folder::new().load(PAIRS).unwrap();
    assert_eq!(config.max_skew, Duration::from_secs(90));
    assert_eq!(config.state_dir, Path::new("/tmp/state"));
    let server = config.server.unwrap();
    assert_eq!(server.public().to_string(), SERVER);
    assert_eq!(config.datagram_port.map(Into::into), Some(62_201_u16));
    let [laptop, tablet, phone] = &config.clients[..] else {
        panic!("three clients");
    };
    let public = |secret: &Secret| match secret {
        Secret::Pair(peer) => {
            let syn = SynSecret::of_server(&server, &peer.public).unwrap();
            assert_eq!(peer.syn.expose(), syn.expose());
            peer.public.to_string()
        }
        Secret::Classic(_) => panic!("it is classic"),
    };
    assert!(public(&laptop.secret).starts_with("j0DFrbaP"));
    assert!(public(&tablet.secret).starts_with("0iwA2BrX"));
    assert!(matches!(phone.secret, Secret::Classic(_)));
    let door = &config.doors[0];
    // The door does not name the classic client, so it needs no sequence.
    assert_eq!(door.clients, [0, 1, 2]);
    assert_eq!((door.lease.as_secs(), door.max_lease.as_secs()), (30, 3600));
    assert!(door.require_binding && !door.allow_other);
}

#[test]
fn only_classic_clients_need_no_server_key() {
    let config = Folder::new().load(GOOD).unwrap();
    assert!(config.server.is_none() && config.datagram_port.is_none());
    let error = Folder::new().error(&format!("{GOOD}\n[datagram]\nport = 62201"));
    let expected = "knockd.toml:28: port: datagram knocks need a top-level `server_key_file`";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn mistakes_about_keys_name_file_line_and_key() {
    let folder = Folder::new();
    folder.write("exposed.key", SERVER_KEY, 0o640);
    folder.write("torn.key", "knockd2:kdPePt\n", 0o600);
    folder.write(
        "client.key",
        &SERVER_KEY.replace("knockd2", "knock2"),
        0o600,
    );
    let laptop = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8";
    for (good, bad, expected) in [
        (
            "\"90s\"",
            "\"25h\"",
            "knockd.toml:2: max_skew: 25h is not between 1s and 1day",
        ),
        (
            "\"server.key\"",
            "\"nowhere.key\"",
            "knockd.toml:4: server_key_file: nowhere.key: it cannot be read",
        ),
        (
            "\"server.key\"",
            "\"exposed.key\"",
            "knockd.toml:4: server_key_file: exposed.key: others can read or change it",
        ),
        (
            "\"server.key\"",
            "\"torn.key\"",
            "knockd.toml:4: server_key_file: torn.key: a key has 43 characters",
        ),
        (
            "\"server.key\"",
            "\"client.key\"",
            "knockd.toml:4: server_key_file: client.key: this is a client's key; a server's begins with knockd2:",
        ),
        (
            "server_key_file = \"server.key\"",
            "",
            "knockd.toml:7: port: datagram knocks need a top-level `server_key_file`: `knockd init` makes one\nknockd.toml:11: public_key: a client with a key pair needs a top-level `server_key_file`",
        ),
        (
            laptop,
            "knock2",
            "knockd.toml:11: public_key: a public key has 43 characters, not 6",
        ),
        (
            laptop,
            &laptop.replace('F', "/"),
            "knockd.toml:11: public_key: this is not a public key: mistyped or damaged",
        ),
        (
            laptop,
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "knockd.toml:11: public_key: this public key belongs to no key pair",
        ),
        (
            "0iwA2BrX1liN0SVIFdL419C0RcwmnJ8wsaE_V3M7bVc",
            laptop,
            "knockd.toml:15: public_key: client `tablet` has the same key as client `laptop`",
        ),
        (
            laptop,
            SERVER,
            "knockd.toml:11: public_key: client `laptop` has the same key as the server",
        ),
        (
            "public_key = \"0iw",
            "passphrase_file = \"phone.pass\"\npublic_key = \"0iw",
            "knockd.toml:15: passphrase_file: only a classic client has a `passphrase_file`",
        ),
        (
            "protocol = \"classic\"\npassphrase_file = \"phone.pass\"",
            "",
            "knockd.toml:18: name: client `phone` needs a `public_key`",
        ),
        (
            "port = 62201",
            "port = 0",
            "knockd.toml:7: port: invalid value: integer `0`",
        ),
        (
            "require_binding",
            "clients = [\"phone\"]\nrequire_binding",
            "knockd.toml:23: name: door `ssh` has no `sequence`",
        ),
        // Both names have the tag 7f5a; found by search.
        (
            "require_binding = true",
            "[[door]]\nname = \"door97483\"\nrun = [\"true\"]",
            "knockd.toml:27: name: door `door97483` has the same tag as door `ssh`",
        ),
    ] {
        assert!(PAIRS.contains(good), "{good}");
        let error = folder.error(&PAIRS.replacen(good, bad, 1));
        assert!(
            error.starts_with(expected),
            "{good} -> {bad}:\n{error}\nnot\n{expected}"
        );
        assert!(!error.contains("kdPePtooXZ"), "{error}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let bad = GOOD
        .replace("laptop.pass", "nowhere")
        .replace("[\"laptop\"]", "[\"tablet\"]");
    let error = Folder::new().error(&bad);
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn the_socket_and_the_state_are_found_without_the_secrets() {
    let folder = Folder::new();
    let text = "control_socket = \"/run/x\"\n[[client]]\nname = \"a\"\n";
    let path = folder.write("knockd.toml", text, 0o644);
    assert_eq!(control_socket(&path), Some("/run/x".into()));
    assert_eq!(control_socket(&folder.write("x.toml", "[", 0o644)), None);
    assert_eq!(control_socket(Path::new("/nowhere")), None);
    assert_eq!(state_dir(&path).unwrap(), Path::new(DEFAULT_STATE_DIR));
    let other = folder.write("x.toml", "state_dir = \"/srv/x\"\n", 0o644);
    assert_eq!(state_dir(&other).unwrap(), Path::new("/srv/x"));
    let error = format!("{:#}", state_dir(Path::new("/nowhere")).unwrap_err());
    assert!(error.starts_with("/nowhere: "), "{error}");
    let secret = folder.write("x.toml", "sequence = [11, 22, 33\n", 0o644);
    let error = format!("{:#}", state_dir(&secret).unwrap_err());
    assert!(!error.contains("22"), "{error}");
}

#[test]
fn nothing_to_do_is_a_mistake() {
    let error = Folder::new().error("");
    assert!(error.contains("there is no [[client]]"), "{error}");
    assert!(error.contains("there is no [[door]]"), "{error}");
}

#[test]
fn refuses_a_file_that_others_can_change() {
    let folder = Folder::new();
    let path = folder.write("knockd.toml", GOOD, 0o646);
    let error = format!("{:#}", Config::load(&path).unwrap_err());
    assert!(
        error.contains("others can change it (mode 0646)"),
        "{error}"
    );
}

#[test]
fn refuses_what_is_no_configuration() {
    let folder = Folder::new();
    let path = folder.write("knockd.toml", "#", 0o644);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(MAX_LEN + 1).unwrap();
    assert!(format!("{:#}", Config::load(&path).unwrap_err()).contains("larger than"));
    fs::write(&path, b"\xff").unwrap();
    assert!(format!("{:#}", Config::load(&path).unwrap_err()).contains("not UTF-8"));
    let error = format!(
        "{:#}",
        Config::load(Path::new("/nowhere/knockd.toml")).unwrap_err()
    );
    assert!(
        error.starts_with("/nowhere/knockd.toml: the configuration cannot be read"),
        "{error}"
    );
}

#[test]
fn users_are_looked_up_and_the_network_facing_process_is_not_roots() {
    let folder = Folder::new();
    let with = |top: &str, door: &str| {
        let text = GOOD.replacen("[[door]]\n", &format!("[[door]]\n{door}\n"), 1);
        format!("{top}\n{text}")
    };
    let config = folder
        .load(&with(
            "user = \"nobody\"",
            "user = \"daemon\"\ngroup = \"nogroup\"",
        ))
        .unwrap();
    assert_eq!(config.user.unwrap().to_string(), "nobody");
    let account = config.doors[0].account.as_ref().unwrap();
    assert_eq!((account.uid, account.gid), (1, 65534));
    for (top, door, part) in [
        ("user = \"root\"", "", "must not run as root"),
        (
            "user = \"nobody-here\"",
            "",
            "this host has no user `nobody-here`",
        ),
        (
            "",
            "user = \"nobody-here\"",
            "this host has no user `nobody-here`",
        ),
        (
            "user = \"daemon\"",
            "user = \"daemon\"",
            "its commands could end them",
        ),
        ("", "group = \"daemon\"", "a `group` needs a `user`"),
        (
            "",
            "user = \"daemon\"\ngroup = \"none-such\"",
            "this host has no group `none-such`",
        ),
    ] {
        let error = folder.error(&with(top, door));
        assert!(error.contains(part), "{error}");
    }
}
