//! When and from where a client may knock, a change of its key, and clients in files of their own.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::Command,
    time::{Duration, SystemTime},
};

use knock_common::protocol::{datagram::Beneficiary, identity::KeyPair};
use knock_tests::{
    link::Pair,
    needs_bpf,
    scene::{
        LAPTOP_PUBLIC, PHONE, SOURCE, SSH, STRANGER, Scene, classic, datagram_request, laptop,
        program, request_of, seal_datagram, syn_key, tablet,
    },
    service::{Greeter, is_admitted},
};

/// A client with a key pair and a classic one. The gate and a command open the door `ssh`; the door
/// `guest` opens for others. `# rules` stands for further keys of both clients.
const CONFIGURATION: &str = r#"
control_socket = "{folder}/knockd.sock"
state_dir = "{folder}/state"
server_key_file = "server.key"
include = ["conf.d/*.toml"]

[datagram]
port = 62201

[gate]
protect = ["tcp/22"]
trusted = ["192.0.2.66"]

[[client]]
name = "laptop"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"
# rules

[[client]]
name = "phone"
protocol = "classic"
passphrase_file = "phone.passphrase"
# rules

[[door]]
name = "ssh"
sequence = [1, 2, 3, 4]
open = ["tcp/22"]
run = ["true"]
for = "2h"

[[door]]
name = "guest"
allow_other = true
sequence = [5]
run = ["true"]
for = "2h"
"#;

/// A guest for whom others knock.
const GUEST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9));

/// [`CONFIGURATION`] with these keys of both clients.
fn with(rules: &str) -> String {
    CONFIGURATION.replace("# rules", rules)
}

/// The time in `seconds`, as in the configuration, in whole seconds.
fn in_seconds(seconds: u64) -> (SystemTime, String) {
    let time = SystemTime::now() + Duration::from_secs(seconds);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    (humantime::parse_rfc3339(&text).unwrap(), text)
}

fn reload(scene: &Scene) -> Result<(), String> {
    let output = scene.watch("reload").unwrap().output().unwrap();
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8(output.stderr).unwrap())
}

/// Puts another configuration in force.
fn reconfigure(scene: &Scene, configuration: &str) {
    let folder = scene.files.path("").display().to_string();
    let configuration = configuration.replace("{folder}", folder.trim_end_matches('/'));
    fs::write(scene.files.path("knockd.toml"), configuration).unwrap();
    reload(scene).unwrap();
}

/// A datagram knock of `client` from `source`.
fn knock(
    scene: &Scene,
    client: &KeyPair,
    door: &str,
    beneficiary: Beneficiary,
    source: SocketAddr,
) {
    let request = knock_common::protocol::datagram::Request {
        beneficiary,
        ..datagram_request(door, source.ip()).unwrap()
    };
    let datagram = seal_datagram(client, &request).unwrap();
    scene.send_datagram(&datagram, source).unwrap();
}

/// A datagram knock of the laptop for the door `ssh` from `source`.
fn knock_from(scene: &Scene, source: SocketAddr) {
    let bound = Beneficiary::Bound(source.ip());
    knock(scene, &laptop().unwrap(), "ssh", bound, source);
}

/// A SYN knock of `client` for the door `ssh` from `source`.
fn syn_knock_from(scene: &Scene, client: &KeyPair, source: SocketAddr) {
    let key = syn_key(client).unwrap();
    let request = request_of(&key, "ssh", source.ip()).unwrap();
    scene.send_block(request.seal(&key), source).unwrap();
}

fn classic_knock_from(scene: &Scene, source: SocketAddr) {
    let frames = classic(PHONE, SSH, source, Pair::SERVER_V4.into()).unwrap();
    scene.send(&frames).unwrap();
}

const fn source(last: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), 40_000)
}

fn refused(scene: &Scene, source: SocketAddr, reason: &str, client: &str) {
    let line = format!(
        "refused source={} reason={reason} client={client:?}",
        source.ip()
    );
    scene.logged(&[&line]).unwrap();
}

