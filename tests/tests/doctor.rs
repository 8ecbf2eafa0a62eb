//! `knock doctor` with the real program: on hosts where something is wrong, and against the daemon.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{fs, process::Output};

use knock_tests::{
    link::Pair,
    needs_bpf,
    netns::Namespace,
    scene::{Files, PAIR_CONFIGURATION, SERVER_PUBLIC, Scene, program},
    service::Greeter,
};
use serde_json::Value;

/// What `knock doctor --json` found.
struct Found {
    status: Option<i32>,
    findings: Vec<Value>,
}

impl Found {
    /// Runs `knock doctor` with `words` on `host`, with the key in `files`.
    fn on(host: &Namespace, files: Option<&Files>, words: &str) -> Self {
        let mut doctor = host.command(program("knock").unwrap());
        doctor.args(["doctor", "--json"]);
        if let Some(files) = files {
            doctor.arg("--key-file").arg(files.path("laptop.key"));
            doctor.args(["--server-key", SERVER_PUBLIC]);
        }
        let empty = tempfile::tempdir().unwrap();
        doctor.env("XDG_CONFIG_HOME", empty.path());
        let Output {
            status,
            stdout,
            stderr,
        } = doctor.args(words.split_whitespace()).output().unwrap();
        let object: Value = serde_json::from_slice(&stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&stderr)));
        let findings = object["findings"].as_array().unwrap().clone();
        let problems = findings
            .iter()
            .filter(|one| one["level"] == "problem")
            .count();
        assert_eq!(object["problems"], problems);
        assert_eq!(status.code(), Some(i32::from(problems > 0)));
        Self {
            status: status.code(),
            findings,
        }
    }

    /// Asserts that `check` has ended with this level, and a message with `text`.
    fn has(&self, check: &str, level: &str, text: &str) {
        let fits = |one: &&Value| {
            one["check"] == check
                && one["level"] == level
                && one["message"].as_str().unwrap().contains(text)
        };
        assert!(
            self.findings.iter().any(|one| fits(&one)),
            "{:#?}",
            self.findings
        );
    }
}

fn nft(host: &Namespace, rules: &str) {
    let output = host.command("nft").arg(rules).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Rules of `host` for packets at this `hook` that match.
fn filter(host: &Namespace, hook: &str, rules: &[&str]) {
    let rules: String = rules.iter().map(|rule| format!("{rule}; ")).collect();
    let chain = format!("type filter hook {hook} priority 0;");
    nft(
        host,
        &format!("flush ruleset; table inet test {{ chain c {{ {chain} {rules} }}; }}"),
    );
}

#[test]
fn a_host_without_a_network_has_no_route() {
    needs_bpf!();
    let host = Namespace::new().unwrap();
    let found = Found::on(&host, None, "203.0.113.1");
    found.has(
        "route",
        "problem",
        "none to 203.0.113.1: Network is unreachable",
    );
    assert_eq!(found.status, Some(1));
    let found = Found::on(&host, None, "2001:db8::99");
    found.has("route", "problem", "none to 2001:db8::99");
}

#[test]
fn a_resolver_that_does_not_answer_is_named() {
    needs_bpf!();
    let pair = Pair::new().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        (
            "resolv.conf",
            "nameserver 192.0.2.1\noptions timeout:30 attempts:1\n",
        ),
        // A resolver of this machine would answer through a socket in the filesystem.
        ("nsswitch.conf", "hosts: files dns\n"),
    ] {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        let mut mount = pair.client.command("mount");
        mount.arg("--bind").arg(&file).arg(format!("/etc/{name}"));
        assert!(mount.status().unwrap().success());
    }
    filter(&pair.server, "input", &["udp dport 53 drop"]);
    let found = Found::on(&pair.client, None, "server.example");
    found.has(
        "name",
        "problem",
        "has not answered for server.example within 5 s",
    );
    // An error instead of silence.
    filter(&pair.server, "input", &["udp dport 53 reject"]);
    let found = Found::on(&pair.client, None, "server.example");
    found.has(
        "name",
        "problem",
        "cannot find an address of server.example",
    );
}

