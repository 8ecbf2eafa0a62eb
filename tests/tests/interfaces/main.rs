//! Interfaces that appear, disappear or change while the daemon runs.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod limits;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use knock_tests::{
    link::Pair,
    needs_bpf,
    netns::Namespace,
    process::{Running, Signal},
    scene::{CONFIGURATION, Files, PHONE, SOON, SSH, Scene, classic, knockd, program},
    service::{Greeter, try_connect},
    wire::Sender,
};
use serde_json::{Value, json};

/// Time limit for the program to be attached again.
const REATTACH_LIMIT: Duration = Duration::from_secs(1);

/// A running daemon with the `--iface` options in its `arguments`.
struct Watched {
    pair: Pair,
    files: Files,
    knockd: Running,
}

impl Watched {
    fn new(arguments: &[&str]) -> Self {
        Self::with(CONFIGURATION, arguments)
    }

    fn with(configuration: &str, arguments: &[&str]) -> Self {
        let pair = Pair::new().unwrap();
        let files = Files::new(configuration).unwrap();
        let mut command = knockd(&pair, &files).unwrap();
        command.args(arguments);
        let knockd = Running::spawn(command).unwrap();
        knockd
            .wait_for(|line| line.contains("listening on"), SOON)
            .unwrap();
        Self {
            pair,
            files,
            knockd,
        }
    }

    /// Changes the link with `ip`, waits for the log line `expected` and returns the time until
    /// then.
    fn after(&self, change: &str, expected: &str) -> Duration {
        self.after_change(expected, |server| server.ip(change).map(drop))
    }

    /// Like [`after`](Self::after), for another name.
    fn after_rename(&self, from: &str, to: &str, expected: &str) -> Duration {
        self.after_change(expected, |server| server.rename(from, to))
    }

    fn after_change(
        &self,
        expected: &str,
        change: impl FnOnce(&Namespace) -> anyhow::Result<()>,
    ) -> Duration {
        let mark = self.knockd.mark();
        let begun = Instant::now();
        change(&self.pair.server).unwrap();
        let is_logged = |line: &str| line.contains(expected);
        self.knockd.wait_for_after(mark, is_logged, SOON).unwrap();
        begun.elapsed()
    }

    fn stop(&mut self) {
        self.knockd.signal(Signal::SIGTERM).unwrap();
        assert!(self.knockd.wait(SOON).unwrap().success());
    }

