//! The unit without a running systemd: checks by systemd's tools, and the daemon in the part of its
//! sandbox that a test can set up itself.

use std::{
    collections::HashSet,
    fs, io,
    net::{IpAddr, SocketAddr},
    process::{Command, Output},
    time::Duration,
};

use knock_tests::{
    link::Pair,
    needs_bpf,
    process::Running,
    scene::{Files, PHONE, SOON, SOURCE, STRANGER, Scene, classic, program},
    service::{Greeter, try_connect},
    wire::Sender,
};

use crate::project;

/// Maximum exposure level according to `systemd-analyze security`. 0.1 of it is for chroot(2), which
/// takes the file system away from the processes that read network input.
const MAX_EXPOSURE: f64 = 2.6;

/// A configuration whose door opens the gate and the firewall.
const CONFIGURATION: &str = r#"
control_socket = "{folder}/knockd.sock"
state_dir = "{folder}/state"

[[client]]
name = "phone"
protocol = "classic"
passphrase_file = "phone.passphrase"

[[door]]
name = "ssh"
sequence = [1, 2, 3, 4]
open = ["tcp/22"]
run = ["{folder}/portknock", "open", "%IP%"]
close = ["{folder}/portknock", "close", "%IP%"]
for = "1h"

[gate]
protect = ["tcp/22"]
"#;

/// Makes everything read-only but the paths of the unit and the daemon's folder, and hides all of
/// /proc but processes.
const READ_ONLY: &str = r#"
mount --bind "$1" "$1"
mount -o remount,bind,ro /
mount -o remount,bind,ro /sys
mount -t proc -o subset=pid,hidepid=invisible proc /proc
shift
exec "$@"
"#;

fn unit() -> String {
    fs::read_to_string(project("knock-user/packaging/systemd/knockd-xdp.service")).unwrap()
}

/// The words of the unit's settings named `key`.
fn words(key: &str) -> Vec<String> {
    let unit = unit();
    let values = unit
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    values
        .flat_map(str::split_whitespace)
        .map(str::to_owned)
        .collect()
}

/// The output of `systemd-analyze`, or `None` if it is not installed.
fn systemd_analyze(arguments: &[&str]) -> Option<Output> {
    match Command::new("systemd-analyze").args(arguments).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            eprintln!("skipped: systemd-analyze is not installed");
            None
        }
        output => Some(output.unwrap()),
    }
}

/// The system calls of `group`, including those of nested groups.
fn system_calls(group: &str) -> Option<HashSet<String>> {
    let output = systemd_analyze(&["syscall-filter", "--no-pager", group])?;
    let text = String::from_utf8(output.stdout).unwrap();
    let mut calls = HashSet::new();
    for word in text.lines().skip(1).map(str::trim) {
        if word.starts_with('@') {
            calls.extend(system_calls(word)?);
        } else if !word.starts_with('#') {
            calls.insert(word.to_owned());
        }
    }
    Some(calls)
}

#[test]
fn systemd_analyze_verifies_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("knockd-xdp.service");
    let installed = program("knockd").unwrap().display().to_string();
    fs::write(&path, unit().replace("/usr/sbin/knockd", &installed)).unwrap();
    let path = path.to_str().unwrap();
    let Some(verified) = systemd_analyze(&["verify", "--man=no", path]) else {
        return;
    };
    let errors = String::from_utf8_lossy(&verified.stderr);
    assert!(
        verified.status.success() && !errors.contains("knockd-xdp"),
        "{errors}"
    );
}

#[test]
fn the_exposure_level_is_within_its_limit() {
    let path = project("knock-user/packaging/systemd/knockd-xdp.service");
    let path = path.to_str().unwrap();
    let Some(rated) = systemd_analyze(&["security", "--offline=true", "--no-pager", path]) else {
        return;
    };
    let text = String::from_utf8(rated.stdout).unwrap();
    let (_, rating) = text.split_once("Overall exposure level for").unwrap();
    let rating = rating.split(": ").nth(1).unwrap();
    let exposure: f64 = rating.split(' ').next().unwrap().parse().unwrap();
    assert!(exposure <= MAX_EXPOSURE, "{text}");
}

