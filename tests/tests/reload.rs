//! Reloading the configuration of a running daemon.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use knock_tests::{
    frame::Frame,
    link::Pair,
    needs_bpf,
    process::Signal,
    scene::{
        BACKUP, CONFIGURATION, LAPTOP, LAPTOP_PUBLIC, PHONE, SOON, SOURCE, SSH, STRANGER, Scene,
        classic, seal, unbound,
    },
    service::{Greeter, Session, try_connect},
};

/// [`CONFIGURATION`] with a gate that door `ssh` opens.
fn gated() -> String {
    let configuration =
        CONFIGURATION.replacen("for = \"1h\"", "open = [\"tcp/22\"]\nfor = \"1h\"", 1);
    configuration + "\n[gate]\nprotect = [\"tcp/22\"]\n"
}

trait Reload {
    fn write(&self, change: impl Fn(&str) -> String);
    fn reload(&self) -> Result<(), String>;
    fn reconfigure(&self, change: impl Fn(&str) -> String) {
        self.write(change);
        self.reload().unwrap();
    }
}

impl Reload for Scene {
    /// Changes the configuration file.
    fn write(&self, change: impl Fn(&str) -> String) {
        let path = self.files.path("knockd.toml");
        let text = fs::read_to_string(&path).unwrap();
        let changed = change(&text);
        assert_ne!(text, changed);
        fs::write(path, changed).unwrap();
    }

