//! Sealed knocks over a real link to the real daemon: each opens once, for whom it was made
//! for, and while it is fresh.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use knock_common::protocol::{
    block::Block,
    key::{SealedKey, SecretKey},
    sealed::{Binding, DoorTag, Request, RequestedLease, Time40},
};
use knock_tests::{
    link::Pair,
    privilege,
    process::{Running, Signal},
    scene::{LAPTOP_KEY, PHONE, SEALED_CONFIGURATION, SOON, Scene, TABLET, program, request, seal},
};

const SOURCE: SocketAddr = SocketAddr::new(IpAddr::V4(Pair::CLIENT_V4), 40_000);
const STRANGER: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 66)), 40_000);

macro_rules! needs_bpf {
    () => {
        if !privilege::bpf() {
            return;
        }
    };
}

fn scene() -> Scene {
    Scene::with(SEALED_CONFIGURATION).unwrap()
}

/// The request of a client that is behind a NAT: good from anywhere.
fn unbound() -> Request {
    Request {
        binding: Binding::Unbound,
        ..request("ssh", SOURCE.ip()).unwrap()
    }
}

fn made(offset_ms: i64) -> Request {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let now = u64::try_from(now).unwrap();
    Request {
        time: Time40::from_unix_ms(now.saturating_add_signed(offset_ms)),
        ..unbound()
    }
}

#[test]
fn a_sealed_knock_opens_over_both_families_with_key_and_passphrase() {
    needs_bpf!();
    let scene = scene();
    let v6 = SocketAddr::new(Pair::CLIENT_V6.into(), 40_000);
    for source in [SOURCE, v6] {
        let block = seal(&request("ssh", source.ip()).unwrap()).unwrap();
        scene.send_block(block, source).unwrap();
        scene.opened("ssh", source.ip()).unwrap();
    }
    let key = SecretKey::from_passphrase(TABLET.as_bytes(), "tablet").unwrap();
    let block = request("backup", SOURCE.ip())
        .unwrap()
        .seal(&SealedKey::new(&key));
    scene.send_block(block, SOURCE).unwrap();
    scene.opened("backup", SOURCE.ip()).unwrap();
    assert_eq!(
        scene.files.commands(),
        [
            "open ssh 192.0.2.2 laptop 3600",
            "open ssh 2001:db8::2 laptop 3600",
            "open backup 192.0.2.2",
        ]
    );
}

#[test]
fn the_requested_lease_is_granted_up_to_the_doors_maximum() {
    needs_bpf!();
    let scene = scene();
    for (last, asked, granted) in [(11, 600, 600), (12, 7200, 7200), (13, 65_535, 7200)] {
        let source = SocketAddr::new([192, 0, 2, last].into(), 40_000);
        let lease = RequestedLease::of(Duration::from_secs(asked)).unwrap();
        let block = seal(&Request {
            lease,
            ..request("ssh", source.ip()).unwrap()
        })
        .unwrap();
        scene.send_block(block, source).unwrap();
        scene
            .logged(&[
                "accepted",
                &format!("source={} lease={granted}s", source.ip()),
            ])
            .unwrap();
    }
}

#[test]
fn every_refusal_has_its_reason_and_its_counter() {
    needs_bpf!();
    let scene = scene();
    let ours = request("ssh", SOURCE.ip()).unwrap();
    let tablet = SecretKey::from_passphrase(TABLET.as_bytes(), "tablet").unwrap();
    let tablets = |request: &Request| request.seal(&SealedKey::new(&tablet));
    let backup = request("backup", SOURCE.ip()).unwrap();
    let unknown = Request {
        door: DoorTag::of("nowhere"),
        ..ours
    };
    let elsewhere = Request {
        binding: Binding::to(STRANGER.ip()).unwrap(),
        ..ours
    };
    let cases: [(Block, &str, &str); 8] = [
        (Block([7; 16]), "bad parity", "refused_bad_parity"),
        (
            seal(&unknown).unwrap(),
            "unknown tag",
            "refused_unknown_tag",
        ),
        (
            seal(&backup).unwrap(),
            "may not open this door",
            "refused_client_not_allowed",
        ),
        (
            seal(&made(-62_000)).unwrap(),
            "stale by 62",
            "refused_stale",
        ),
        (
            seal(&made(62_500)).unwrap(),
            "in the future: check the client's clock",
            "refused_stale",
        ),
        (
            seal(&made(-900_000_000)).unwrap(),
            "an old knock sent again",
            "refused_stale",
        ),
        (
            seal(&elsewhere).unwrap(),
            "bound to another address",
            "refused_binding",
        ),
        (
            tablets(&Request {
                binding: Binding::Unbound,
                ..backup
            }),
            "not bound to an address, which this door requires",
            "refused_binding",
        ),
    ];
    for (i, (block, reason, counter)) in (0_u16..).zip(cases) {
        let before = scene.status().unwrap()["daemon"][counter].as_u64().unwrap();
        let source = SocketAddr::new(SOURCE.ip(), 10_000 + 100 * i);
        scene.send_block(block, source).unwrap();
        scene.logged(&["refused source=192.0.2.2", reason]).unwrap();
        // Blocks that mix the SYNs of two cases are refused too, mostly for bad parity.
        let after = scene.status().unwrap()["daemon"][counter].as_u64().unwrap();
        assert!(after > before, "{counter}");
    }
    assert!(scene.accepted().is_empty());
}

