//! Durability of the replay store and the lease journal: no single-use knock is accepted twice, even if
//! the daemon is killed at any moment, the store is damaged or the disk is full.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{fs, net::SocketAddr};

use knock_common::protocol::block::Block;
use knock_tests::{
    link::Pair,
    process::{Running, Signal},
    scene::{
        CONFIGURATION, PAIR_CONFIGURATION, PHONE, SOON, SOURCE, SSH, STRANGER, Scene, classic,
        knockd, program, request, seal, unbound,
    },
    strace::{Step, Strace},
};

fn scene() -> Scene {
    Scene::with(PAIR_CONFIGURATION).unwrap()
}

/// A knock whose last SYN has not been sent.
struct PartialKnock {
    scene: Scene,
    block: Block,
}

impl PartialKnock {
    fn new() -> Self {
        let scene = scene();
        let block = seal(&unbound().unwrap()).unwrap();
        let partial = Self { scene, block };
        partial.scene.send(&partial.syns()[..15]).unwrap();
        // The events are counted when the daemon has queued them.
        while partial.scene.status().unwrap()["daemon"]["events"] != 15 {
            std::thread::yield_now();
        }
        partial
    }

    fn syns(&self) -> Vec<knock_tests::frame::Frame> {
        knock_tests::scene::syns(self.block, SOURCE, Pair::SERVER_V4.into())
    }

    /// Sends the last SYN and waits until the command has ended or the daemon is dead.
    fn release(&self) {
        self.scene.send(&self.syns()[15..]).unwrap();
        // The line does not come if a process is killed first.
        let _ = self.scene.knockd.wait_for(
            |line| line.contains("command run") || line.contains("the listener exited"),
            SOON,
        );
    }

    /// The process id of the listener, which assembles the knock and records it. The supervisor
    /// handles the doors; `--test gate` kills it.
    fn listener(&self) -> u32 {
        self.scene.listener().unwrap()
    }

    fn times_opened(&self) -> usize {
        let commands = self.scene.files.commands();
        let opened = commands
            .iter()
            .filter(|line| line.starts_with("open ssh 192.0.2.2 "));
        opened.count()
    }
}

/// The system calls of a listener from the last SYN of a knock until the command has ended.
fn steps() -> Vec<Step> {
    let partial = PartialKnock::new();
    let strace = Strace::record(partial.listener()).unwrap();
    partial.release();
    strace.steps().unwrap()
}

/// The listener is killed at each system call after the last SYN: before the block is on disk,
/// during the write, before the command, and after it.
#[test]
fn a_kill_at_any_system_call_never_admits_a_knock_twice() {
    knock_tests::needs_bpf!();
    let steps = steps();
    let count = |name: &str| steps.iter().filter(|step| step.name == name).count();
    // One write, which is durable when it returns: the file is open with `O_DSYNC`.
    assert_eq!(count("pwrite64"), 1, "{steps:?}");
    assert_eq!(count("fdatasync") + count("fsync"), 0, "{steps:?}");
    let (mut before_disk, mut before_command) = (0, 0);
    for step in &steps {
        let mut partial = PartialKnock::new();
        let strace = Strace::kill_at(partial.listener(), step).unwrap();
        partial.release();
        strace.finish(&mut partial.scene.knockd).unwrap();
        let opened_before = partial.times_opened();

        partial.scene.restart().unwrap();
        if opened_before == 1 {
            // The next daemon knows that the door is open.
            let doors = partial.scene.status().unwrap()["doors"].to_string();
            assert!(doors.contains("192.0.2.2"), "killed at {step}: {doors}");
        }
        partial.scene.send_block(partial.block, SOURCE).unwrap();
        partial.scene.settle().unwrap();
        let accepted_now = partial.scene.accepted().len();
        assert!(opened_before + accepted_now <= 1, "killed at {step}");
        match (opened_before, accepted_now) {
            (0, 1) => before_disk += 1,
            (0, 0) => before_command += 1,
            _ => {}
        }
        // A new knock of the same client is accepted.
        let fresh = SocketAddr::new([192, 0, 2, 5].into(), 40_000);
        let block = seal(&request("ssh", fresh.ip()).unwrap()).unwrap();
        partial.scene.send_block(block, fresh).unwrap();
        partial.scene.opened("ssh", fresh.ip()).unwrap();
        assert!(partial.times_opened() <= 1, "killed at {step}");
    }
    println!(
        "killed at each of {} system calls: {before_disk} times before the knock was on disk, {before_command} times between that and its command",
        steps.len()
    );
    assert!(before_disk > 0 && before_command > 0);
}

/// Sends a classic knock of `phone` at door `ssh`, which both configurations have.
fn knock_at_ssh(scene: &Scene) {
    let knock = classic(PHONE, SSH, SOURCE, Pair::SERVER_V4.into()).unwrap();
    scene.send(&knock).unwrap();
}

fn kill(scene: &mut Scene) {
    scene.knockd.signal(Signal::SIGKILL).unwrap();
    scene.knockd.wait(SOON).unwrap();
}

