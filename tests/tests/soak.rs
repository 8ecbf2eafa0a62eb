//! A day of use in a short time: knocks of both kinds, refusals, reloads and subscribers, over and over.
//! Nothing grows: memory, file descriptors, leases, or the files of the state, except for the history
//! up to its limit.
//!
//! A round has the events of about ten minutes on a busy host. `KNOCK_SOAK=N` in the environment runs N
//! rounds; a day has 144.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    collections::BTreeMap,
    env, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use knock_common::protocol::block::Block;
use knock_tests::{
    needs_bpf,
    process::Signal,
    scene::{SOON, Scene, datagram_request, laptop, request, seal, seal_datagram},
};
use rustix::process::{Pid, kill_process};

const CONFIGURATION: &str = r#"
control_socket = "{folder}/knockd.sock"
state_dir = "{folder}/state"
server_key_file = "server.key"

[[client]]
name = "laptop"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"

[datagram]
port = 62201

[[door]]
name = "brief"
open = ["tcp/22"]
run = ["true"]
close = ["true"]
for = "1s"

[gate]
protect = ["tcp/22"]

[limits]
history = 100
"#;

/// The longest files of the history with the limit of [`CONFIGURATION`], in bytes: 1 KiB a knock.
const HISTORY_LEN: u64 = 100 * 1024;

/// Rounds before the first measurement: tables, buffers and pools have their size then.
const WARM_UP: u32 = 3;

/// Rounds of a short run.
const ROUNDS: u32 = 8;

/// Knocks of each kind in a round.
const KNOCKS: u8 = 20;

/// Knocks of a round that may be lost.
const LOST: u64 = 4;

/// How much the memory of a process may differ between two moments without a leak, in KiB. A leak of
/// one kilobyte per knock is found in a day of rounds, and one of ten in a short run.
const SLACK: u64 = 1024;

/// What must not grow.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Measure {
    /// The anonymous memory of each process in KiB.
    memory: BTreeMap<String, u64>,
    files: BTreeMap<String, usize>,
    /// The size of each file in the state directory, without those of the history.
    state: BTreeMap<String, u64>,
    /// The size of the files of the history.
    history: Vec<u64>,
    /// The open doors and the kernel's leases.
    open: [u64; 2],
}

/// The source of a knock with this number in a round.
fn source(number: u8) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 100 + number)), 40_000)
}

/// The daemon and its listener.
fn processes(scene: &Scene) -> [(String, u32); 2] {
    [
        ("supervisor".to_owned(), scene.knockd.id()),
        ("listener".to_owned(), scene.listener().unwrap()),
    ]
}

/// One round. Returns when all doors are closed again.
fn round(scene: &Scene) {
    let mark = scene.knockd.mark();
    let before = accepted(scene);
    let client = laptop().unwrap();
    for knock in 0..KNOCKS {
        let from = source(knock);
        let block = seal(&request("brief", from.ip()).unwrap()).unwrap();
        scene.send_block(block, from).unwrap();
        // Refused: the first is repeated, the second is noise, the third comes from elsewhere.
        scene.send_block(block, from).unwrap();
        scene.send_block(Block([knock; 16]), from).unwrap();
        scene.send_block(block, source(knock + KNOCKS)).unwrap();
        let from = source(knock + 2 * KNOCKS);
        let datagram = datagram_request("brief", from.ip()).unwrap();
        let datagram = seal_datagram(&client, &datagram).unwrap();
        scene.send_datagram(&datagram, from).unwrap();
        scene.send_datagram(&datagram, source(knock)).unwrap();
    }
    let tail = scene.watch("tail").unwrap().stdout(Stdio::null()).spawn();
    scene.status().unwrap();
    scene.knockd.signal(Signal::SIGHUP).unwrap();
    logged(scene, mark, "configuration", 1);
    let mut tail = tail.unwrap();
    tail.kill().unwrap();
    tail.wait().unwrap();
    // The link may lose some of so many packets at once.
    let most = before + 2 * u64::from(KNOCKS) - LOST;
    wait_until(|| accepted(scene) >= most);
    wait_until(|| {
        let status = scene.status().unwrap();
        status["doors"].as_array().unwrap().is_empty()
    });
}

