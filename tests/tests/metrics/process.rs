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
    let root = fs::read_dir(format!("/proc/{exporter}/root")).unwrap();
    assert_eq!(root.count(), 0, "its root directory is empty");
    let environment = fs::read(format!("/proc/{exporter}/environ")).unwrap();
    for variable in environment.split(|byte| *byte == 0) {
        let name = variable.split(|byte| *byte == b'=').next();
        let allowed: [&[u8]; 4] = [b"", b"NO_COLOR", b"JOURNAL_STREAM", b"KNOCKD_ACCOUNT"];
        assert!(allowed.contains(&name.unwrap()), "{environment:?}");
    }
}

/// Its socket is the only one of TCP. A listening socket that is shut down could be connected by
/// sending (`MSG_FASTOPEN`).
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[test]
fn it_cannot_connect_although_it_has_a_socket() {
    use knock_tests::hijack::{Hijacked, Outcome};
    use nix::{errno::Errno, libc};

    /// The listening socket is the exporter's standard output.
    const SOCKET: u64 = 1;

    knock_tests::needs_bpf!();
    let scene = Scene::with(&configuration()).unwrap();
    // It has started, and is about to block.
    Page::scrape(&scene.pair);
    let mut hijacked = Hijacked::new(exporter(&scene).unwrap()).unwrap();
    let both = libc::SHUT_RDWR as u64;
    let shut = hijacked.call(libc::SYS_shutdown, &[SOCKET, both]);
    assert_eq!(shut.unwrap(), Outcome::Returned(0));
    // sockaddr_in of the client's host.
    let family = u16::try_from(libc::AF_INET).unwrap().to_ne_bytes();
    let server = [&family[..], &9_u16.to_be_bytes(), &[192, 0, 2, 2], &[0; 8]];
    let server = hijacked.put(&server.concat()).unwrap();
    let fast = libc::MSG_FASTOPEN as u64;
    for (call, arguments) in [
        (libc::SYS_sendto, &[SOCKET, server, 1, fast, server, 16][..]),
        (libc::SYS_sendto, &[SOCKET, server, 1, fast, 0, 0]),
        (libc::SYS_sendto, &[SOCKET, server, 1, 0, server, 16]),
        (libc::SYS_sendmsg, &[SOCKET, server, fast]),
        (libc::SYS_sendmmsg, &[SOCKET, server, 1, fast]),
        (libc::SYS_connect, &[SOCKET, server, 16]),
        (libc::SYS_bind, &[SOCKET, server, 16]),
        (libc::SYS_listen, &[SOCKET, 1]),
        (libc::SYS_setsockopt, &[SOCKET, 6, 30, server, 4]),
        (libc::SYS_openat, &[0, server, 0]),
        (libc::SYS_io_uring_setup, &[1, server]),
    ] {
        let outcome = hijacked.call(call, arguments).unwrap();
        assert_eq!(outcome, Outcome::Failed(Errno::EPERM), "call {call}");
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