#[test]
fn the_edges_of_the_skew_are_inside() {
    needs_bpf!();
    let scene = scene();
    for (last, offset) in [(21, -58_000), (22, 58_000)] {
        let source = SocketAddr::new([192, 0, 2, last].into(), 40_000);
        scene
            .send_block(seal(&made(offset)).unwrap(), source)
            .unwrap();
        scene.opened("ssh", source.ip()).unwrap();
    }
}

#[test]
fn no_knock_is_accepted_twice_from_anywhere_before_or_after_a_restart() {
    needs_bpf!();
    let mut scene = scene();
    let sources: Vec<_> = (100..120)
        .map(|last| SocketAddr::new([192, 0, 2, last].into(), 40_000))
        .collect();
    let blocks: Vec<_> = sources.iter().map(|_| seal(&unbound()).unwrap()).collect();
    for (block, source) in blocks.iter().zip(&sources) {
        scene.send_block(*block, *source).unwrap();
        scene.opened("ssh", source.ip()).unwrap();
    }
    let replay_all = |scene: &Scene| {
        for (i, block) in (0_u16..).zip(&blocks) {
            // From its own address and other ports, from its own address and the same
            // ports, and from another address.
            let own = sources[usize::from(i)];
            for source in [SocketAddr::new(own.ip(), 30_000), own, STRANGER] {
                let port = source.port() + 16 * i;
                scene
                    .send_block(*block, SocketAddr::new(source.ip(), port))
                    .unwrap();
            }
        }
        scene.settle().unwrap();
    };
    replay_all(&scene);
    assert_eq!(scene.accepted().len(), sources.len());
    scene.stop().unwrap();
    scene.restart().unwrap();
    replay_all(&scene);
    assert!(scene.accepted().is_empty(), "{:?}", scene.accepted());
    let status = scene.status().unwrap();
    assert!(
        status["daemon"]["refused_replayed"].as_u64().unwrap() >= 40,
        "{status}"
    );
    let opened = scene.files.commands();
    assert_eq!(
        opened.len(),
        sources.len() + 2,
        "and the witness, twice: {opened:?}"
    );
}

#[test]
fn a_further_copy_is_told_as_such() {
    needs_bpf!();
    let scene = scene();
    let block = seal(&unbound()).unwrap();
    for _ in 0..2 {
        scene.send_block(block, SOURCE).unwrap();
    }
    scene
        .logged(&["replayed: a further copy of the knock that was just accepted"])
        .unwrap();
    scene.settle().unwrap();
    let status = scene.status().unwrap();
    assert_eq!(status["daemon"]["copies"], 1);
    assert_eq!(status["daemon"]["refused_replayed"], 0);
}

/// A knock whose last SYN has not been sent yet.
struct HeldBack {
    scene: Scene,
    block: Block,
}

impl HeldBack {
    fn new() -> Self {
        let scene = scene();
        let block = seal(&unbound()).unwrap();
        let held = Self { scene, block };
        held.scene.send(&held.syns()[..15]).unwrap();
        // The daemon has queued them when it has answered.
        while held.scene.status().unwrap()["daemon"]["events"] != 15 {
            std::thread::yield_now();
        }
        held
    }

    fn syns(&self) -> Vec<knock_tests::frame::Frame> {
        knock_tests::scene::syns(self.block, SOURCE, Pair::SERVER_V4.into())
    }

