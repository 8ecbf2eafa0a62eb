//! The real daemon: start, status and tail, door commands, shutdown and error messages.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::SocketAddr,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    process::Output,
};

use knock_tests::{
    link::Pair,
    process::{Running, Signal},
    pty::Terminal,
    scene::{
        BACKUP, CONFIGURATION, Files, LAPTOP, PHONE, SOON, SSH, Scene, classic, knockd, program,
    },
    wire::Sender,
};
use nix::unistd::geteuid;

fn client() -> SocketAddr {
    SocketAddr::new(Pair::CLIENT_V4.into(), 40_000)
}

fn send_knock(scene: &Scene) {
    send_knock_at(scene, LAPTOP, SSH, client());
}

fn send_knock_at(scene: &Scene, passphrase: &str, sequence: &[u8], source: SocketAddr) {
    let knock = classic(passphrase, sequence, source, Pair::SERVER_V4.into()).unwrap();
    scene.send(&knock).unwrap();
}

/// The configuration with another `run` for door `ssh`.
fn running(run: &str) -> String {
    let start = CONFIGURATION.find("run = ").unwrap();
    let end = start + CONFIGURATION[start..].find('\n').unwrap();
    format!(
        "{}run = {run}{}",
        &CONFIGURATION[..start],
        &CONFIGURATION[end..]
    )
}

#[test]
fn a_door_closes_after_its_duration_and_can_open_again() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(&CONFIGURATION.replace("\"1h\"", "\"1s\"")).unwrap();
    send_knock(&scene);
    scene
        .logged(&["closed door=\"ssh\" source=192.0.2.2"])
        .unwrap();
    let mark = scene.knockd.mark();
    send_knock(&scene);
    scene
        .knockd
        .wait_for_after(mark, |line| line.contains("closed door=\"ssh\""), SOON)
        .unwrap();
    assert_eq!(
        scene.files.commands(),
        [
            "open ssh 192.0.2.2 laptop 1",
            "close ssh 192.0.2.2 laptop 1",
            "open ssh 192.0.2.2 laptop 1",
            "close ssh 192.0.2.2 laptop 1",
        ]
    );
}

#[test]
fn sigterm_closes_open_doors_first() {
    knock_tests::needs_bpf!();
    let mut scene = Scene::new().unwrap();
    send_knock(&scene);
    scene.opened("ssh", client().ip()).unwrap();
    send_knock_at(&scene, PHONE, BACKUP, client());
    scene.opened("backup", client().ip()).unwrap();
    scene.stop().unwrap();
    assert_eq!(
        scene.files.commands(),
        [
            "open ssh 192.0.2.2 laptop 3600",
            "open backup 192.0.2.2",
            "close ssh 192.0.2.2 laptop 3600",
        ]
    );
    assert!(!scene.files.path("knockd.sock").exists());
    let link = scene.pair.server.ip("-details link show dev srv0").unwrap();
    assert!(!link.contains("xdp"), "{link}");
}

#[test]
fn sigterm_while_a_door_opens_closes_it_afterwards() {
    knock_tests::needs_bpf!();
    let run = r#"["sh", "-c", "echo begun >> {folder}/commands; while [ ! -e {folder}/go ]; do sleep 0.01; done"]"#;
    let mut scene = Scene::with(&running(run)).unwrap();
    send_knock(&scene);
    scene.logged(&["accepted"]).unwrap();
    scene.knockd.signal(Signal::SIGTERM).unwrap();
    scene.logged(&["SIGTERM: closing every open door"]).unwrap();
    fs::write(scene.files.path("go"), "").unwrap();
    assert!(scene.knockd.wait(SOON).unwrap().success());
    assert_eq!(
        scene.files.commands(),
        ["begun", "close ssh 192.0.2.2 laptop 3600"]
    );
}