    /// Runs `knockd reload`; the error is its standard error.
    fn reload(&self) -> Result<(), String> {
        let output = self.watch("reload").unwrap().output().unwrap();
        if output.status.success() {
            return Ok(());
        }
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

fn knock(passphrase: &str, sequence: &[u8], source: SocketAddr) -> Vec<Frame> {
    classic(passphrase, sequence, source, Pair::SERVER_V4.into()).unwrap()
}

fn can_connect(scene: &Scene, source: IpAddr) -> bool {
    let server = SocketAddr::new(Pair::SERVER_V4.into(), 22);
    let timeout = Duration::from_millis(300);
    try_connect(&scene.pair.client, Some(source), server, timeout).is_ok()
}

#[test]
fn a_partial_knock_survives_a_reload_and_a_new_door_opens() {
    needs_bpf!();
    let scene = Scene::new().unwrap();
    let frames = knock(PHONE, SSH, SOURCE);
    scene.send(&frames[..9]).unwrap();
    scene.reconfigure(|text| {
        format!("{text}\n[[door]]\nname = \"attic\"\nsequence = [11]\nrun = [\"true\"]\n")
    });
    scene.send(&frames[9..]).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    scene.send(&knock(LAPTOP, &[11], STRANGER)).unwrap();
    scene.opened("attic", STRANGER.ip()).unwrap();
    let status = scene.status().unwrap();
    assert_eq!(status["daemon"]["reloads"], 1);
    assert_eq!(status["doors"].as_array().unwrap().len(), 2);
    assert_eq!(status["kernel"]["knock"], 32, "the counters continue");
}

#[test]
fn an_invalid_configuration_is_rejected_with_the_reason() {
    needs_bpf!();
    let scene = Scene::new().unwrap();
    scene.write(|text| text.replacen("name = \"ssh\"", "name = \"ssh\"\nport = 22", 1));
    let error = scene.reload().unwrap_err();
    assert!(
        error.contains("knockd.toml:") && error.contains("unknown field `port`"),
        "{error}"
    );
    scene.knockd.signal(Signal::SIGHUP).unwrap();
    scene
        .logged(&[
            "the old configuration stays in force",
            "unknown field `port`",
        ])
        .unwrap();
    scene.send(&knock(PHONE, SSH, SOURCE)).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    for (from, to, key) in [
        ("port = 22", "", ""),
        ("state_dir = \"", "state_dir = \"/nowhere", "`state_dir`"),
    ] {
        scene.write(|text| text.replacen(from, to, 1));
        match scene.reload() {
            Ok(()) => assert_eq!(key, ""),
            Err(error) => assert!(
                error.contains(key) && error.contains("by a restart of knockd"),
                "{error}"
            ),
        }
    }
}

#[test]
fn sighup_reloads() {
    needs_bpf!();
    let scene = Scene::new().unwrap();
    scene.write(|text| text.replacen("sequence = [9]", "sequence = [10]", 1));
    scene.knockd.signal(Signal::SIGHUP).unwrap();
    scene
        .logged(&["reloaded the configuration, listening on srv0"])
        .unwrap();
    scene.send(&knock(PHONE, BACKUP, SOURCE)).unwrap();
    scene.logged(&["refused source=192.0.2.2"]).unwrap();
    scene.send(&knock(PHONE, &[10], SOURCE)).unwrap();
    scene.opened("backup", SOURCE.ip()).unwrap();
}

#[test]
fn doors_of_removed_clients_and_removed_doors_are_closed() {
    needs_bpf!();
    let scene = Scene::new().unwrap();
    scene.send(&knock(LAPTOP, SSH, SOURCE)).unwrap();
    scene.send(&knock(PHONE, SSH, STRANGER)).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    scene.opened("ssh", STRANGER.ip()).unwrap();
    scene.reconfigure(|text| text.replacen("name = \"laptop\"", "name = \"desktop\"", 1));
    scene
        .logged(&[" closed door=\"ssh\" source=192.0.2.2"])
        .unwrap();
    assert_eq!(
        scene.status().unwrap()["doors"].as_array().unwrap().len(),
        1
    );
    scene.reconfigure(|text| text.replacen("name = \"ssh\"", "name = \"shell\"", 1));
    scene
        .logged(&[" closed door=\"ssh\" source=192.0.2.66"])
        .unwrap();
    let mut closed = scene.files.commands().split_off(2);
    closed.sort();
    assert_eq!(
        closed,
        [
            "close ssh 192.0.2.2 laptop 3600",
            "close ssh 192.0.2.66 phone 3600"
        ]
    );
}

#[test]
fn window_and_verdict_can_be_changed() {
    needs_bpf!();
    let scene = Scene::new().unwrap();
    let answered = |port: u16| {
        let server = SocketAddr::new(Pair::SERVER_V4.into(), port);
        let refused = try_connect(&scene.pair.client, None, server, Duration::from_millis(300));
        refused.unwrap_err().kind() == std::io::ErrorKind::ConnectionRefused
    };
    assert!(!answered(61000) && answered(50000));
    scene.reconfigure(|text| format!("{text}\n[window]\nbase = 50000\n"));
    assert!(answered(61000) && !answered(50000));
    scene.reconfigure(|text| text.replacen("base = 50000", "base = 50000\nverdict = \"pass\"", 1));
    assert!(answered(50000));
}

#[test]
fn interfaces_can_be_changed() {
    needs_bpf!();
    let scene = Scene::with(CONFIGURATION).unwrap();
    // The scene passes `--iface srv0`, which takes precedence over the file.
    scene.reconfigure(|text| format!("interfaces = [\"lo\"]\n{text}"));
    assert_eq!(scene.status().unwrap()["listening"], "srv0");
    let mut scene = scene;
    scene.stop().unwrap();
    let knockd = knock_tests::scene::knockd(&scene.pair, &scene.files).unwrap();
    scene.knockd = knock_tests::process::Running::spawn(knockd).unwrap();
    scene.logged(&["listening on lo"]).unwrap();
    scene.reconfigure(|text| text.replacen("[\"lo\"]", "[\"srv0\", \"late0\"]", 1));
    let status = scene.status().unwrap();
    assert_eq!(status["listening"], "srv0");
    assert_eq!(status["awaited"][0], "late0");
    scene.send(&knock(PHONE, SSH, SOURCE)).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    scene.write(|text| text.replacen("interfaces = [\"srv0\", \"late0\"]", "", 1));
    let error = scene.reload().unwrap_err();
    assert!(error.contains("no interface to listen on"), "{error}");
    assert_eq!(scene.status().unwrap()["listening"], "srv0");
    let lo = scene.pair.server.ip("-details link show lo").unwrap();
    assert!(!lo.contains("xdp"), "{lo}");
}

/// Leases, connections and the gate continue during reloads; meanwhile an unauthenticated source
/// tries to connect.
#[test]
fn the_gate_stays_in_force_during_reloads() {
    needs_bpf!();
    let scene = Scene::with(&gated()).unwrap();
    scene.pair.add_client_address(STRANGER.ip()).unwrap();
    let _ssh = Greeter::start(&scene.pair.server, 22).unwrap();
    scene.send(&knock(PHONE, SSH, SOURCE)).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    let server = SocketAddr::new(Pair::SERVER_V4.into(), 22);
    let mut session = Session::open(&scene.pair.client, None, server, SOON).unwrap();
    let is_over = AtomicBool::new(false);
    let attempts = thread::scope(|scope| {
        let attempts_thread = scope.spawn(|| {
            let mut attempts = 0;
            while !is_over.load(Ordering::Relaxed) {
                let timeout = Duration::from_millis(5);
                let tried = try_connect(&scene.pair.client, Some(STRANGER.ip()), server, timeout);
                assert!(tried.is_err(), "an unauthenticated source connected");
                attempts += 1;
            }
            attempts
        });
        for round in 0..8 {
            scene.reconfigure(|text| text.replacen("[gate]", &format!("# {round}\n[gate]"), 1));
        }
        is_over.store(true, Ordering::Relaxed);
        attempts_thread.join().unwrap()
    });
    assert!(attempts > 0);
    assert!(can_connect(&scene, SOURCE.ip()));
    assert_eq!(session.ask("still there?").unwrap(), "still there?");

    // Another trusted source, then no gate, then the gate again.
    scene.reconfigure(|text| {
        text.replacen(
            "\"tcp/22\"]\n",
            "\"tcp/22\"]\ntrusted = [\"192.0.2.66\"]\n",
            2,
        )
        .replacen("\ntrusted = [\"192.0.2.66\"]\nfor", "\nfor", 1)
    });
    assert!(can_connect(&scene, STRANGER.ip()));
    scene.reconfigure(|text| {
        let (before, _) = text.split_once("[gate]").unwrap();
        before.replacen("open = [\"tcp/22\"]\n", "", 1)
    });
    scene.logged(&["the gate is removed"]).unwrap();
    assert!(scene.status().unwrap()["gate"].is_null());
    scene.reconfigure(|text| {
        text.replacen("for = \"1h\"", "open = [\"tcp/22\"]\nfor = \"1h\"", 1)
            + "\n[gate]\nprotect = [\"tcp/22\"]\n"
    });
    assert!(
        can_connect(&scene, SOURCE.ip()),
        "the lease of the source is still valid"
    );
    assert!(!can_connect(&scene, STRANGER.ip()));
}

/// The kernel counts every SYN and the daemon receives it, across all replacements of the program.
#[test]
fn no_event_is_lost_during_reloads() {
    needs_bpf!();
    const SYNS: u16 = 4000;
    let configuration =
        format!("{CONFIGURATION}\n[limits]\nevents_per_second = 1000000\nevent_burst = 1000000\n");
    let scene = Scene::with(&configuration).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..SYNS {
                let source = SocketAddr::new(SOURCE.ip(), 1024 + number);
                let server = SocketAddr::new(Pair::SERVER_V4.into(), 61000 + number % 256);
                scene.send([&Frame::syn(source, server)]).unwrap();
            }
        });
        for round in 0..6 {
            scene.reconfigure(|text| format!("{text}\n# {round}\n"));
        }
    });
    scene.settle().unwrap();
    let status = scene.status().unwrap();
    let kernel = &status["kernel"];
    let seen = kernel["knock"].as_u64().unwrap();
    assert_eq!(seen, u64::from(SYNS) + 16, "{kernel}");
    assert_eq!(status["daemon"]["events"], seen);
}

/// The listener has all privileges that a client with a key pair needs from its start.
#[test]
fn a_first_client_with_a_key_pair_can_be_added_at_runtime() {
    needs_bpf!();
    let scene = Scene::new().unwrap();
    let listener = scene.listener().unwrap();
    let passphrase = "protocol = \"classic\"\npassphrase_file = \"laptop.passphrase\"";
    let public_key = format!("public_key = \"{LAPTOP_PUBLIC}\"");
    scene.write(|text| {
        let text = text.replacen(passphrase, &public_key, 1);
        format!("server_key_file = \"server.key\"\n{text}")
    });
    scene.reload().unwrap();
    let block = seal(&unbound().unwrap()).unwrap();
    scene.send_block(block, SOURCE).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    scene.send_block(block, STRANGER).unwrap();
    scene
        .logged(&["refused source=192.0.2.66 reason=replayed"])
        .unwrap();
    assert_eq!(scene.listener().unwrap(), listener);
}