    /// Sends the last SYN while strace does with the daemon what `argument` says; whether
    /// the daemon lives until its command has ended.
    fn release_under_strace(&mut self, argument: &str) -> (bool, Running) {
        let mut strace = std::process::Command::new("strace");
        strace.args(["-p", &self.scene.knockd.id().to_string(), argument]);
        let strace = Running::spawn(strace).unwrap();
        strace
            .wait_for(|line| line.contains("attached"), SOON)
            .unwrap();
        self.scene.send(&self.syns()[15..]).unwrap();
        let ended = self
            .scene
            .knockd
            .wait_for(|line| line.contains("command run"), SOON);
        (ended.is_ok(), strace)
    }

    fn times_opened(&self) -> usize {
        let commands = self.scene.files.commands();
        let ours = commands
            .iter()
            .filter(|line| line.starts_with("open ssh 192.0.2.2 "));
        ours.count()
    }
}

/// Every system call of a daemon that is given the last SYN of a knock, until the command
/// has ended: its name, and how often it was made so far.
fn steps() -> Vec<(String, usize)> {
    let mut held = HeldBack::new();
    let (lived, mut strace) = held.release_under_strace("--quiet=none");
    assert!(lived);
    strace.signal(Signal::SIGINT).unwrap();
    strace.wait(SOON).unwrap();
    let mut steps: Vec<(String, usize)> = Vec::new();
    for line in strace.lines() {
        let Some((name, _)) = line.text.split_once('(') else {
            continue;
        };
        let name = name.to_owned();
        if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let before = steps.iter().filter(|(other, _)| *other == name).count();
            steps.push((name, before + 1));
        }
    }
    steps
}

/// The daemon is killed at every system call that it makes from the last SYN on: before the
/// block is on disk, in the middle of writing it, between that and the command, and after.
#[test]
fn kill_at_every_step_never_lets_a_knock_in_twice() {
    needs_bpf!();
    let steps = steps();
    let count = |name: &str| steps.iter().filter(|(other, _)| other == name).count();
    assert!(
        count("pwrite64") > 0 && count("fdatasync") + count("fsync") > 0,
        "{steps:?}"
    );
    let (mut before_disk, mut before_command) = (0, 0);
    for (name, nth) in &steps {
        let mut held = HeldBack::new();
        let inject = format!("--inject={name}:signal=SIGKILL:when={nth}");
        let (lived, mut strace) = held.release_under_strace(&inject);
        if lived {
            // It made one call less of this kind than the time before.
            held.scene.knockd.signal(Signal::SIGKILL).unwrap();
        }
        held.scene.knockd.wait(SOON).unwrap();
        strace.wait(SOON).unwrap();
        let opened_before = held.times_opened();

        held.scene.restart().unwrap();
        held.scene.send_block(held.block, SOURCE).unwrap();
        held.scene.settle().unwrap();
        let accepted_now = held.scene.accepted().len();
        assert!(
            opened_before + accepted_now <= 1,
            "killed at {name} number {nth}"
        );
        match (opened_before, accepted_now) {
            (0, 1) => before_disk += 1,
            (0, 0) => before_command += 1,
            _ => {}
        }
        // The owner is not locked out by it.
        let fresh = SocketAddr::new([192, 0, 2, 5].into(), 40_000);
        let block = seal(&request("ssh", fresh.ip()).unwrap()).unwrap();
        held.scene.send_block(block, fresh).unwrap();
        held.scene.opened("ssh", fresh.ip()).unwrap();
        assert!(held.times_opened() <= 1, "killed at {name} number {nth}");
    }
    println!(
        "killed at each of {} system calls: {before_disk} times before the knock was on disk, {before_command} times between that and its command",
        steps.len()
    );
    assert!(before_disk > 0 && before_command > 0);
}

#[test]
fn a_broken_store_keeps_sealed_knocks_out_and_nobody_else() {
    needs_bpf!();
    let mut scene = scene();
    let block = seal(&unbound()).unwrap();
    scene.send_block(block, SOURCE).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    scene.stop().unwrap();
    let store = scene.files.path("state/accepted.redb");
    let whole = fs::read(&store).unwrap();
    fs::write(&store, &whole[..whole.len() / 3]).unwrap();

    scene.restart().unwrap();
    scene
        .logged(&["cannot be opened; it is left as it is"])
        .unwrap();
    scene.send_block(seal(&unbound()).unwrap(), SOURCE).unwrap();
    scene
        .logged(&["a sealed knock from 192.0.2.2 is refused: the store does not work"])
        .unwrap();
    // A classic client is let in.
    scene.settle().unwrap();
    assert_eq!(fs::read(&store).unwrap().len(), whole.len() / 3);
    assert_eq!(scene.status().unwrap()["daemon"]["refused_store"], 1);

    // Put back, it remembers what it knew, without a restart.
    fs::write(&store, &whole).unwrap();
    scene.send_block(block, STRANGER).unwrap();
    scene
        .logged(&["refused source=192.0.2.66: replayed"])
        .unwrap();
    scene
        .send_block(seal(&unbound()).unwrap(), STRANGER)
        .unwrap();
    scene.opened("ssh", STRANGER.ip()).unwrap();
}