#[test]
fn a_missing_failing_or_hanging_command_does_not_stop_the_daemon() {
    knock_tests::needs_bpf!();
    for (run, expected) in [
        (
            r#"["/nowhere/portknock", "%IP%"]"#,
            "could not be started: No such file",
        ),
        (
            r#"["sh", "-c", "echo broken lock; exit 7"]"#,
            "failed: exit status: 7",
        ),
        (r#"["sleep", "600"]"#, "was killed: it took longer than 1s"),
    ] {
        let configuration = format!("{}\n[limits]\ncommand_timeout = \"1s\"\n", running(run));
        let mut scene = Scene::with(&configuration).unwrap();
        send_knock(&scene);
        scene
            .logged(&["command run door=\"ssh\" source=192.0.2.2", expected])
            .unwrap();
        if run.contains("broken lock") {
            scene
                .logged(&["run of door \"ssh\" for 192.0.2.2: broken lock"])
                .unwrap();
        }
        // The daemon continues and counts the failure.
        send_knock_at(&scene, PHONE, BACKUP, client());
        scene.opened("backup", client().ip()).unwrap();
        assert_eq!(scene.status().unwrap()["daemon"]["commands_failed"], 1);
        // A door whose opening command failed is closed as well.
        scene.stop().unwrap();
        let commands = scene.files.commands();
        assert!(
            commands.contains(&"close ssh 192.0.2.2 laptop 3600".into()),
            "{commands:?}"
        );
    }
}

#[test]
fn status_shows_attachments_counters_and_open_doors() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    send_knock(&scene);
    scene.opened("ssh", client().ip()).unwrap();
    let partial = classic(
        LAPTOP,
        SSH,
        ([192, 0, 2, 66], 40_000).into(),
        Pair::SERVER_V4.into(),
    );
    scene.send(&partial.unwrap()[..7]).unwrap();
    scene.settle().unwrap();

    let status = scene.status().unwrap();
    assert_eq!(status["attachments"][0]["interface"], "srv0");
    assert_eq!(status["attachments"][0]["mode"], "native");
    assert_eq!(status["kernel"]["knock"], 39);
    assert_eq!(status["daemon"]["accepted"], 2);
    assert_eq!(status["sources_in_progress"], 1);
    assert_eq!(status["doors"][0]["source"], "192.0.2.2");
    assert_eq!(status["doors"][0]["state"], "open");
    assert!(status["doors"][0]["seconds_left"].as_u64().unwrap() > 3500);

    // With the configuration, which names the socket.
    let mut status = scene.pair.server.command(program("knockd").unwrap());
    status
        .args(["status", "--config"])
        .arg(scene.files.path("knockd.toml"));
    let text = status.output().unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("srv0 in native XDP mode"), "{text}");
    assert!(
        text.contains("ssh to 192.0.2.2 (client laptop): open"),
        "{text}"
    );
    assert!(
        text.contains("39  SYNs to the window that became an event"),
        "{text}"
    );
}

#[test]
fn all_tails_receive_every_event_and_a_stuck_one_blocks_none() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    let following = |line: &str| line.contains("following");
    let tails: Vec<_> = [scene.watch("tail").unwrap(), {
        let mut json = scene.watch("tail").unwrap();
        json.arg("--json");
        json
    }]
    .into_iter()
    .map(|command| Running::spawn(command).unwrap())
    .collect();
    for tail in &tails {
        tail.wait_for(following, SOON).unwrap();
    }
    // A subscriber that never reads.
    let mut stuck = UnixStream::connect(scene.files.path("knockd.sock")).unwrap();
    stuck.write_all(b"tail\n").unwrap();
    stuck.read_exact(&mut [0]).unwrap();

    send_knock(&scene);
    let verdict = "accepted door=\"ssh\" client=\"laptop\" source=192.0.2.2 lease=3600s: opening";
    tails[0]
        .wait_for(|line| line.contains(verdict), SOON)
        .unwrap();
    tails[1]
        .wait_for(|line| line.contains("\"event\":\"opening\""), SOON)
        .unwrap();
    let kernel = tails[0].lines();
    let kernel = kernel
        .iter()
        .filter(|line| line.text.contains("kernel: SYN from 192.0.2.2 port 400"));
    assert_eq!(kernel.count(), 16);

    // Far more output than a socket buffer holds.
    for port in (1024..60_000).step_by(16) {
        let source = SocketAddr::new([192, 0, 2, u8::try_from(port % 200).unwrap()].into(), port);
        send_knock_at(&scene, "wrong horse", SSH, source);
    }
    scene.settle().unwrap();
    assert_eq!(scene.status().unwrap()["tails"], 3);
    drop(stuck);
    drop(tails);
}

