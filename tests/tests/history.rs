//! The history of accepted knocks: `knockd history`, and that nothing depends on its files.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::Instant,
};

use knock_common::protocol::datagram::{Beneficiary, Request};
use knock_tests::{
    link::Pair,
    process::{Running, Signal},
    scene::{
        CONFIGURATION, LAPTOP, PAIR_CONFIGURATION, SOON, SOURCE, SSH, STRANGER, Scene, classic,
        datagram_request, laptop, program, request, seal, seal_datagram,
    },
};
use serde_json::Value;

/// What the log says of a history that cannot be written.
const FAILS: &str = "the history of accepted knocks cannot be written";

/// The command `knockd history` with these options, run by `command`.
fn history(mut command: Command, scene: &Scene, options: &[&str]) -> String {
    command.arg("history").args(options);
    command.arg("--config").arg(scene.files.path("knockd.toml"));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn knockd(scene: &Scene) -> Command {
    scene.pair.server.command(program("knockd").unwrap())
}

/// The recorded knocks, once there are `count` of them and `is_complete` is true.
fn knocks(scene: &Scene, count: usize, is_complete: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let deadline = Instant::now() + SOON;
    loop {
        let text = history(knockd(scene), scene, &["--json"]);
        let lines = text.lines().map(serde_json::from_str);
        let knocks: Vec<Value> = lines.collect::<Result<_, _>>().unwrap();
        if knocks.len() == count && is_complete(&knocks) {
            return knocks;
        }
        assert!(Instant::now() < deadline, "{knocks:#?}");
    }
}

fn any(_knocks: &[Value]) -> bool {
    true
}

/// Knocks with SYNs at the door `ssh`.
fn knock_from(scene: &Scene, source: SocketAddr) {
    let frames = classic(LAPTOP, SSH, source, Pair::SERVER_V4.into()).unwrap();
    scene.send(&frames).unwrap();
}

fn host(last: u8) -> SocketAddr {
    ([192, 0, 2, last], 40_000).into()
}

fn close(scene: &Scene, address: IpAddr) {
    let mut close = scene.watch("close").unwrap();
    let output = close.arg(address.to_string()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn counter(scene: &Scene, name: &str) -> u64 {
    scene.status().unwrap()["daemon"][name].as_u64().unwrap()
}

#[test]
fn it_tells_who_knocked_for_what_from_where_and_how_it_ended() {
    knock_tests::needs_bpf!();
    let configuration = format!(
        "{PAIR_CONFIGURATION}\n\
         [[door]]\n\
         name = \"guest\"\n\
         allow_other = true\n\
         run = [\"true\"]\n\
         for = \"1h\"\n"
    );
    let mut scene = Scene::with(&configuration).unwrap();
    assert_eq!(
        history(knockd(&scene), &scene, &[]),
        format!(
            "no accepted knock is recorded in {}\n",
            scene.files.path("state").display()
        )
    );
    let block = seal(&request("ssh", SOURCE.ip()).unwrap()).unwrap();
    scene.send_block(block, SOURCE).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    let other = Request {
        beneficiary: Beneficiary::Other(STRANGER.ip()),
        ..datagram_request("guest", SOURCE.ip()).unwrap()
    };
    let other = seal_datagram(&laptop().unwrap(), &other).unwrap();
    scene.send_datagram(&other, SOURCE).unwrap();
    scene.opened("guest", STRANGER.ip()).unwrap();
    close(&scene, SOURCE.ip());
    let mut open = scene.watch("open").unwrap();
    let output = open.args(["192.0.2.9", "ssh"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");

    let running = knocks(&scene, 3, |knocks| knocks[0]["how"].is_string());
    let [ssh, guest, by_hand] = &running[..] else {
        panic!("{running:?}");
    };
    assert_eq!(
        [&ssh["client"], &ssh["door"], &ssh["source"], &ssh["via"]],
        ["laptop", "ssh", "192.0.2.2", "syn"]
    );
    assert_eq!(
        (&ssh["how"], &ssh["extended"]),
        (&"by_hand".into(), &false.into())
    );
    assert!(ssh["time"].as_str().unwrap() < ssh["closed"].as_str().unwrap());
    assert!(ssh["closed"].as_str().unwrap() < ssh["until"].as_str().unwrap());
    assert_eq!(
        [&guest["source"], &guest["sender"], &guest["via"]],
        ["192.0.2.66", "192.0.2.2", "datagram"]
    );
    assert_eq!(
        (&guest["how"], &guest["closed"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        (&by_hand["client"], &by_hand["via"]),
        (&"by-hand".into(), &Value::Null)
    );

    scene.stop().unwrap();
    let stopped = knocks(&scene, 3, any);
    assert_eq!(
        [&stopped[0]["how"], &stopped[1]["how"]],
        ["by_hand", "stopped"]
    );
    for file in fs::read_dir(scene.files.path("state")).unwrap() {
        let file = file.unwrap();
        if file.file_name() == "history" {
            assert_eq!(
                file.metadata().unwrap().permissions().mode() & 0o7777,
                0o600
            );
        }
    }

    let last = history(
        knockd(&scene),
        &scene,
        &["--client", "laptop", "--last", "1"],
    );
    let lines: Vec<_> = last.lines().collect();
    assert_eq!(lines.len(), 2, "{last}");
    assert!(lines[1].contains("  laptop  guest  192.0.2.66  "), "{last}");
    let end = "knockd was stopped; opened by a knock from 192.0.2.2";
    assert!(lines[1].ends_with(end), "{last}");
    let none = history(knockd(&scene), &scene, &["--since", "0s"]);
    assert_eq!(none, "no recorded knock matches\n");
    // People see the time of their time zone, which is 5:45 ahead of UTC.
    let mut in_zone = knockd(&scene);
    in_zone.env("TZ", "XXX-5:45");
    let text = history(in_zone, &scene, &["--last", "1"]);
    let mut in_utc = knockd(&scene);
    in_utc.env("TZ", "UTC0");
    let utc = history(in_utc, &scene, &["--last", "1"]);
    let minutes = |text: &str| {
        let time = text.lines().nth(1).unwrap().split(' ').nth(1).unwrap();
        let (hours, rest) = time.split_once(':').unwrap();
        let minutes: i32 = rest.split(':').next().unwrap().parse().unwrap();
        hours.parse::<i32>().unwrap() * 60 + minutes
    };
    let ahead = (minutes(&text) - minutes(&utc)).rem_euclid(24 * 60);
    assert_eq!(ahead, 5 * 60 + 45, "{text}{utc}");
}

#[test]
fn a_door_that_outlives_a_daemon_has_its_end() {
    knock_tests::needs_bpf!();
    let mut scene = Scene::new().unwrap();
    knock_from(&scene, host(2));
    scene.opened("ssh", host(2).ip()).unwrap();
    knocks(&scene, 1, any);
    scene.knockd.signal(Signal::SIGKILL).unwrap();
    scene.knockd.wait(SOON).unwrap();
    // The end of a record is torn off, as if the machine had failed.
    let path = scene.files.path("state").join("history");
    let mut content = fs::read(&path).unwrap();
    content.extend(&content.clone()[..100]);
    fs::write(&path, content).unwrap();

    scene.restart().unwrap();
    close(&scene, host(2).ip());
    knock_from(&scene, host(3));
    let found = knocks(&scene, 2, |knocks| knocks[0]["how"].is_string());
    assert_eq!(found[0]["how"], "by_hand");
    assert_eq!(found[1]["source"], "192.0.2.3");
}

#[test]
fn a_client_that_knocks_all_the_time_has_few_records() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    for _ in 0..5 {
        let mark = scene.knockd.mark();
        knock_from(&scene, host(2));
        scene
            .knockd
            .wait_for_after(mark, |line| line.contains(" accepted door="), SOON)
            .unwrap();
    }
    knock_from(&scene, host(3));
    let found = knocks(&scene, 2, any);
    assert_eq!(
        (&found[0]["extended"], &found[1]["left_out"]),
        (&false.into(), &4.into())
    );
    assert_eq!(counter(&scene, "history_left_out"), 4);
}

#[test]
fn a_full_disk_delays_no_door_and_is_told_once() {
    knock_tests::needs_bpf!();
    let mut scene = Scene::new().unwrap();
    scene.stop().unwrap();
    let state = scene.files.path("state");
    // A separate file system, in a mount namespace that ends with the daemon.
    let mut command = scene.pair.server.command("unshare");
    command.args(["--mount", "sh", "-c"]).arg(format!(
        "mount -t tmpfs -o size=8m tmpfs {state} && exec {knockd} --log debug --iface srv0 --config {config}",
        state = state.display(),
        knockd = program("knockd").unwrap().display(),
        config = scene.files.path("knockd.toml").display(),
    ));
    scene.knockd = Running::spawn(command).unwrap();
    scene.logged(&["listening on srv0"]).unwrap();
    let disk = format!("/proc/{}/root{}", scene.knockd.id(), state.display());
    let ballast = Path::new(&disk).join("ballast");
    let filled = fs::write(&ballast, vec![1; 16 * 1024 * 1024]);
    assert!(filled.is_err(), "the disk is not full");
    for last in 2..=4 {
        knock_from(&scene, host(last));
        scene.opened("ssh", host(last).ip()).unwrap();
    }
    scene
        .logged(&["ERROR", FAILS, "No space left on device"])
        .unwrap();
    let deadline = Instant::now() + SOON;
    while counter(&scene, "history_lost") < 3 {
        assert!(Instant::now() < deadline, "they are not counted");
    }

    fs::remove_file(&ballast).unwrap();
    knock_from(&scene, host(5));
    scene.logged(&["history", "is written again"]).unwrap();
    let lines = scene.knockd.lines();
    let told = lines.iter().filter(|line| line.text.contains(FAILS));
    assert_eq!(told.count(), 1);
    let inside = || {
        let mut inside = scene.pair.server.command("nsenter");
        inside.args(["--mount", "--target", &scene.knockd.id().to_string()]);
        inside.arg(program("knockd").unwrap());
        inside
    };
    let text = history(inside(), &scene, &[]);
    assert!(
        text.contains("192.0.2.5") && !text.contains("192.0.2.4"),
        "{text}"
    );
}

#[test]
fn a_file_that_cannot_be_written_or_read_is_named() {
    knock_tests::needs_bpf!();
    let mut scene = Scene::new().unwrap();
    scene.stop().unwrap();
    let path = scene.files.path("state").join("history");
    fs::create_dir(&path).unwrap();
    scene.restart().unwrap();
    knock_from(&scene, host(2));
    scene.opened("ssh", host(2).ip()).unwrap();
    scene
        .logged(&["ERROR", FAILS, &path.display().to_string()])
        .unwrap();
    let mut read = knockd(&scene);
    read.args(["history", "--config"])
        .arg(scene.files.path("knockd.toml"));
    let output = read.output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("cannot be read (are you root?)"), "{error}");
    let missing = knockd(&scene)
        .args(["history", "--config", "/missing.toml"])
        .output()
        .unwrap();
    let error = String::from_utf8(missing.stderr).unwrap();
    assert!(
        error.contains("/missing.toml: the configuration cannot be read"),
        "{error}"
    );
}

#[test]
fn a_dry_run_and_a_history_of_zero_write_none() {
    knock_tests::needs_bpf!();
    let off = format!("{CONFIGURATION}\n[limits]\nhistory = 0\n");
    let mut scene = Scene::with(&off).unwrap();
    knock_from(&scene, host(2));
    scene.opened("ssh", host(2).ip()).unwrap();
    scene.stop().unwrap();

    let config = scene.files.path("knockd.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("history = 0", "history = 100")).unwrap();
    let mut dry_run = knockd(&scene);
    dry_run.args(["--dry-run", "--log", "debug", "--iface", "srv0", "--config"]);
    dry_run.arg(&config);
    scene.knockd = Running::spawn(dry_run).unwrap();
    scene.logged(&["listening on "]).unwrap();
    knock_from(&scene, host(3));
    scene.logged(&["would run"]).unwrap();
    scene.stop().unwrap();
    let state = scene.files.path("state");
    assert!(!state.join("history").exists());

    scene.restart().unwrap();
    knock_from(&scene, host(4));
    knocks(&scene, 1, any);
}
