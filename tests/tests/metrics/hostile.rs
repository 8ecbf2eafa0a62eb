//! Those who connect to the exporter and mean no good: no knock waits for them, and nothing of
//! them is left.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Instant,
};

use knock_tests::scene::{SOON, Scene};

use super::{Page, configuration, connect, exporter, knock};

/// More than the exporter serves at the same time, many times over.
const CONNECTIONS: usize = 100;

/// What the daemon may hold open for all of them together.
const HELD: usize = 16;

/// Open files of the daemon and of its other processes.
fn open_files(scene: &Scene) -> usize {
    let processes = [
        Some(scene.knockd.id()),
        scene.listener().ok(),
        exporter(scene),
    ];
    let files = processes
        .into_iter()
        .flatten()
        .map(|id| fs::read_dir(format!("/proc/{id}/fd")).unwrap().count());
    files.sum()
}

/// Waits until the daemon has no more than `files` open.
fn wait_for_open_files(scene: &Scene, files: usize) {
    let deadline = Instant::now() + SOON;
    while open_files(scene) > files {
        assert!(
            Instant::now() < deadline,
            "{} files are open",
            open_files(scene)
        );
        thread::yield_now();
    }
}

/// Knocks from `visitors` sources, one after another; none of their doors was a second late.
fn knock_in_time(scene: &Scene, visitors: u8) {
    for visitor in 1..=visitors {
        knock(
            scene,
            SocketAddr::from(([192, 0, 2, 100 + visitor], 40_000)),
        );
    }
}

fn assert_in_time(page: &Page, visitors: u8) {
    for latency in [
        "knockd_gate_opening_seconds",
        "knockd_command_start_seconds",
    ] {
        for bucket in ["1", "+Inf"] {
            let sample = format!("{latency}_bucket{{le=\"{bucket}\"}}");
            assert_eq!(page.value(&sample), f64::from(visitors), "{}", page.text);
        }
    }
}

#[test]
fn a_hundred_connections_delay_no_knock_and_leave_nothing() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(&configuration()).unwrap();
    Page::scrape(&scene.pair);
    let before = open_files(&scene);
    let huge = format!(
        "GET /metrics HTTP/1.1\r\nCookie: {}\r\n",
        "a".repeat(100_000)
    );
    let beginnings: [&[u8]; 5] = [
        b"",
        b"GET /metrics HTTP/1.1\r\nHost: loc",
        huge.as_bytes(),
        &[0xff; 4096],
        b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n",
    ];
    let streams: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|index| {
            let mut stream = connect(&scene.pair);
            stream.set_nonblocking(true).unwrap();
            // What does not fit, or comes after the daemon has hung up, is not sent.
            let _ = stream.write(beginnings[index % beginnings.len()]);
            stream
        })
        .collect();
    knock_in_time(&scene, 5);
    assert!(open_files(&scene) <= before + HELD);
    drop(streams);
    assert_in_time(&Page::scrape(&scene.pair), 5);
    wait_for_open_files(&scene, before);
}

#[test]
fn a_connection_that_drips_is_cut() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(&configuration()).unwrap();
    Page::scrape(&scene.pair);
    let before = open_files(&scene);
    let mut stream = connect(&scene.pair);
    stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    let deadline = Instant::now() + SOON;
    // A header line with every turn: it is never silent, and never done.
    stream
        .set_read_timeout(Some(std::time::Duration::from_millis(100)))
        .unwrap();
    let cut = loop {
        let drip = stream.write_all(b"A: b\r\n");
        match stream.read(&mut [0; 1024]) {
            Ok(0) => break true,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => break true,
            _ if drip.is_err() => break true,
            _ if Instant::now() > deadline => break false,
            _ => {}
        }
    };
    assert!(cut, "it goes on for ever");
    wait_for_open_files(&scene, before);
}

/// Ends the scrapes, also if a knock fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn scrapes_without_a_pause_delay_no_knock() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(&configuration()).unwrap();
    let done = AtomicBool::new(false);
    let scrapes = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    Page::scrape(&scene.pair);
                    scrapes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _done = Done(&done);
        knock_in_time(&scene, 20);
    });
    assert!(scrapes.into_inner() > 20);
    assert_in_time(&Page::scrape(&scene.pair), 20);
}