#[test]
fn on_a_full_disk_nothing_is_accepted_that_cannot_be_remembered() {
    needs_bpf!();
    let mut scene = scene();
    scene.stop().unwrap();
    // A disk of its own, in a mount namespace that goes with the daemon.
    let state = scene.files.path("state");
    let mut knockd = scene.pair.server.command("unshare");
    knockd.args(["--mount", "sh", "-c"]).arg(format!(
        "mount -t tmpfs -o size=4m tmpfs {state} && exec {knockd} --log debug --iface srv0 --config {config}",
        state = state.display(),
        knockd = program("knockd").unwrap().display(),
        config = scene.files.path("knockd.toml").display(),
    ));
    scene.knockd = Running::spawn(knockd).unwrap();
    scene.logged(&["attached to srv0"]).unwrap();
    let block = seal(&unbound()).unwrap();
    scene.send_block(block, SOURCE).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();

    let disk = format!("/proc/{}/root{}", scene.knockd.id(), state.display());
    let ballast = format!("{disk}/ballast");
    assert!(
        fs::write(&ballast, vec![1; 8 * 1024 * 1024]).is_err(),
        "the disk is not full"
    );
    // What the file has room for already may still be written; then it is over.
    let mut last = 0;
    for n in 0..200_u8 {
        let source = SocketAddr::new([192, 0, 2, 10].into(), 1024 + 16 * u16::from(n));
        scene.send_block(seal(&unbound()).unwrap(), source).unwrap();
        scene.settle().unwrap();
        last = n;
        if scene.status().unwrap()["daemon"]["refused_store"] != 0 {
            break;
        }
    }
    assert_eq!(
        scene.status().unwrap()["daemon"]["refused_store"],
        1,
        "after {last}"
    );
    scene
        .logged(&["is refused: the store does not work"])
        .unwrap();
    fs::remove_file(&ballast).unwrap();
    // It goes on by itself, and has forgotten nothing.
    scene
        .send_block(seal(&unbound()).unwrap(), STRANGER)
        .unwrap();
    scene.opened("ssh", STRANGER.ip()).unwrap();
    scene
        .send_block(block, SocketAddr::new([192, 0, 2, 67].into(), 40_000))
        .unwrap();
    scene
        .logged(&["refused source=192.0.2.67: replayed"])
        .unwrap();
}

#[test]
fn secrets_are_nowhere_to_be_seen() {
    needs_bpf!();
    let scene = scene();
    let tail = Running::spawn(scene.watch("tail").unwrap()).unwrap();
    tail.wait_for(|line| line.contains("following"), SOON)
        .unwrap();
    scene.send_block(seal(&unbound()).unwrap(), SOURCE).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    scene.send_block(Block([9; 16]), SOURCE).unwrap();
    scene.settle().unwrap();
    tail.wait_for(|line| line.contains("192.0.2.250 succeeded"), SOON)
        .unwrap();

    let process = format!("/proc/{}", scene.knockd.id());
    let mut seen = vec![
        fs::read(format!("{process}/cmdline")).unwrap(),
        fs::read(format!("{process}/environ")).unwrap(),
        scene.status().unwrap().to_string().into_bytes(),
        fs::read(scene.files.path("state/accepted.redb")).unwrap(),
    ];
    for line in scene.knockd.lines().into_iter().chain(tail.lines()) {
        seen.push(line.text.into_bytes());
    }
    let raw_key: Vec<u8> = (0..32).collect();
    let key_text = LAPTOP_KEY.trim_start_matches("knock1:");
    for secret in [
        key_text.as_bytes(),
        &raw_key,
        PHONE.as_bytes(),
        TABLET.as_bytes(),
    ] {
        for text in &seen {
            let found = text.windows(secret.len()).any(|window| window == secret);
            assert!(!found, "{}", String::from_utf8_lossy(text));
        }
    }
}
