//! The daemon as it is started in containers: with some capabilities, and as the first process.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use knock_tests::{
    link::Pair,
    process::{Running, Signal, Stream},
    scene::{
        CONFIGURATION, Files, LAPTOP, PAIR_CONFIGURATION, SOON, SOURCE, SSH, classic, program,
        request, seal, syns,
    },
    wire::Sender,
};
use nix::{
    sys::{signal::kill, stat::Mode},
    unistd::{Pid, mkfifo},
};

/// In a container, capabilities are dropped and added one by one.
#[test]
fn missing_capabilities_are_named_at_the_start() {
    knock_tests::needs_bpf!();
    let pair = Pair::new().unwrap();
    let files = Files::new(PAIR_CONFIGURATION).unwrap();
    let start = |capabilities: &str, arguments: &[&str]| {
        let mut command = pair.server.command("setpriv");
        command.args(["--inh-caps=-all", "--bounding-set"]);
        command.arg(format!("-all{capabilities}"));
        command.arg(program("knockd").unwrap());
        command.args(arguments).arg("--config");
        command.arg(files.path("knockd.toml"));
        Running::spawn(command).unwrap()
    };
    for (capabilities, lacks) in [
        (
            "",
            "knockd lacks CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON to load the eBPF program and attach it, and CAP_SETUID, CAP_SETGID to run processes as other users",
        ),
        (
            ",+bpf,+net_admin,+perfmon",
            "knockd lacks CAP_SETUID, CAP_SETGID to run processes as other users",
        ),
        (
            ",+bpf,+perfmon,+setuid,+setgid",
            "knockd lacks CAP_NET_ADMIN to load",
        ),
    ] {
        for dry_run in [&["--iface", "srv0"][..], &["--iface", "srv0", "--dry-run"]] {
            let mut knockd = start(capabilities, dry_run);
            assert_eq!(knockd.wait(SOON).unwrap().code(), Some(1));
            let errors = knockd.text(Stream::Err);
            assert!(errors.contains(&format!("knockd: {lacks}")), "{errors}");
        }
    }
    let five = ",+bpf,+net_admin,+perfmon,+setuid,+setgid";
    let knockd = start(five, &["--iface", "srv0"]);
    for expected in ["WARN knockd lacks CAP_KILL to end", "listening on srv0"] {
        knockd
            .wait_for(|line| line.contains(expected), SOON)
            .unwrap();
    }
    // Also a single-use knock, which is written to a file of the listener.
    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let block = seal(&request("ssh", SOURCE.ip()).unwrap()).unwrap();
    for frame in &syns(block, SOURCE, Pair::SERVER_V4.into()) {
        sender.send(&frame.bytes().unwrap()).unwrap();
    }
    knockd
        .wait_for(|line| line.contains("accepted door=\"ssh\""), SOON)
        .unwrap();
}

/// The children of a process, with their states in /proc/PID/status.
fn children(process: u32) -> Vec<(u32, String)> {
    let list = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    let ids = list.split_whitespace().map(|id| id.parse().unwrap());
    let state = |id| knock_tests::process::status(id, "State").unwrap_or_default();
    ids.map(|id| (id, state(id))).collect()
}

#[test]
fn the_first_process_of_a_container_leaves_no_zombies() {
    knock_tests::needs_bpf!();
    let pair = Pair::new().unwrap();
    // A process that outlives the door's command, until something is written to the pipe.
    let run = "(read -r line < {folder}/pipe; echo $line >> {folder}/commands) &";
    let configuration = CONFIGURATION.replace(
        "echo open %DOOR% $KNOCK_IP %CLIENT% %FOR% >> {folder}/commands",
        run,
    );
    let files = Files::new(&configuration).unwrap();
    mkfifo(&files.path("pipe"), Mode::S_IRWXU).unwrap();
    let mut command = pair.server.command("unshare");
    command.args(["--pid", "--fork", "--mount-proc"]);
    command.arg(program("knockd").unwrap());
    command.args(["--iface", Pair::SERVER_INTERFACE, "--config"]);
    command.arg(files.path("knockd.toml"));
    let mut container = Running::spawn(command).unwrap();
    container
        .wait_for(|line| line.contains("listening on"), SOON)
        .unwrap();
    let [(first, _)] = children(container.id())[..] else {
        panic!("{:?}", children(container.id()));
    };

    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    for frame in &classic(LAPTOP, SSH, SOURCE, Pair::SERVER_V4.into()).unwrap() {
        sender.send(&frame.bytes().unwrap()).unwrap();
    }
    let succeeded = |line: &str| line.contains("command run") && line.contains("succeeded");
    container.wait_for(succeeded, SOON).unwrap();
    assert_eq!(children(first).len(), 2, "the daemon, and the orphan");
    fs::write(files.path("pipe"), "left\n").unwrap();
    let deadline = Instant::now() + SOON;
    while children(first).len() > 1 {
        assert!(Instant::now() < deadline, "{:?}", children(first));
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(files.commands(), ["left"]);

    let first = Pid::from_raw(first.try_into().unwrap());
    kill(first, Signal::SIGTERM).unwrap();
    assert_eq!(container.wait(SOON).unwrap().code(), Some(0));
    let lines = container.text(Stream::Err);
    assert!(
        lines.contains("SIGTERM: closing every open door"),
        "{lines}"
    );
    assert_eq!(files.commands().len(), 2, "the door was closed");
}