/// Starts the daemon on the server with the unit's capabilities and read-only file systems, under
/// strace, which writes to standard error.
fn sandboxed(pair: &Pair, files: &Files) -> Running {
    let capabilities = words("CapabilityBoundingSet").join(",+").to_lowercase();
    let capabilities = format!("-all,+{}", capabilities.replace("cap_", ""));
    let mut command = pair.server.command("unshare");
    command.args(["--mount", "sh", "-ec", READ_ONLY, "sh"]);
    command.arg(files.path(""));
    command.args(["setpriv", "--no-new-privs", "--inh-caps=-all"]);
    command.arg(format!("--bounding-set={capabilities}"));
    // Raw arguments, so that no log text can be parsed as a system call.
    command.args(["strace", "-D", "-f", "-q", "-e", "raw=all"]);
    command.arg(files.path("knockd"));
    command.args([
        "--iface",
        Pair::SERVER_INTERFACE,
        "--log",
        "debug",
        "--config",
    ]);
    command.arg(files.path("knockd.toml"));
    let knockd = Running::spawn(command).unwrap();
    let listening = |line: &str| line.contains("listening on srv0");
    knockd.wait_for(listening, SOON).unwrap();
    knockd
}

/// The names of the system calls that strace has written to standard error.
fn called(knockd: &Running) -> HashSet<String> {
    let name = |line: &str| {
        let call = match line.strip_prefix("[pid") {
            Some(rest) => rest.split_once("] ")?.1,
            None => line,
        };
        let (name, _) = call.split_once('(')?;
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        (!name.is_empty() && name.chars().all(is_name)).then(|| name.to_owned())
    };
    knockd
        .lines()
        .iter()
        .filter_map(|line| name(&line.text))
        .collect()
}

/// The `calls` that the unit's filter does not permit, or `None` without `systemd-analyze`.
fn refused(calls: &HashSet<String>) -> Option<Vec<String>> {
    let mut allowed = HashSet::new();
    for word in words("SystemCallFilter") {
        if word.starts_with('@') {
            allowed.extend(system_calls(&word)?);
        } else {
            allowed.insert(word);
        }
    }
    Some(calls.difference(&allowed).cloned().collect())
}

fn can_connect(scene: &Scene, source: IpAddr, timeout: Duration) -> bool {
    let server = SocketAddr::new(Pair::SERVER_V4.into(), 22);
    try_connect(&scene.pair.client, Some(source), server, timeout).is_ok()
}

/// A sandboxed daemon behind a firewall that the packaged script has set up.
fn scene() -> Scene {
    let pair = Pair::new().unwrap();
    pair.add_client_address(STRANGER.ip()).unwrap();
    let files = Files::new(CONFIGURATION).unwrap();
    // Copied, because root without capabilities may have no access to the build folder.
    let script = files.path("portknock");
    fs::copy(
        project("knock-user/packaging/firewall/portknock-nftables"),
        &script,
    )
    .unwrap();
    fs::copy(program("knockd").unwrap(), files.path("knockd")).unwrap();
    let setup = pair.server.command(script).args(["setup", "22"]).output();
    assert!(setup.as_ref().unwrap().status.success(), "{setup:?}");
    let knockd = sandboxed(&pair, &files);
    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    Scene {
        pair,
        files,
        knockd,
        sender,
    }
}

#[test]
fn the_daemon_works_in_the_sandbox() {
    needs_bpf!();
    let mut scene = scene();
    let _ssh = Greeter::start(&scene.pair.server, 22).unwrap();
    let silence = Duration::from_millis(300);

    assert_eq!(scene.status().unwrap()["gate"]["outlives_daemon"], true);
    assert!(!can_connect(&scene, SOURCE.ip(), silence));
    let knock = classic(PHONE, &[1, 2, 3, 4], SOURCE, Pair::SERVER_V4.into()).unwrap();
    scene.send(&knock).unwrap();
    scene.opened("ssh", SOURCE.ip()).unwrap();
    assert!(can_connect(&scene, SOURCE.ip(), SOON));
    assert!(!can_connect(&scene, STRANGER.ip(), silence));

    let reload = scene.watch("reload").unwrap().output().unwrap();
    assert!(reload.status.success(), "{reload:?}");
    assert!(can_connect(&scene, SOURCE.ip(), SOON));
    let mut close = scene.watch("close").unwrap();
    let close = close.arg(SOURCE.ip().to_string()).output().unwrap();
    assert!(close.status.success(), "{close:?}");
    scene.logged(&["command close", "succeeded"]).unwrap();
    assert!(!can_connect(&scene, SOURCE.ip(), silence));

    scene.stop().unwrap();
    let history = fs::read_to_string(scene.files.path("state/history")).unwrap();
    assert!(history.contains("by_hand"), "{history}");
    let mut calls = called(&scene.knockd);
    scene.knockd = sandboxed(&scene.pair, &scene.files);
    scene
        .logged(&["replacing the program of an earlier knockd"])
        .unwrap();
    scene.stop().unwrap();
    calls.extend(called(&scene.knockd));
    for call in ["bpf", "execve", "accept4"] {
        assert!(calls.contains(call), "strace has missed {call}: {calls:?}");
    }
    if let Some(refused) = refused(&calls) {
        assert!(refused.is_empty(), "{refused:?}");
    }
}
