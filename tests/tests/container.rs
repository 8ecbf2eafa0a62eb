//! The daemon as it is started in containers: with some capabilities, and as the first process.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use knock_tests::{
    link::Pair,
    process::{Running, Stream},
    scene::{CONFIGURATION, Files, SOON, program},
};

/// In a container, capabilities are dropped and added one by one.
#[test]
fn missing_capabilities_are_named_at_the_start() {
    knock_tests::needs_bpf!();
    let pair = Pair::new().unwrap();
    let files = Files::new(CONFIGURATION).unwrap();
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
}