fn closed(scene: &Scene, source: SocketAddr) {
    let line = format!(" closed door=\"ssh\" source={}", source.ip());
    scene.logged(&[&line]).unwrap();
}

fn counter(scene: &Scene, name: &str) -> u64 {
    scene.status().unwrap()["daemon"][name].as_u64().unwrap()
}

#[test]
fn what_a_client_has_open_is_closed_when_it_expires() {
    needs_bpf!();
    let (_, text) = in_seconds(3600);
    let scene = Scene::with(&with(&format!("expires = {text}"))).unwrap();
    scene.pair.add_client_address(STRANGER.ip()).unwrap();
    let _ssh = Greeter::start(&scene.pair.server, 22).unwrap();
    let server = SocketAddr::new(Pair::SERVER_V4.into(), 22);
    let is_open = || {
        let client = &scene.pair.client;
        is_admitted(client, SOURCE.ip(), STRANGER.ip(), server).unwrap()
    };
    knock_from(&scene, SOURCE);
    scene.opened("ssh", SOURCE.ip()).unwrap();
    let accepted = scene.logged(&["accepted door=\"ssh\""]).unwrap();
    let (_, lease) = accepted.split_once("lease=").unwrap();
    let lease: u64 = lease.split('s').next().unwrap().parse().unwrap();
    assert!(lease <= 3600, "no lease lasts longer: {accepted}");
    assert!(is_open());

    // Soon, but not at the reload.
    let (expires, text) = in_seconds(5);
    reconfigure(&scene, &with(&format!("expires = {text}")));
    closed(&scene, SOURCE);
    assert!(SystemTime::now() >= expires);
    assert!(!is_open());
    knock_from(&scene, source(3));
    refused(&scene, source(3), "expired", "laptop");
    syn_knock_from(&scene, &laptop().unwrap(), source(4));
    refused(&scene, source(4), "expired", "laptop");
    classic_knock_from(&scene, source(5));
    refused(&scene, source(5), "expired", "phone");
    assert_eq!(counter(&scene, "refused_expired"), 3);
    assert!(
        scene.status().unwrap()["doors"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_client_knocks_from_its_networks_only() {
    needs_bpf!();
    let scene = Scene::with(&with("from = [\"192.0.2.0/28\"]")).unwrap();
    let [outside, also_outside] = [source(66), source(67)];
    knock_from(&scene, SOURCE);
    scene.opened("ssh", SOURCE.ip()).unwrap();
    classic_knock_from(&scene, source(3));
    scene.opened("ssh", source(3).ip()).unwrap();
    knock_from(&scene, outside);
    refused(&scene, outside, "outside", "laptop");
    syn_knock_from(&scene, &laptop().unwrap(), source(68));
    refused(&scene, source(68), "outside", "laptop");
    classic_knock_from(&scene, source(69));
    refused(&scene, source(69), "outside", "phone");
    assert_eq!(counter(&scene, "refused_outside"), 3);

    // What counts is where the knock comes from.
    let laptop = laptop().unwrap();
    knock(&scene, &laptop, "guest", Beneficiary::Other(GUEST), SOURCE);
    scene.opened("guest", GUEST).unwrap();
    let for_source = Beneficiary::Other(SOURCE.ip());
    knock(&scene, &laptop, "guest", for_source, also_outside);
    refused(&scene, also_outside, "outside", "laptop");

    // The same networks again: the guest stays.
    reconfigure(
        &scene,
        &with("from = [\"192.0.2.0/28\"]\ndoors = [\"ssh\", \"guest\"]"),
    );
    assert_eq!(
        scene.status().unwrap()["doors"].as_array().unwrap().len(),
        3
    );
    // Neither the guest nor this source is in the new ones.
    reconfigure(&scene, &with("from = [\"192.0.2.3\"]"));
    closed(&scene, SOURCE);
    scene
        .logged(&[" closed door=\"guest\" source=198.51.100.9"])
        .unwrap();
    let status = scene.status().unwrap();
    let doors = status["doors"].as_array().unwrap();
    assert_eq!(doors.len(), 1, "{doors:?}");
    assert_eq!(doors[0]["source"], "192.0.2.3");
}

#[test]
fn a_client_opens_its_doors_only() {
    needs_bpf!();
    let scene = Scene::with(&with("doors = [\"guest\"]")).unwrap();
    knock_from(&scene, SOURCE);
    refused(&scene, SOURCE, "not-allowed", "laptop");
    let sender = Beneficiary::Sender;
    knock(&scene, &laptop().unwrap(), "guest", sender, SOURCE);
    scene.opened("guest", SOURCE.ip()).unwrap();
    reconfigure(&scene, &with("doors = [\"ssh\"]"));
    scene
        .logged(&[" closed door=\"guest\" source=192.0.2.2"])
        .unwrap();
}

#[test]
fn a_client_changes_its_key_without_being_locked_out() {
    needs_bpf!();
    let scene = Scene::with(CONFIGURATION).unwrap();
    let (old, new) = (laptop().unwrap(), tablet().unwrap());
    knock_from(&scene, SOURCE);
    scene.opened("ssh", SOURCE.ip()).unwrap();
    let rotated = |until: &str| {
        let key = format!("public_key = \"{LAPTOP_PUBLIC}\"");
        let keys = format!(
            "public_key = \"{}\"\nprevious_key = \"{LAPTOP_PUBLIC}\"\nprevious_until = {until}",
            new.public()
        );
        CONFIGURATION.replace(&key, &keys)
    };
    let (_, until) = in_seconds(3600);
    reconfigure(&scene, &rotated(&until));
    assert_eq!(
        scene.status().unwrap()["doors"].as_array().unwrap().len(),
        1
    );
    syn_knock_from(&scene, &new, source(3));
    scene.opened("ssh", source(3).ip()).unwrap();
    assert_eq!(counter(&scene, "accepted_old_key"), 0);
    syn_knock_from(&scene, &old, source(4));
    scene.opened("ssh", source(4).ip()).unwrap();
    let line = format!(
        "old key client=\"laptop\" source=192.0.2.4: it still knocks with its `previous_key`, which is accepted until {until}"
    );
    scene.logged(&[&line]).unwrap();
    assert_eq!(counter(&scene, "accepted_old_key"), 1);

    // A key that is not accepted any more leaves nothing open.
    reconfigure(&scene, &rotated("2026-01-01T00:00:00Z"));
    for last in [2, 3, 4] {
        closed(&scene, source(last));
    }
    knock_from(&scene, source(5));
    refused(&scene, source(5), "old-key", "laptop");
    syn_knock_from(&scene, &new, source(6));
    scene.opened("ssh", source(6).ip()).unwrap();
}

/// The path of a file in `conf.d`, with this content.
fn include(scene: &Scene, name: &str, content: &str) -> PathBuf {
    fs::create_dir_all(scene.files.path("conf.d")).unwrap();
    let path = scene.files.path("conf.d").join(name);
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn clients_come_and_go_with_files_of_their_own() {
    needs_bpf!();
    let scene = Scene::with(CONFIGURATION).unwrap();
    let key = tablet().unwrap();
    let client = format!(
        "[[client]]\nname = \"tablet\"\npublic_key = \"{}\"\n",
        key.public()
    );
    let file = include(&scene, "tablet.toml", &client);
    reload(&scene).unwrap();
    syn_knock_from(&scene, &key, SOURCE);
    scene.opened("ssh", SOURCE.ip()).unwrap();

    fs::write(&file, client + "expires = \"soon\"\n").unwrap();
    let error = reload(&scene).unwrap_err();
    let expected = "conf.d/tablet.toml:4: expires: invalid type: string";
    assert!(error.contains(expected), "{error}");
    let mut check = Command::new(program("knockd").unwrap());
    check.args(["check", "--config"]);
    let checked = check.arg(scene.files.path("knockd.toml")).output().unwrap();
    let stderr = String::from_utf8(checked.stderr).unwrap();
    assert!(
        !checked.status.success() && stderr.contains(expected),
        "{stderr}"
    );

    fs::remove_file(file).unwrap();
    reload(&scene).unwrap();
    closed(&scene, SOURCE);
}