#[test]
fn an_open_door_of_a_killed_daemon_is_closed_by_the_next() {
    knock_tests::needs_bpf!();
    let mut scene = Scene::new().unwrap();
    knock_at_ssh(&scene);
    scene.opened("ssh", SOURCE.ip()).unwrap();
    kill(&mut scene);
    scene.restart().unwrap();
    scene
        .logged(&["door \"ssh\" was open to 192.0.2.2 when knockd ended"])
        .unwrap();
    let status = scene.status().unwrap();
    assert_eq!(status["doors"][0]["state"], "open");
    assert!(status["doors"][0]["seconds_left"].as_u64().unwrap() > 3500);
    // The door is open: a knock extends it and runs no command.
    knock_at_ssh(&scene);
    scene.logged(&["open already, extended"]).unwrap();
    scene.stop().unwrap();
    assert_eq!(
        scene.files.commands(),
        [
            "open ssh 192.0.2.2 phone 3600",
            "close ssh 192.0.2.2 phone 3600"
        ]
    );
    // The door is not restored again.
    scene.restart().unwrap();
    assert_eq!(
        scene.status().unwrap()["doors"].as_array().unwrap().len(),
        0
    );
}

#[test]
fn a_lease_that_expired_meanwhile_is_closed_at_once() {
    knock_tests::needs_bpf!();
    let mut scene = Scene::with(&CONFIGURATION.replace("\"1h\"", "\"2s\"")).unwrap();
    knock_at_ssh(&scene);
    scene.opened("ssh", SOURCE.ip()).unwrap();
    kill(&mut scene);
    // Only time expires the lease.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    scene.restart().unwrap();
    scene.logged(&["it is closed in 0 s"]).unwrap();
    scene
        .logged(&["closed door=\"ssh\" source=192.0.2.2"])
        .unwrap();
    assert_eq!(
        scene.files.commands(),
        ["open ssh 192.0.2.2 phone 2", "close ssh 192.0.2.2 phone 2"]
    );
}

#[test]
fn a_door_of_a_removed_client_is_closed() {
    knock_tests::needs_bpf!();
    let mut scene = Scene::new().unwrap();
    knock_at_ssh(&scene);
    scene.opened("ssh", SOURCE.ip()).unwrap();
    kill(&mut scene);
    let config = scene.files.path("knockd.toml");
    let text = fs::read_to_string(&config)
        .unwrap()
        .replace("\"phone\"", "\"tablet\"");
    fs::write(&config, text).unwrap();
    scene.restart().unwrap();
    scene
        .logged(&["closed door=\"ssh\" source=192.0.2.2"])
        .unwrap();
    assert!(
        scene
            .files
            .commands()
            .contains(&"close ssh 192.0.2.2 phone 3600".into())
    );
}