#[test]
fn the_kernel_log_is_on_only_with_a_tail_subscriber() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    let tail = Running::spawn(scene.watch("tail").unwrap()).unwrap();
    tail.wait_for(|line| line.contains("following"), SOON)
        .unwrap();
    drop(tail);
    // The daemon notices the disconnect asynchronously. After that, the kernel log is off.
    while scene.status().unwrap()["tails"] != 0 {
        std::thread::yield_now();
    }
    send_knock(&scene);
    scene.opened("ssh", client().ip()).unwrap();
    let tail = Running::spawn(scene.watch("tail").unwrap()).unwrap();
    tail.wait_for(|line| line.contains("following"), SOON)
        .unwrap();
    scene.settle().unwrap();
    tail.wait_for(|line| line.contains("accepted"), SOON)
        .unwrap();
    let first = tail.lines()[1].text.clone();
    assert!(first.contains("kernel: SYN from 192.0.2.250"), "{first}");
}

#[test]
fn the_control_socket_is_for_root_and_refuses_invalid_commands() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    let socket = scene.files.path("knockd.sock");
    let metadata = fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    assert_eq!(metadata.uid(), geteuid().as_raw());
    for nonsense in [
        &b"open 192.0.2.7 ssh\n"[..],
        b"\xff\xff\n",
        &[b'x'; 100_000],
    ] {
        let mut stream = UnixStream::connect(&socket).unwrap();
        // The daemon may close the connection during the write.
        let _ = stream.write_all(nonsense);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty());
    }
    scene.status().unwrap();
    // A second daemon on the same socket.
    let mut second = knockd(&scene.pair, &scene.files).unwrap();
    let second = second.args(["--iface", "lo"]).output().unwrap();
    assert!(
        fails_with(&second, "another knockd listens on"),
        "{second:?}"
    );
    scene.status().unwrap();
}

/// Whether the program failed with a single line on standard error that contains `part`.
fn fails_with(output: &Output, part: &str) -> bool {
    let error = String::from_utf8_lossy(&output.stderr);
    let sentences = error
        .lines()
        .filter(|line| line.starts_with("knockd: "))
        .count();
    output.status.code() == Some(1) && sentences == 1 && error.contains(part)
}

#[test]
fn start_errors_are_a_single_line() {
    knock_tests::needs_bpf!();
    let scene = Scene::new().unwrap();
    let files = Files::new(CONFIGURATION).unwrap();
    let start = |interface: &str| {
        let mut command = knockd(&scene.pair, &files).unwrap();
        command.args(["--iface", interface]).output().unwrap()
    };
    let output = start("srv0");
    assert!(
        fails_with(&output, "another XDP program, `knock_xdp` with id ")
            && fails_with(
                &output,
                ", is attached to srv0, and knockd does not replace it"
            ),
        "{output:?}"
    );
    assert!(
        fails_with(&output, "ip link set dev srv0 xdp off"),
        "{output:?}"
    );
    scene
        .pair
        .server
        .ip("tuntap add dev tun0 mode tun")
        .unwrap();
    let by_xdp = "interfaces = [{ name = \"tun0\", attach = \"xdp\" }]\n";
    let by_xdp = Files::new(&format!("{by_xdp}{CONFIGURATION}")).unwrap();
    let output = knockd(&scene.pair, &by_xdp).unwrap().output().unwrap();
    assert!(
        fails_with(&output, "`tun0` carries no Ethernet frames"),
        "{output:?}"
    );

    let mut unprivileged = scene
        .pair
        .server
        .unprivileged_command(program("knockd").unwrap());
    unprivileged.args(["tap", "--iface", "srv0"]);
    let output = unprivileged.output().unwrap();
    assert!(fails_with(&output, "needs root"), "{output:?}");

    let mut status = scene.watch("status").unwrap();
    let output = status.args(["--socket", "/nowhere/knockd.sock"]).output();
    assert!(
        output.unwrap().status.code() == Some(2),
        "an option given twice is refused"
    );
    let mut status = scene.pair.server.command(program("knockd").unwrap());
    let output = status
        .args(["status", "--socket", "/nowhere/knockd.sock"])
        .output()
        .unwrap();
    assert!(
        fails_with(&output, "no running knockd answers at /nowhere/knockd.sock"),
        "{output:?}"
    );
}

