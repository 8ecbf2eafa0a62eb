//! Hostile clients of the exporter: they delay no knock and leave no open connection behind.

use std::{
    fs,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Instant,
};

use knock_tests::scene::{SOON, Scene};

use super::{Page, configuration, connect, exporter, knock};

/// Many times more than the exporter serves concurrently.
const CONNECTIONS: usize = 100;

/// Maximum number of file descriptors that the daemon may use for all of them.
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

/// Waits until the daemon has at most `files` open file descriptors.
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

/// Knocks from `sources` addresses, one after another, and waits for each door.
fn knock_in_time(scene: &Scene, sources: u8) {
    for number in 1..=sources {
        knock(scene, SocketAddr::from(([192, 0, 2, 100 + number], 40_000)));
    }
}

fn assert_in_time(page: &Page, sources: u8) {
    for latency in [
        "knockd_gate_opening_seconds",
        "knockd_command_start_seconds",
    ] {
        for bucket in ["1", "+Inf"] {
            let sample = format!("{latency}_bucket{{le=\"{bucket}\"}}");
            assert_eq!(page.value(&sample), f64::from(sources), "{}", page.text);
        }
    }
}

#[test]
fn many_connections_delay_no_knock_and_are_closed() {
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
            // The write may be partial, or fail if the daemon has closed the connection.
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
fn a_slow_request_is_aborted() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(&configuration()).unwrap();
    Page::scrape(&scene.pair);
    let before = open_files(&scene);
    let mut stream = connect(&scene.pair);
    stream.write_all(b"GET /metrics HTTP/1.1\r\n").unwrap();
    let deadline = Instant::now() + SOON;
    // Sends a header line in each turn: the connection is never idle, and the request never
    // complete.
    stream
        .set_read_timeout(Some(std::time::Duration::from_millis(100)))
        .unwrap();
    let closed = loop {
        let sent = stream.write_all(b"A: b\r\n");
        match stream.read(&mut [0; 1024]) {
            Ok(0) => break true,
            Err(error)
                if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) =>
            {
                break true;
            }
            _ if sent.is_err() => break true,
            _ if Instant::now() > deadline => break false,
            _ => {}
        }
    };
    assert!(closed, "the daemon did not close the connection");
    wait_for_open_files(&scene, before);
}

/// Stops the scrapes when dropped, also if a knock fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn continuous_scrapes_delay_no_knock() {
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