#[test]
fn a_daemon_that_cannot_start_closes_open_doors() {
    knock_tests::needs_bpf!();
    let mut scene = Scene::new().unwrap();
    knock_at_ssh(&scene);
    scene.opened("ssh", SOURCE.ip()).unwrap();
    kill(&mut scene);
    let mut elsewhere = knockd(&scene.pair, &scene.files).unwrap();
    let output = elsewhere
        .args(["--lines", "/nowhere/lines"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(
        scene.files.commands()[1..],
        ["close ssh 192.0.2.2 phone 3600"]
    );
}

#[test]
fn a_damaged_store_refuses_single_use_knocks_only() {
    knock_tests::needs_bpf!();
    let mut scene = scene();
    let block = seal(&unbound().unwrap()).unwrap();
    scene.send_block(block, SOURCE).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    scene.stop().unwrap();
    let store = scene.files.path("state/knocks/accepted.journal");
    let content = fs::read(&store).unwrap();
    fs::write(&store, &content[..content.len() / 3]).unwrap();

    scene.restart().unwrap();
    scene
        .logged(&["cannot be opened and is left unchanged"])
        .unwrap();
    scene
        .send_block(seal(&unbound().unwrap()).unwrap(), SOURCE)
        .unwrap();
    scene
        .logged(&["a knock from 192.0.2.2 is refused: the replay store has failed"])
        .unwrap();
    // A classic client is admitted.
    scene.settle().unwrap();
    assert_eq!(fs::read(&store).unwrap().len(), content.len() / 3);
    assert_eq!(scene.status().unwrap()["daemon"]["refused_store"], 1);

    // After it is repaired, the store has its records, without a restart.
    fs::write(&store, &content).unwrap();
    scene.send_block(block, STRANGER).unwrap();
    scene
        .logged(&["refused source=192.0.2.66 reason=repeated"])
        .unwrap();
    scene
        .send_block(seal(&unbound().unwrap()).unwrap(), STRANGER)
        .unwrap();
    scene.opened("ssh", STRANGER.ip()).unwrap();
}

#[test]
fn a_read_only_store_refuses_single_use_knocks() {
    knock_tests::needs_bpf!();
    let mut scene = scene();
    let block = seal(&unbound().unwrap()).unwrap();
    scene.send_block(block, SOURCE).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    kill(&mut scene);
    let state = scene.files.path("state");
    let mut knockd = scene.pair.server.command("unshare");
    knockd.args(["--mount", "sh", "-c"]).arg(format!(
        "mount --bind {state} {state} && mount -o remount,bind,ro {state} && exec {knockd} --log debug --iface srv0 --config {config}",
        state = state.display(),
        knockd = program("knockd").unwrap().display(),
        config = scene.files.path("knockd.toml").display(),
    ));
    scene.knockd = Running::spawn(knockd).unwrap();
    scene.logged(&["listening on srv0"]).unwrap();
    scene.logged(&["ERROR", "Read-only file system"]).unwrap();
    for block in [block, seal(&unbound().unwrap()).unwrap()] {
        let mark = scene.knockd.mark();
        scene.send_block(block, STRANGER).unwrap();
        let refused = "a knock from 192.0.2.66 is refused: the replay store has failed";
        scene
            .knockd
            .wait_for_after(mark, |line| line.contains(refused), SOON)
            .unwrap();
    }
    scene.settle().unwrap();
    assert!(scene.accepted().is_empty());
}

#[test]
fn on_a_full_disk_no_knock_is_accepted_that_cannot_be_recorded() {
    knock_tests::needs_bpf!();
    let mut scene = scene();
    scene.stop().unwrap();
    // A separate file system, in a mount namespace that ends with the daemon. It has no room for the
    // store.
    let state = scene.files.path("state");
    let mut knockd = scene.pair.server.command("unshare");
    knockd.args(["--mount", "sh", "-c"]).arg(format!(
        "mount -t tmpfs -o size=8m tmpfs {state} && {{ head -c 7m /dev/zero >{state}/ballast; }} && exec {knockd} --log debug --iface srv0 --config {config}",
        state = state.display(),
        knockd = program("knockd").unwrap().display(),
        config = scene.files.path("knockd.toml").display(),
    ));
    scene.knockd = Running::spawn(knockd).unwrap();
    scene.logged(&["listening on srv0"]).unwrap();
    scene.logged(&["ERROR", "No space left on device"]).unwrap();
    let block = seal(&unbound().unwrap()).unwrap();
    scene.send_block(block, STRANGER).unwrap();
    scene
        .logged(&["is refused: the replay store has failed"])
        .unwrap();
    assert_eq!(scene.status().unwrap()["daemon"]["refused_store"], 1);

    // With room for it, the store works without a restart.
    let disk = format!("/proc/{}/root{}", scene.knockd.id(), state.display());
    let ballast = format!("{disk}/ballast");
    fs::remove_file(&ballast).unwrap();
    scene.logged(&["the replay store is created"]).unwrap();
    let block = seal(&unbound().unwrap()).unwrap();
    scene.send_block(block, SOURCE).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();

    // The store has its room from then on: a full disk stops no knock, and makes none valid again.
    assert!(
        fs::write(&ballast, vec![1; 16 * 1024 * 1024]).is_err(),
        "the disk is not full"
    );
    scene
        .send_block(seal(&unbound().unwrap()).unwrap(), STRANGER)
        .unwrap();
    scene.opened("ssh", STRANGER.ip()).unwrap();
    scene
        .send_block(block, SocketAddr::new([192, 0, 2, 67].into(), 40_000))
        .unwrap();
    scene
        .logged(&["refused source=192.0.2.67 reason=replayed"])
        .unwrap();
}

/// A bound knock that finds every door taken is not used up: it opens the door when there is room. An
/// unbound one is, since it would open the door to whoever has recorded it.
#[test]
fn a_bound_knock_that_finds_no_room_can_be_sent_again() {
    knock_tests::needs_bpf!();
    let one_door = format!("{PAIR_CONFIGURATION}\n[limits]\nopen_doors = 1\n");
    let scene = Scene::with(&one_door).unwrap();
    let own = seal(&request("ssh", SOURCE.ip()).unwrap()).unwrap();
    let anywhere = seal(&unbound().unwrap()).unwrap();
    let holder = SocketAddr::new([192, 0, 2, 6].into(), 40_000);
    let taken = classic(PHONE, SSH, holder, Pair::SERVER_V4.into()).unwrap();
    scene.send(&taken).unwrap();
    scene.opened("ssh", holder.ip()).unwrap();
    let refused = |block, source, reason: &str| {
        let mark = scene.knockd.mark();
        scene.send_block(block, source).unwrap();
        let is_refusal = |line: &str| line.contains(reason);
        scene.knockd.wait_for_after(mark, is_refusal, SOON).unwrap();
    };
    refused(own, SOURCE, "doors-full");
    refused(anywhere, SOURCE, "doors-full");
    let mut close = scene.watch("close").unwrap();
    close.arg(holder.ip().to_string());
    assert!(close.status().unwrap().success());
    scene.logged(&["closed door=\"ssh\""]).unwrap();

    refused(anywhere, STRANGER, "replayed");
    scene.send_block(own, SOURCE).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    refused(own, STRANGER, "elsewhere");
    assert!(
        scene
            .files
            .commands()
            .iter()
            .all(|line| !line.contains("192.0.2.66"))
    );
}
