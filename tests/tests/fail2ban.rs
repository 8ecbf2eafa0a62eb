//! The fail2ban filter against the log of the real daemon: which sources are banned, and which are
//! not.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::{
    env, fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use knock_common::protocol::syn::{Binding, Time40};
use knock_tests::{
    frame::Frame,
    link::Pair,
    process::{Running, Stream},
    scene::{
        Files, PAIR_CONFIGURATION, PHONE, SERVER_PUBLIC, SOON, SOURCE, SSH, STRANGER, Scene,
        classic, knockd, program, request, seal, syns, unbound,
    },
    wire::Sender,
};

/// Replays recorded knocks, over both families.
const REPLAYER: [&str; 2] = ["192.0.2.77", "2001:db8::77"];
/// Sends a knock that is bound to another address.
const FORWARDER: &str = "192.0.2.78";
/// A client whose clock is wrong.
const LATE: &str = "192.0.2.21";

/// The programs of fail2ban: those of the system, or those that `cargo xtask test` has unpacked.
struct Fail2ban(Option<PathBuf>);

impl Fail2ban {
    /// Returns `None` if fail2ban is missing, so that the test is skipped. Panics if `CI` is set.
    fn find() -> Option<Self> {
        let has = |folder: PathBuf| folder.join("fail2ban-regex").is_file();
        if env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(has) {
            return Some(Self(None));
        }
        let test = env::current_exe().unwrap();
        let unpacked = test.ancestors().nth(3).unwrap().join("tools/fail2ban");
        if has(unpacked.join("usr/bin")) {
            return Some(Self(Some(unpacked)));
        }
        let refusal = "fail2ban is missing: `cargo xtask test` unpacks it";
        let required = env::var_os("CI").is_some_and(|ci| !ci.is_empty());
        assert!(!required, "{refusal}");
        eprintln!("skipped: {refusal}");
        None
    }

    fn command(&self, name: &str) -> Command {
        let Some(unpacked) = &self.0 else {
            return Command::new(name);
        };
        let mut command = Command::new("python3");
        // Bytecode written by root could not be removed by the user who built the tests.
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        command.env("PYTHONPATH", unpacked.join("usr/lib/python3/dist-packages"));
        command.arg(unpacked.join("usr/bin").join(name));
        command
    }

    fn configuration(&self) -> PathBuf {
        let root = self.0.clone().unwrap_or_else(|| "/".into());
        root.join("etc/fail2ban")
    }

    /// The hosts that the filter finds in `log`, in the order of the lines.
    fn banned(&self, log: &str, mode: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log");
        fs::write(&file, log).unwrap();
        let mut regex = self.command("fail2ban-regex");
        regex.arg("-c").arg(self.configuration());
        regex.args(["-o", "ip"]).arg(&file);
        let filter = shipped("filter.d/knockd-xdp.conf");
        regex.arg(format!("{}[mode={mode}]", filter.display()));
        let output = regex.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let hosts = String::from_utf8(output.stdout).unwrap();
        hosts.lines().map(str::to_owned).collect()
    }
}

fn shipped(name: &str) -> PathBuf {
    let fail2ban = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../knock-user/packaging/fail2ban"
    );
    Path::new(fail2ban).join(name).canonicalize().unwrap()
}

/// A daemon on the server with additional arguments. Its locale and time zone must not affect the
/// log.
fn scene(arguments: &[&str]) -> Scene {
    let pair = Pair::new().unwrap();
    // Shorter than the spread of a knock's copies, so that the last ones arrive as a new sequence.
    let configuration = format!("sequence_timeout = \"1s\"\n{PAIR_CONFIGURATION}");
    let files = Files::new(&configuration).unwrap();
    let mut command = knockd(&pair, &files).unwrap();
    command.args(["--iface", Pair::SERVER_INTERFACE]);
    command.args(arguments);
    command.envs([("TZ", "Asia/Kathmandu"), ("LC_ALL", "ar_EG.UTF-8")]);
    let knockd = Running::spawn(command).unwrap();
    knockd
        .wait_for(|line| line.contains("listening on srv0"), SOON)
        .unwrap();
    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    Scene {
        pair,
        files,
        knockd,
        sender,
    }
}

fn from(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 40_000)
}

fn accepted(scene: &Scene, source: IpAddr) {
    scene.logged(&[&format!("source={source} lease=")]).unwrap();
}