#[test]
fn an_invalid_configuration_attaches_nothing() {
    knock_tests::needs_bpf!();
    let pair = Pair::new().unwrap();
    let files = Files::new(&CONFIGURATION.replace("[9]", "[1, 2, 3, 4]")).unwrap();
    for arguments in [
        &["--iface", "srv0"][..],
        &["--iface", "srv0", "--lines", "-"],
    ] {
        let mut command = knockd(&pair, &files).unwrap();
        let output = command.args(arguments).output().unwrap();
        assert!(!output.status.success());
    }
    let mut check = pair.server.command(program("knockd").unwrap());
    check
        .args(["check", "--config"])
        .arg(files.path("knockd.toml"));
    let output = check.output().unwrap();
    let place = format!(
        "{}:25: sequence: door `backup` has",
        files.path("knockd.toml").display()
    );
    assert!(fails_with(&output, &place), "{output:?}");

    let good = Files::new(CONFIGURATION).unwrap();
    let mut check = pair.server.command(program("knockd").unwrap());
    check
        .args(["check", "--config"])
        .arg(good.path("knockd.toml"));
    assert!(check.output().unwrap().status.success());
}

#[test]
fn generic_mode_is_used_and_logged_without_driver_support() {
    knock_tests::needs_bpf!();
    let pair = Pair::new().unwrap();
    let files = Files::new(CONFIGURATION).unwrap();
    // The loopback driver does not support native mode; srv0 does.
    let mut command = knockd(&pair, &files).unwrap();
    command.args(["--iface", "lo", "--iface", "srv0"]);
    let knockd = Running::spawn(command).unwrap();
    knockd
        .wait_for(
            |line| line.contains("attached to lo in generic XDP mode"),
            SOON,
        )
        .unwrap();
    knockd
        .wait_for(
            |line| line.contains("attached to srv0 in native XDP mode"),
            SOON,
        )
        .unwrap();
    let mut knock = pair.server.command(program("knock").unwrap());
    knock.args(["--classic", "--sequence", "1,2,3,4", "--passphrase-file"]);
    knock.arg(files.path("laptop.passphrase"));
    assert!(knock.arg("::1").output().unwrap().status.success());
    knockd
        .wait_for(
            |line| line.contains("command run door=\"ssh\" source=::1 succeeded"),
            SOON,
        )
        .unwrap();
}

/// A command that runs as another user could type into it. `knockd` is started by a shell, and as the
/// first process of its session.
#[test]
fn a_command_has_neither_the_terminal_nor_open_files_of_the_daemon() {
    knock_tests::needs_bpf!();
    let run = r#"["sh", "-c", "{ true </dev/tty; } 2>/dev/null && echo tty >> {folder}/commands; [ -e /proc/self/fd/9 ] && echo file >> {folder}/commands; echo done >> {folder}/commands"]"#;
    for start in [
        "exec 9</dev/null; \"$@\"; exit 0",
        "exec 9</dev/null; exec \"$@\"",
    ] {
        let (pair, files) = (Pair::new().unwrap(), Files::new(&running(run)).unwrap());
        let mut command = pair.server.command("setsid");
        command.args(["--ctty", "sh", "-c", start, "sh"]);
        command.arg(program("knockd").unwrap()).arg("--config");
        command.arg(files.path("knockd.toml"));
        command.args(["--iface", Pair::SERVER_INTERFACE]);
        let terminal = Terminal::spawn(command, 160, 50).unwrap();
        let shows = |wanted: &'static str| {
            let shows = |text: &str| text.contains(wanted);
            terminal.wait_for(shows, SOON).unwrap();
        };
        shows("listening on srv0");
        let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
        let knock = classic(LAPTOP, SSH, client(), Pair::SERVER_V4.into()).unwrap();
        for frame in &knock {
            sender.send(&frame.bytes().unwrap()).unwrap();
        }
        shows("command run");
        assert_eq!(files.commands(), ["done"], "{start}");
    }
}