#[test]
fn what_a_firewall_on_the_way_says_is_told() {
    needs_bpf!();
    let pair = Pair::new().unwrap();
    let examine = |words: &str| Found::on(&pair.client, None, &format!("192.0.2.1 {words}"));
    // No daemon and no firewall: the host refuses.
    let found = examine("--udp --syn");
    found.has("route", "ok", "to 192.0.2.1 from 192.0.2.2");
    found.has("syn", "warning", "refused");
    found.has("udp", "ok", "port unreachable");
    assert_eq!(found.status, Some(0));

    let window = "tcp dport 61000-61255";
    filter(
        &pair.server,
        "input",
        &[&format!("{window} drop"), "udp dport 62201 drop"],
    );
    let found = examine("--udp --syn");
    found.has("syn", "ok", "no answer");
    found.has("udp", "ok", "no answer");
    assert_eq!(found.status, Some(0));

    let reject = "reject with icmpx type admin-prohibited";
    filter(
        &pair.server,
        "input",
        &[
            &format!("{window} {reject}"),
            &format!("udp dport 62201 {reject}"),
        ],
    );
    let found = examine("--udp --syn");
    found.has("syn", "problem", "unreachable");
    found.has("udp", "warning", "unreachable");
    assert_eq!(found.status, Some(1));

    // A proxy that answers for the server.
    let _proxy = Greeter::start(&pair.server, 61_255).unwrap();
    filter(&pair.server, "input", &[]);
    examine("").has("syn", "problem", "a connection succeeded");

    // The firewall of the client itself.
    filter(&pair.client, "output", &["udp dport 62201 drop"]);
    examine("--udp").has("udp", "problem", "not sent");
}

#[test]
fn one_knock_shows_whether_the_door_opens() {
    needs_bpf!();
    let gate =
        "[gate]\nprotect = [\"tcp/2222\"]\n\n[[door]]\nname = \"gate\"\nopen = [\"tcp/2222\"]\n";
    let scene = Scene::with(&format!("{PAIR_CONFIGURATION}\n{gate}")).unwrap();
    let _greeter = Greeter::start(&scene.pair.server, 2222).unwrap();
    let examine = |words: &str| {
        Found::on(
            &scene.pair.client,
            Some(&scene.files),
            &format!("{words} --verify tcp/2222 192.0.2.1 gate"),
        )
    };

    let found = examine("");
    found.has("syn", "ok", "no answer");
    found.has("port", "ok", "no answer");
    assert_eq!(found.status, Some(0));
    // What it says that it has sent, and no knock.
    assert_eq!(scene.status().unwrap()["daemon"]["events"], 2);
    assert_eq!(scene.accepted().len(), 0);

    let found = examine("--knock");
    found.has("key", "ok", "is good");
    found.has("knock", "ok", "tcp/2222 answers");
    assert_eq!(found.status, Some(0));
    assert_eq!(scene.accepted().len(), 1);

    examine("").has("port", "warning", "answers without a knock");
}

#[test]
fn a_knock_that_opens_nothing_is_a_problem_with_the_likely_causes() {
    needs_bpf!();
    let gate = "[gate]\nprotect = [\"tcp/2222\"]\n\n[[door]]\nname = \"gate\"\nclients = [\"tablet\"]\nopen = [\"tcp/2222\"]\n";
    let scene = Scene::with(&format!("{PAIR_CONFIGURATION}\n{gate}")).unwrap();
    let _greeter = Greeter::start(&scene.pair.server, 2222).unwrap();
    let found = Found::on(
        &scene.pair.client,
        Some(&scene.files),
        "--knock --verify tcp/2222 192.0.2.1 gate",
    );
    found.has("knock", "problem", "tcp/2222 does not answer");
    let knock = found
        .findings
        .iter()
        .find(|one| one["check"] == "knock")
        .unwrap();
    let next = knock["next"].as_str().unwrap();
    assert!(next.contains("no door `gate` for this client"), "{next}");
}