fn refused(scene: &Scene, source: IpAddr, reason: &str) {
    let line = format!("refused source={source} reason={reason} ");
    scene.logged(&[&line]).unwrap();
}

/// Genuine knocks, including duplicates and reordering by the network.
fn genuine_knocks(scene: &Scene) {
    for server in ["192.0.2.1", "2001:db8::1"] {
        let mut knock = scene.pair.client.command(program("knock").unwrap());
        knock.args([
            "--client",
            "laptop",
            "--server-key",
            SERVER_PUBLIC,
            "--key-file",
        ]);
        knock.arg(scene.files.path("laptop.key"));
        knock.args(["--copies", "8", "--delay", "15ms", server, "ssh"]);
        let output = knock.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    accepted(scene, Pair::CLIENT_V4.into());
    accepted(scene, Pair::CLIENT_V6.into());
    // Two clients behind one NAT address, whose copies alternate, in reverse order.
    let nat = SocketAddr::new([192, 0, 2, 30].into(), 20_000);
    let knocks = [0, 100].map(|further| {
        let source = SocketAddr::new(nat.ip(), nat.port() + further);
        let block = seal(&unbound().unwrap()).unwrap();
        syns(block, source, Pair::SERVER_V4.into())
    });
    for _ in 0..3 {
        for knock in &knocks {
            scene.send(knock.iter().rev()).unwrap();
        }
    }
    accepted(scene, nat.ip());
}

/// Sends a SYN to every port of the window.
fn scan(scene: &Scene) {
    for port in 61_000..=61_255 {
        let frame = Frame::syn(STRANGER, (Pair::SERVER_V4, port).into());
        scene.send([&frame]).unwrap();
    }
}

fn attacks(scene: &Scene) {
    let block = seal(&unbound().unwrap()).unwrap();
    scene.send_block(block, SOURCE).unwrap();
    for source in REPLAYER.map(from) {
        scene.send_block(block, source).unwrap();
        refused(scene, source.ip(), "replayed");
    }
    let bound = seal(&request("ssh", SOURCE.ip()).unwrap()).unwrap();
    scene.send_block(bound, from(FORWARDER)).unwrap();
    refused(scene, from(FORWARDER).ip(), "elsewhere");
    let mut late = request("ssh", from(LATE).ip()).unwrap();
    late.binding = Binding::Unbound;
    late.time = Time40::from_unix_ms(1_000_000_000_000);
    scene.send_block(seal(&late).unwrap(), from(LATE)).unwrap();
    refused(scene, from(LATE).ip(), "stale");
}

/// The log of the daemon after all of these packets.
fn log(scene: &Scene) -> String {
    genuine_knocks(scene);
    scan(scene);
    attacks(scene);
    // The ring buffer is ordered: when this knock is accepted, all earlier packets are processed.
    let witness = from("192.0.2.250");
    scene
        .send(&classic(PHONE, SSH, witness, Pair::SERVER_V4.into()).unwrap())
        .unwrap();
    accepted(scene, witness.ip());
    scene.knockd.text(Stream::Err)
}

fn expect_bans(fail2ban: &Fail2ban, log: &str) {
    assert_eq!(fail2ban.banned(log, "normal"), REPLAYER, "{log}");
    let [v4, v6] = REPLAYER;
    assert_eq!(
        fail2ban.banned(log, "aggressive"),
        [v4, v6, FORWARDER, LATE],
        "{log}"
    );
}

/// `log` as a syslog daemon writes it to a file.
fn through_syslog(log: &str) -> String {
    let lines = log.lines();
    lines
        .map(|line| format!("Nov  9 09:08:07 host knockd[1234]: {line}\n"))
        .collect()
}

#[test]
fn replays_are_banned_and_clients_and_scans_are_not() {
    knock_tests::needs_bpf!();
    let Some(fail2ban) = Fail2ban::find() else {
        return;
    };
    // The harness starts the daemon with the debug log, which contains every refusal: the harder
    // case.
    let log = log(&scene(&[]));
    for noise in ["reason=bad-parity", "reason=copy"] {
        assert!(log.contains(noise), "{log}");
    }
    expect_bans(&fail2ban, &log);
    expect_bans(&fail2ban, &through_syslog(&log));
    // The format of fail2ban's systemd backend: the message without timestamp and level.
    let messages: String = log
        .lines()
        .filter_map(|line| line.split_once("Z  INFO ").or(line.split_once("Z DEBUG ")))
        .map(|(_, message)| format!("2026-11-09T09:08:07+0000 host knockd[1234]: {message}\n"))
        .collect();
    expect_bans(&fail2ban, &messages);
}

#[test]
fn the_json_log_leads_to_the_same_bans() {
    knock_tests::needs_bpf!();
    let Some(fail2ban) = Fail2ban::find() else {
        return;
    };
    let log = log(&scene(&["--log-format", "json"]));
    expect_bans(&fail2ban, &log);
    expect_bans(&fail2ban, &through_syslog(&log));
}

#[test]
fn forged_log_text_bans_no_address() {
    let Some(fail2ban) = Fail2ban::find() else {
        return;
    };
    let forged = "refused source=192.0.2.66 reason=replayed: this knock was";
    let time = "2026-11-09T09:08:07.123456Z ";
    let log = [
        format!("{time} INFO run of door \"ssh\" for 192.0.2.7: {forged}"),
        format!("{time} INFO run of door \"ssh\" for 192.0.2.7: knockd: {forged}"),
        format!("{time}ERROR {forged}"),
        format!("{time} INFO accepted door=\"{forged}\" client=\"{forged}\" source=192.0.2.7 lease=30s: opening"),
        format!("Nov  9 09:08:07 host sshd[1]: {forged}"),
        format!("{time} INFO refused source=example.org reason=replayed: this knock was"),
        format!("{time} INFO 12 more refusals from 192.0.2.66 in the last minute"),
        format!(r#"{{"time":"2026-11-09T09:08:07.123Z","level":"info","message":"run of door: {forged}"}}"#),
        format!(r#"{{"time":"2026-11-09T09:08:07.123Z","level":"info","message":"x","client":"\",\"message\":\"{forged}"}}"#),
    ]
    .join("\n");
    assert!(fail2ban.banned(&log, "aggressive").is_empty(), "{log}");
    // The same text as a genuine log line is found.
    let genuine = format!("{time} INFO {forged}\n");
    assert_eq!(fail2ban.banned(&genuine, "normal"), ["192.0.2.66"]);
}

/// The reasons that each mode counts, and one of each kind that no mode counts.
#[test]
fn each_mode_counts_its_reasons_only() {
    let Some(fail2ban) = Fail2ban::find() else {
        return;
    };
    let aggressive = [
        "replayed",
        "elsewhere",
        "unbound",
        "for-other",
        "not-allowed",
        "stale",
        "expired",
        "old-key",
        "outside",
        "rate",
    ];
    let neither = [
        "bad-parity",
        "forged",
        "invalid",
        "repeated",
        "copy",
        "scattered",
    ];
    let reasons = aggressive.iter().chain(&neither).enumerate();
    let log: String = reasons
        .map(|(host, reason)| {
            format!("2026-11-09T09:08:07.123456Z  INFO refused source=192.0.2.{host} reason={reason} client=\"laptop\": x\n")
        })
        .collect();
    assert_eq!(fail2ban.banned(&log, "normal"), ["192.0.2.0"]);
    let hosts = (0..aggressive.len()).map(|host| format!("192.0.2.{host}"));
    assert_eq!(
        fail2ban.banned(&log, "aggressive"),
        hosts.collect::<Vec<_>>()
    );
}

#[test]
fn the_jail_is_disabled_by_default() {
    let Some(fail2ban) = Fail2ban::find() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let configuration = folder.path().join("fail2ban");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(fail2ban.configuration())
        .arg(&configuration)
        .status()
        .unwrap();
    assert!(copied.success());
    // Debian enables the sshd jail, whose log may be missing here.
    let _ = fs::remove_file(configuration.join("jail.d/defaults-debian.conf"));
    for file in ["filter.d/knockd-xdp.conf", "jail.d/knockd-xdp.conf"] {
        fs::copy(shipped(file), configuration.join(file)).unwrap();
    }
    let commands = || {
        let mut client = fail2ban.command("fail2ban-client");
        let output = client.arg("-c").arg(&configuration).arg("-d").output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(!commands().contains("knockd-xdp"));
    fs::write(
        configuration.join("jail.local"),
        "[knockd-xdp]\nenabled = true\n",
    )
    .unwrap();
    let commands = commands();
    for command in [
        "['add', 'knockd-xdp', 'systemd']",
        "['set', 'knockd-xdp', 'maxretry', 3]",
        "['start', 'knockd-xdp']",
    ] {
        assert!(commands.contains(command), "{command}: {commands}");
    }
}