/// Kills the listener, and waits for the next one.
fn kill_listener(scene: &Scene) {
    let mark = scene.knockd.mark();
    let listener = i32::try_from(scene.listener().unwrap()).unwrap();
    kill_process(
        Pid::from_raw(listener).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    logged(scene, mark, "listening again", 1);
}

/// The number of accepted knocks.
fn accepted(scene: &Scene) -> u64 {
    let status = scene.status().unwrap();
    status["daemon"]["accepted"].as_u64().unwrap()
}

/// Waits until `is_so`. The daemon is asked again and again, which is part of its use.
fn wait_until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never is");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for `count` lines that contain `part`, after the first `mark` lines.
fn logged(scene: &Scene, mark: usize, part: &str, count: usize) {
    let mut found = 0;
    let is_last = |line: &str| {
        found += usize::from(line.contains(part));
        found >= count
    };
    scene.knockd.wait_for_after(mark, is_last, SOON).unwrap();
}

fn measure(scene: &Scene) -> Measure {
    let state = scene.files.path("state");
    let sizes: BTreeMap<_, _> = [state.clone(), state.join("knocks")]
        .into_iter()
        .flat_map(|folder| {
            fs::read_dir(folder).unwrap().map(|entry| {
                let entry = entry.unwrap();
                let size = if entry.path().is_file() {
                    entry.metadata().unwrap().len()
                } else {
                    0
                };
                (entry.file_name().to_string_lossy().into_owned(), size)
            })
        })
        .collect();
    let is_history = |name: &str| name.starts_with("history");
    let history = sizes.iter().filter(|(name, _)| is_history(name));
    let history = history.map(|(_, size)| *size).collect();
    let others = sizes.iter().filter(|(name, _)| !is_history(name));
    let state = others.map(|(name, size)| (name.clone(), *size)).collect();
    let status = scene.status().unwrap();
    let processes = processes(scene);
    Measure {
        memory: processes
            .iter()
            .map(|(name, id)| (name.clone(), anonymous(*id)))
            .collect(),
        files: processes
            .iter()
            .map(|(name, id)| {
                let files = fs::read_dir(format!("/proc/{id}/fd")).unwrap();
                (name.clone(), files.count())
            })
            .collect(),
        state,
        history,
        open: [
            status["doors"].as_array().unwrap().len() as u64,
            status["gate"]["leases"].as_u64().unwrap(),
        ],
    }
}

/// The anonymous memory of a process in KiB: its heap and stacks.
fn anonymous(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let (kib, _) = line.unwrap().trim().split_once(' ').unwrap();
    kib.parse().unwrap()
}

/// Whether no process has more open files than before.
fn no_more(now: &BTreeMap<String, usize>, before: &BTreeMap<String, usize>) -> bool {
    now.iter().all(|(name, count)| *count <= before[name])
}

#[test]
fn nothing_grows_in_a_day_of_use() {
    needs_bpf!();
    let rounds = env::var("KNOCK_SOAK")
        .ok()
        .map(|rounds| rounds.parse().unwrap());
    let rounds = rounds.unwrap_or(ROUNDS);
    let scene = Scene::with(CONFIGURATION).unwrap();
    // What a new listener costs the supervisor is part of the first measurement.
    kill_listener(&scene);
    for _ in 0..WARM_UP {
        round(&scene);
    }
    let before = measure(&scene);
    let begun = Instant::now();
    for _ in 0..rounds {
        round(&scene);
    }
    // Leases end in the kernel by themselves, and a descriptor of a subscriber or of a reload may
    // still be open for a moment: what counts is a moment at which nothing is.
    let deadline = Instant::now() + SOON;
    let after = loop {
        let now = measure(&scene);
        let is_at_rest = now.open == [0, 0] && no_more(&now.files, &before.files);
        if is_at_rest || Instant::now() > deadline {
            break now;
        }
        thread::sleep(Duration::from_millis(20));
    };
    println!(
        "{rounds} rounds in {:?}: {before:?}, then {after:?}",
        begun.elapsed()
    );
    assert_eq!(after.open, [0, 0]);
    assert!(no_more(&after.files, &before.files));
    assert_eq!(after.state, before.state);
    assert!(!after.history.is_empty());
    assert!(after.history.len() <= 2 && after.history.iter().all(|len| *len <= HISTORY_LEN));
    for (process, memory) in &after.memory {
        assert!(*memory <= before.memory[process] + SLACK, "{process}");
    }
}