    fn status(&self) -> Value {
        let mut status = self.pair.server.command(program("knockd").unwrap());
        status.args(["status", "--json", "--socket"]);
        let output = status.arg(self.files.path("knockd.sock")).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn attached(&self) -> Vec<Value> {
        let status = self.status();
        let attachments = status["attachments"].as_array().unwrap();
        attachments
            .iter()
            .map(|one| one["interface"].clone())
            .collect()
    }

    /// Knocks over the client's interface `from` and waits until the knock is accepted.
    fn knock_from(&self, from: &str, source: SocketAddr) {
        let knock = classic(PHONE, SSH, source, Pair::SERVER_V4.into()).unwrap();
        let sender = Sender::new(&self.pair.client, from).unwrap();
        for frame in &knock {
            sender.send(&frame.bytes().unwrap()).unwrap();
        }
        let accepted = format!(
            "accepted door=\"ssh\" client=\"phone\" source={} ",
            source.ip()
        );
        self.knockd
            .wait_for(|line| line.contains(&accepted), SOON)
            .unwrap();
    }

    /// The `ip` command for a veth pair whose other end is `peer` in the client's namespace.
    fn add_veth(&self, name: &str, peer: &str) -> String {
        format!(
            "link add {name} type veth peer name {peer} netns {}",
            self.pair.client.path().display()
        )
    }

    fn up(&self, name: &str, peer: &str) {
        self.pair
            .server
            .ip(&format!("link set dev {name} up"))
            .unwrap();
        self.pair
            .client
            .ip(&format!("link set dev {peer} up"))
            .unwrap();
    }
}

fn source(last: u8) -> SocketAddr {
    ([192, 0, 2, last], 40_000).into()
}

#[test]
fn a_missing_interface_is_awaited() {
    needs_bpf!();
    let watched = Watched::new(&["--iface", "late0"]);
    assert_eq!(watched.status()["awaited"], json!(["late0"]));
    let took = watched.after(&watched.add_veth("late0", "cli1"), "attached to late0");
    assert!(took < REATTACH_LIMIT, "{took:?}");
    watched.up("late0", "cli1");
    watched.knock_from("cli1", source(31));
    let status = watched.status();
    assert_eq!(status["awaited"], json!([]));
    assert_eq!(status["attachments"][0]["mode"], "native");
    assert_eq!(status["daemon"]["interfaces_attached"], 1);
}

/// udev gives interfaces several names, some of which are longer than a name can be.
#[test]
fn an_interface_is_known_by_its_alternative_names() {
    needs_bpf!();
    const ALTERNATIVE: &str = "enx020000000001-alternative";
    let gate = "[gate]\nprotect = [\"tcp/22\"]\n";
    let configuration = format!("{CONFIGURATION}\n{gate}");
    let watched = Watched::with(&configuration, &["--iface", ALTERNATIVE]);
    for expected in [
        "there is no alternative name of an interface `enx020000000001-alternative`: waiting",
        "the gate does not protect tcp/22 yet: it is attached to no interface",
    ] {
        let is_logged = |line: &str| line.contains(expected);
        watched.knockd.wait_for(is_logged, SOON).unwrap();
    }
    assert_eq!(watched.status()["awaited"], json!([ALTERNATIVE]));
    let add = format!("link property add dev srv0 altname {ALTERNATIVE}");
    let took = watched.after(&add, "attached to srv0");
    assert!(took < REATTACH_LIMIT, "{took:?}");
    watched.knock_from("cli0", source(31));
    let status = watched.status();
    assert_eq!(status["awaited"], json!([]));
    assert_eq!(status["attachments"][0]["interface"], "srv0");
    watched.after_rename("srv0", "wan0", "srv0 was renamed to wan0");
    assert_eq!(watched.attached(), [json!("wan0")]);
}

#[test]
fn what_can_be_no_interface_is_refused() {
    for command in [&[][..], &["tap"]] {
        for name in ["vs:1", "a b", "", "..", "eth0/1", &"x".repeat(128)] {
            let mut knockd = std::process::Command::new(program("knockd").unwrap());
            let output = knockd.args(command).args(["--iface", name]).output();
            let output = output.unwrap();
            let errors = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{name}: {errors}");
            assert!(errors.contains("not a valid name"), "{name}: {errors}");
        }
    }
}

#[test]
fn a_recreated_interface_is_attached_again() {
    needs_bpf!();
    let watched = Watched::new(&["--iface", "late0"]);
    let add = watched.add_veth("late0", "cli1");
    for round in 0..3 {
        let took = watched.after(&add, "attached to late0");
        assert!(took < REATTACH_LIMIT, "{took:?}");
        watched.up("late0", "cli1");
        watched.knock_from("cli1", source(31 + round));
        watched.after("link delete late0", "late0 disappeared");
        assert!(watched.attached().is_empty());
        assert_eq!(watched.status()["awaited"], json!(["late0"]));
    }
    let daemon = &watched.status()["daemon"];
    assert_eq!(daemon["interfaces_attached"], 3);
    assert_eq!(daemon["interfaces_lost"], 3);
}

#[test]
fn an_interface_that_goes_down_and_up_keeps_its_program() {
    needs_bpf!();
    let watched = Watched::new(&["--iface", "srv0"]);
    watched.pair.server.ip("link set dev srv0 down").unwrap();
    watched.pair.server.ip("link set dev srv0 up").unwrap();
    watched.knock_from("cli0", source(31));
    assert_eq!(watched.status()["daemon"]["interfaces_lost"], 0);
}

#[test]
fn another_mtu_changes_nothing_where_the_mode_fits() {
    needs_bpf!();
    let watched = Watched::new(&["--iface", "srv0"]);
    for (mtu, last) in [(9000, 31), (1280, 32)] {
        let change = format!("link set dev srv0 mtu {mtu}");
        watched.pair.server.ip(&change).unwrap();
        watched
            .pair
            .client
            .ip(&change.replace("srv0", "cli0"))
            .unwrap();
        watched.knock_from("cli0", source(last));
    }
    let status = watched.status();
    assert_eq!(status["attachments"][0]["mode"], "native");
    assert_eq!(status["daemon"]["interfaces_attached"], 1);
}

#[test]
fn an_interface_that_leaves_the_namespace_and_comes_back_is_attached_again() {
    needs_bpf!();
    let watched = Watched::new(&["--iface", "srv0"]);
    let away = format!(
        "link set dev srv0 netns {}",
        watched.pair.client.path().display()
    );
    watched.after(&away, "srv0 disappeared");
    let details = watched.pair.client.ip("-details link show srv0").unwrap();
    assert!(!details.contains("xdp"), "{details}");
    let mark = watched.knockd.mark();
    let back = format!(
        "link set dev srv0 netns {}",
        watched.pair.server.path().display()
    );
    watched.pair.client.ip(&back).unwrap();
    watched
        .knockd
        .wait_for_after(mark, |line| line.contains("attached to srv0"), SOON)
        .unwrap();
    watched.up("srv0", "cli0");
    watched.knock_from("cli0", source(31));
}

#[test]
fn a_renamed_interface_is_matched_by_its_new_name() {
    needs_bpf!();
    let watched = Watched::new(&["--iface", "wan0"]);
    let took = watched.after_rename("srv0", "wan0", "attached to wan0");
    assert!(took < REATTACH_LIMIT, "{took:?}");
    watched.knock_from("cli0", source(31));
    watched.after_rename(
        "wan0",
        "lan0",
        "wan0 was renamed to lan0, which is not configured: detaching from it",
    );
    assert!(watched.attached().is_empty());
    let details = watched.pair.server.ip("-details link show lan0").unwrap();
    assert!(!details.contains("xdp"), "{details}");
}

#[test]
fn any_attaches_to_all_interfaces_but_loopback_and_to_new_ones() {
    needs_bpf!();
    let watched = Watched::new(&["--iface", "any"]);
    assert_eq!(watched.attached(), [json!("srv0")]);
    watched.after(&watched.add_veth("new0", "cli1"), "attached to new0");
    watched.up("new0", "cli1");
    watched.knock_from("cli1", source(31));
    watched.knock_from("cli0", source(32));
    watched
        .pair
        .server
        .ip("tuntap add dev tun0 mode tun")
        .unwrap();
    watched.after_rename("new0", "newer0", "new0 was renamed to newer0");
    let attached = [json!("srv0"), json!("newer0"), json!("tun0")];
    assert_eq!(watched.attached(), attached);
    let status = watched.status();
    assert_eq!(status["attachments"][2]["mode"], "tc");
    assert_eq!(status["refused"], json!([]));
}

/// The bridge hands the packets for the host to its own interface.
#[test]
fn any_leaves_the_members_of_a_bridge_alone() {
    needs_bpf!();
    let watched = Watched::new(&["--iface", "any"]);
    watched.after("link add br0 type bridge", "attached to br0 in generic");
    watched.after("link set dev srv0 master br0", "srv0 has become a member");
    assert_eq!(watched.attached(), [json!("br0")]);
    watched.pair.server.ip("link set dev br0 up").unwrap();
    watched.knock_from("cli0", source(31));
    watched.after("link set dev srv0 nomaster", "attached to srv0");
    watched.knock_from("cli0", source(32));
}

/// A driver that refuses native mode for want of queues gets the generic one.
#[test]
fn a_link_with_too_few_queues_is_attached_in_generic_mode() {
    needs_bpf!();
    let watched = Watched::new(&["--iface", "late0"]);
    let add = watched.add_veth(
        "late0 numtxqueues 1 numrxqueues 1",
        "cli1 numtxqueues 4 numrxqueues 4",
    );
    watched.after(&add, "attached to late0 in generic XDP mode, because");
    watched.up("late0", "cli1");
    watched.knock_from("cli1", source(31));
}

#[test]
fn a_star_in_the_configuration_is_any() {
    needs_bpf!();
    let configuration = format!("interfaces = [\"*\"]\n{CONFIGURATION}");
    let watched = Watched::with(&configuration, &[]);
    assert_eq!(watched.attached(), [json!("srv0")]);
}

/// The program of another process is named in the log, never replaced, and its removal is noticed.
#[test]
fn an_interface_with_another_xdp_program_is_not_taken_over() {
    needs_bpf!();
    let watched = Watched::new(&["--iface", "any"]);
    watched
        .pair
        .server
        .ip(&watched.add_veth("new0", "cli1"))
        .unwrap();
    watched
        .knockd
        .wait_for(|line| line.contains("attached to new0"), SOON)
        .unwrap();
    // The interface has a name that the daemon does not watch, so the other program can attach
    // first.
    let configuration =
        format!("interfaces = [{{ name = \"srv0\", attach = \"xdp\" }}]\n{CONFIGURATION}");
    let mut other = Watched::with(&configuration, &[]);
    let mark = other.knockd.mark();
    other.pair.server.rename("srv0", "gone0").unwrap();
    other
        .knockd
        .wait_for_after(mark, |line| line.contains("which is not configured"), SOON)
        .unwrap();
    let mut tap = other.pair.server.command(program("knockd").unwrap());
    tap.args(["tap", "--iface", "gone0"]);
    let tap = Running::spawn(tap).unwrap();
    tap.wait_for(|line| line.contains("attached to gone0"), SOON)
        .unwrap();
    other.after_rename("gone0", "srv0", "another XDP program, `knock_xdp` with id");
    let refused = &other.status()["refused"][0];
    assert_eq!(refused["interface"], "srv0");
    let mark = other.knockd.mark();
    drop(tap);
    other
        .knockd
        .wait_for_after(mark, |line| line.contains("attached to srv0"), SOON)
        .unwrap();
    assert_eq!(other.status()["refused"], json!([]));
    other.knockd.signal(Signal::SIGTERM).unwrap();
    assert!(other.knockd.wait(SOON).unwrap().success());
}

/// The gate is also attached to an interface that appears later, and outlives the daemon there.
#[test]
fn the_gate_is_attached_to_a_recreated_interface() {
    needs_bpf!();
    let configuration = CONFIGURATION.replacen(
        "sequence = [1, 2, 3, 4]",
        "sequence = [1, 2, 3, 4]\nopen = [\"tcp/22\"]",
        1,
    ) + "[gate]\nprotect = [\"tcp/22\"]\n";
    let mut scene = Scene::with(&configuration).unwrap();
    let _ssh = Greeter::start(&scene.pair.server, 22).unwrap();
    let client = scene.pair.client.path();
    let remake = [
        format!(
            "link add srv0 type veth peer name cli0 netns {}",
            client.display()
        ),
        "link set dev srv0 address 02:00:00:00:00:01 up".into(),
        "address add 192.0.2.1/24 dev srv0".into(),
    ];
    scene.pair.server.ip("link delete srv0").unwrap();
    scene.logged(&["srv0 disappeared"]).unwrap();
    let mark = scene.knockd.mark();
    for change in &remake {
        scene.pair.server.ip(change).unwrap();
    }
    scene
        .knockd
        .wait_for_after(mark, |line| line.contains("attached to srv0"), SOON)
        .unwrap();
    scene.pair.client.ip("link set dev cli0 up").unwrap();
    scene
        .pair
        .client
        .ip("address add 192.0.2.2/24 dev cli0")
        .unwrap();
    let connect = |scene: &Scene| {
        let server = SocketAddr::new(Pair::SERVER_V4.into(), 22);
        let timeout = Duration::from_millis(300);
        try_connect(&scene.pair.client, None, server, timeout).is_ok()
    };
    assert!(!connect(&scene));
    scene.knockd.signal(Signal::SIGKILL).unwrap();
    scene.knockd.wait(SOON).unwrap();
    assert!(!connect(&scene), "the link of the new interface is pinned");
    scene.restart().unwrap();
    scene
        .logged(&["replacing the program of an earlier knockd"])
        .unwrap();
    assert!(!connect(&scene));
}
