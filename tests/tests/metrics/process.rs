//! The exporter's process: what it has, and that its death affects nothing else.

use std::{fs, process::Command, thread, time::Instant};

use knock_tests::{
    process::status,
    scene::{PAIR_CONFIGURATION, SOON, SOURCE, STRANGER, Scene},
};

use super::{LISTEN, Page, configuration, exporter, knock};

/// The id of the exporter, which may be about to start.
fn wait_for_exporter(scene: &Scene, previous: u32) -> u32 {
    let deadline = Instant::now() + SOON;
    loop {
        if let Some(id) = exporter(scene).filter(|id| *id != previous) {
            return id;
        }
        assert!(Instant::now() < deadline, "there is no exporter");
        thread::yield_now();
    }
}

fn kill(process: u32) {
    let mut kill = Command::new("kill");
    kill.args(["-s", "KILL", &process.to_string()]);
    assert!(kill.status().unwrap().success());
}

#[test]
fn it_has_no_rights_and_no_keys() {
    knock_tests::needs_bpf!();
    // With clients that have key pairs there is a replay store among the state that it must not see.
    let configuration = format!("{PAIR_CONFIGURATION}\n[metrics]\nlisten = \"{LISTEN}\"\n");
    let scene = Scene::with(&configuration).unwrap();
    Page::scrape(&scene.pair);
    let exporter = exporter(&scene).unwrap();
    let of = |key| status(exporter, key).unwrap();
    for key in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(u64::from_str_radix(&of(key), 16).unwrap(), 0, "{key}");
    }
    let uids = of("Uid");
    assert!(uids.split_whitespace().all(|uid| uid != "0"), "{uids}");
    assert_eq!(uids, status(scene.listener().unwrap(), "Uid").unwrap());
    assert_eq!(of("Groups"), "");
    assert_eq!(of("NoNewPrivs"), "1");
    // SECCOMP_MODE_FILTER
    assert_eq!(of("Seccomp"), "2");
    let open: Vec<_> = fs::read_dir(format!("/proc/{exporter}/fd"))
        .unwrap()
        .map(|file| fs::read_link(file.unwrap().path()).unwrap())
        .map(|target| target.display().to_string())
        .collect();
    for target in &open {
        let is_harmless = ["socket:", "pipe:", "anon_inode:[event", "/dev/null"]
            .iter()
            .any(|kind| target.starts_with(kind));
        assert!(is_harmless, "{open:?}");
    }
    let environment = fs::read(format!("/proc/{exporter}/environ")).unwrap();
    for variable in environment.split(|byte| *byte == 0) {
        let name = variable.split(|byte| *byte == b'=').next();
        let allowed: [&[u8]; 3] = [b"", b"NO_COLOR", b"JOURNAL_STREAM"];
        assert!(allowed.contains(&name.unwrap()), "{environment:?}");
    }
}

#[test]
fn when_it_is_killed_only_the_metrics_are_interrupted() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(&configuration()).unwrap();
    knock(&scene, SOURCE);
    let before = Page::scrape(&scene.pair);
    let listener = scene.listener().unwrap();
    let first = exporter(&scene).unwrap();
    kill(first);
    scene
        .logged(&[
            "the metrics exporter exited (signal: 9",
            "restarting in 1 s",
        ])
        .unwrap();
    knock(&scene, STRANGER);
    assert_eq!(scene.listener().unwrap(), listener);
    // A scrape waits in the socket's backlog until the next exporter serves it.
    let after = Page::scrape(&scene.pair);
    assert_ne!(wait_for_exporter(&scene, first), first);
    for (sample, value) in [
        ("knockd_accepted_total", 2.0),
        ("knockd_open_doors{door=\"ssh\"}", 2.0),
        ("knockd_gate_opening_seconds_count", 2.0),
        ("knockd_listener_restarts_total", 0.0),
    ] {
        assert_eq!(after.value(sample), value, "{sample}");
    }
    let start = "process_start_time_seconds";
    assert_eq!(before.value(start), after.value(start));
}

#[test]
fn a_new_listener_gets_a_new_exporter() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(&configuration()).unwrap();
    let first = wait_for_exporter(&scene, 0);
    kill(scene.listener().unwrap());
    wait_for_exporter(&scene, first);
    let page = Page::scrape(&scene.pair);
    assert_eq!(page.value("knockd_listener_restarts_total"), 1.0);
}

#[test]
fn it_stops_with_the_daemon() {
    knock_tests::needs_bpf!();
    let mut scene = Scene::with(&configuration()).unwrap();
    let exporter = wait_for_exporter(&scene, 0);
    scene.stop().unwrap();
    assert!(fs::metadata(format!("/proc/{exporter}")).is_err());
    let lines = scene.knockd.lines();
    assert!(!lines.iter().any(|line| line.text.contains("exporter")));
}

#[test]
fn without_metrics_there_is_none() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(PAIR_CONFIGURATION).unwrap();
    scene.settle().unwrap();
    assert_eq!(exporter(&scene), None);
}
