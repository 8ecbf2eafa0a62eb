use knock_common::gate::{HOST, Mode};

use super::*;

pub(super) const GATE: &str = r#"server_key_file = "server.key"
[[client]]
name = "laptop"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"

[gate]
protect = ["tcp/22", "udp/51820"]
trusted = ["192.0.2.0/24"]
udp_idle = "90s"
pin_dir = "/sys/fs/bpf/knockd"

[[door]]
name = "ssh"
open = ["tcp/22"]
close = ["logger", "closed"]

[[door]]
name = "vpn"
open = ["udp/51820", "tcp/22"]
ipv6_prefix = 64
run = ["logger", "open"]
"#;

fn ports(names: &[&str]) -> Vec<Port> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

/// The configuration with `good` replaced.
fn with(good: &str, bad: &str) -> String {
    assert!(GATE.contains(good), "{good}");
    GATE.replacen(good, bad, 1)
}

#[test]
fn reads_a_gate_and_what_opens_it() {
    let config = Folder::new().load(GATE).unwrap();
    let gate = config.gate.as_ref().unwrap();
    assert_eq!(gate.rules.protect, ports(&["tcp/22", "udp/51820"]));
    assert_eq!(gate.rules.trusted, ["192.0.2.0/24".parse().unwrap()]);
    assert_eq!(gate.rules.mode, Mode::Enforce);
    assert_eq!(gate.rules.udp_idle, Duration::from_secs(90));
    assert_eq!(gate.rules.prefix_lens.as_array(), [HOST, 64, 0, 0]);
    assert_eq!(gate.rules.max_leases.get(), 16_384);
    assert_eq!(gate.on_stop, OnStop::Closed);
    assert_eq!(gate.pin_dir, Path::new("/sys/fs/bpf/knockd"));
    let [ssh, vpn] = &config.doors[..] else {
        panic!("two doors");
    };
    assert_eq!(ssh.opening.ports, ports(&["tcp/22"]));
    assert_eq!(ssh.opening.ipv6_prefix, HOST);
    assert!(ssh.run.is_none() && ssh.close.is_some());
    assert_eq!(vpn.opening.ports, ports(&["udp/51820", "tcp/22"]));
    assert_eq!(vpn.opening.ipv6_prefix, 64);
    assert!(vpn.run.is_some() && vpn.close.is_none());
}

#[test]
fn a_gate_needs_only_ports() {
    let text = with("trusted = [\"192.0.2.0/24\"]\nudp_idle = \"90s\"\n", "");
    let text = text.replace("pin_dir = \"/sys/fs/bpf/knockd\"\n", "");
    let gate = Folder::new().load(&text).unwrap().gate.unwrap();
    assert!(gate.rules.trusted.is_empty());
    assert_eq!(gate.rules.udp_idle, Duration::from_secs(120));
    assert_eq!(gate.pin_dir, Path::new(DEFAULT_PIN_DIR));

    let text = with(
        "udp_idle",
        "mode = \"observe\"\non_stop = \"open\"\nudp_idle",
    );
    let text = format!("limits.leases = 7\n{text}");
    let gate = Folder::new().load(&text).unwrap().gate.unwrap();
    assert_eq!(gate.rules.mode, Mode::Observe);
    assert_eq!(gate.on_stop, OnStop::Open);
    assert_eq!(gate.rules.max_leases.get(), 7);
}

#[test]
fn a_gates_mistakes_name_file_line_and_key() {
    let folder = Folder::new();
    for (good, bad, expected) in [
        (
            "[\"tcp/22\", \"udp/51820\"]\n",
            "[]\n",
            "knockd.toml:7: protect: no port is listed: add one such as \"tcp/22\", or leave [gate] out",
        ),
        (
            "[\"tcp/22\", \"udp/51820\"]\n",
            "[\"tcp/22\", \"22\"]\n",
            "knockd.toml:7: protect: `22` is not a port such as \"tcp/22\" or \"udp/51820\"",
        ),
        (
            "[\"tcp/22\", \"udp/51820\"]\n",
            "[\n  \"tcp/22\",\n  \"udp/51820\",\n  \"tcp/22\",\n]\n",
            "knockd.toml:10: protect: tcp/22 is listed twice",
        ),
        (
            "\"udp/51820\"]\nt",
            "\"udp/51820\", \"tcp/61255\"]\nt",
            "knockd.toml:7: protect: tcp/61255 is in the window (61000 to 61255), which is matched before the gate",
        ),
        (
            "protect = [\"tcp/22\", \"udp/51820\"]\n",
            "",
            "knockd.toml:6: gate: missing field `protect`",
        ),
        (
            "[gate]\n",
            "[gate]\nports = []\n",
            "knockd.toml:7: ports: unknown field `ports`",
        ),
        (
            "\"90s\"",
            "\"500ms\"",
            "knockd.toml:9: udp_idle: 500ms is not between 1s and 1day",
        ),
        (
            "\"90s\"",
            "\"25h\"",
            "knockd.toml:9: udp_idle: 25h is not between 1s and 1day",
        ),
        (
            "\"90s\"",
            "\"1500ms\"",
            "knockd.toml:9: udp_idle: `1500ms` is not a number of whole seconds",
        ),
        (
            "[gate]\n",
            "[limits]\nleases = 1048577\n[gate]\n",
            "knockd.toml:7: leases: 1048577 is not between 1 and 1048576",
        ),
        (
            "udp_idle",
            "mode = \"watch\"\nudp_idle",
            "knockd.toml:9: mode: unknown variant `watch`, expected `enforce` or `observe`",
        ),
        (
            "udp_idle",
            "on_stop = \"stay\"\nudp_idle",
            "knockd.toml:9: on_stop: unknown variant `stay`, expected `closed` or `open`",
        ),
        (
            "open = [\"tcp/22\"]\nclose = [\"logger\", \"closed\"]",
            "close = [\"logger\", \"closed\"]",
            "knockd.toml:13: name: door `ssh` has neither `run` nor `open`: add one of them",
        ),
        (
            "open = [\"tcp/22\"]",
            "open = []",
            "knockd.toml:14: open: no port is listed: add one such as \"tcp/22\", or leave `open` out",
        ),
        (
            "\"udp/51820\", \"tcp/22\"]",
            "\"udp/51820\", \"udp/51820\"]",
            "knockd.toml:19: open: udp/51820 is listed twice",
        ),
        (
            "\"udp/51820\", \"tcp/22\"]",
            "\"udp/51820\", \"udp/22\"]",
            "knockd.toml:19: open: udp/22 is not closed in the first place: add it to `gate.protect`",
        ),
        (
            "open = [\"udp/51820\", \"tcp/22\"]\n",
            "",
            "knockd.toml:19: ipv6_prefix: this only affects `open`, which door `vpn` does not have",
        ),
        (
            "ipv6_prefix = 64",
            "ipv6_prefix = 31",
            "knockd.toml:20: ipv6_prefix: a prefix has 32 to 128 bits",
        ),
        (
            "ipv6_prefix = 64",
            "ipv6_prefix = 129",
            "knockd.toml:20: ipv6_prefix: a prefix has 32 to 128 bits",
        ),
    ] {
        let error = folder.error(&with(good, bad));
        assert!(
            error.starts_with(expected),
            "{good} -> {bad}:\n{error}\nnot\n{expected}"
        );
    }
}

#[test]
fn a_door_opens_nothing_without_a_gate() {
    let start = GATE.find("[gate]").unwrap();
    let end = GATE.find("[[door]]").unwrap();
    let text = format!("{}{}", &GATE[..start], &GATE[end..]);
    let error = Folder::new().error(&text);
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 2, "{error}");
    for (line, place) in lines
        .iter()
        .zip(["knockd.toml:8: open: ", "knockd.toml:13: open: "])
    {
        assert!(
            line.starts_with(&format!(
                "{place}there is no [gate] that keeps a port closed"
            )),
            "{error}"
        );
    }
}

#[test]
fn the_window_is_closed_to_the_gate_and_its_neighbours_are_not() {
    let folder = Folder::new();
    let protecting = |port: &str| {
        let text = with("\"udp/51820\"]\nt", &format!("\"udp/51820\", {port:?}]\nt"));
        folder.load(&format!("window.base = 40000\n{text}"))
    };
    for port in ["tcp/39999", "tcp/40256", "udp/40000", "tcp/61000"] {
        assert!(protecting(port).is_ok(), "{port}");
    }
    for port in ["tcp/40000", "tcp/40255"] {
        let error = format!("{:#}", protecting(port).unwrap_err());
        assert!(error.contains("40000 to 40255"), "{error}");
    }
}

#[test]
fn doors_have_four_prefix_lengths_between_them() {
    let folder = Folder::new();
    // Two lengths exist already: the default, 128, and 64.
    let with_doors = |prefixes: &[&str]| {
        let doors = prefixes.iter().enumerate().map(|(index, prefix)| {
            format!("[[door]]\nname = \"door{index}\"\nopen = [\"tcp/22\"]\n{prefix}\n")
        });
        format!("{GATE}{}", doors.collect::<String>())
    };
    let four = with_doors(&[
        "ipv6_prefix = 56",
        "ipv6_prefix = 48",
        "ipv6_prefix = 56",
        "",
    ]);
    let gate = folder.load(&four).unwrap().gate.unwrap();
    assert_eq!(gate.rules.prefix_lens.as_array(), [HOST, 64, 56, 48]);
    assert_eq!(
        folder.error(&with_doors(&[
            "ipv6_prefix = 56",
            "ipv6_prefix = 48",
            "ipv6_prefix = 40"
        ])),
        "knockd.toml:33: ipv6_prefix: the doors have more than 4 different values of `ipv6_prefix` (default: 128): use one of the others here"
    );
    // The fifth length may be the default.
    let fifth = with_doors(&[
        "ipv6_prefix = 56",
        "ipv6_prefix = 48",
        "ipv6_prefix = 40",
        "",
    ]);
    let fifth = fifth.replacen(
        "open = [\"tcp/22\"]\n",
        "open = [\"tcp/22\"]\nipv6_prefix = 64\n",
        1,
    );
    let error = folder.error(&fifth);
    assert!(
        error.starts_with("knockd.toml:37: open: the doors have more than 4"),
        "{error}"
    );
    // A door without `open` has no prefix length.
    let command = "[[door]]\nname = \"command\"\nrun = [\"true\"]\n";
    let text = with_doors(&["ipv6_prefix = 56", "ipv6_prefix = 48", "ipv6_prefix = 40"]);
    let text = text.replacen(
        "open = [\"tcp/22\"]\n",
        "open = [\"tcp/22\"]\nipv6_prefix = 64\n",
        1,
    );
    assert!(folder.load(&format!("{text}{command}")).is_ok());
}

#[test]
fn a_thousand_networks_may_be_trusted() {
    let folder = Folder::new();
    let trusting = |count: u32| {
        let networks: String = (0..count)
            .map(|index| format!("    \"10.{}.{}.0/24\",\n", index / 256, index % 256))
            .collect();
        with("[\"192.0.2.0/24\"]", &format!("[\n{networks}]"))
    };
    let config = folder.load(&trusting(1024)).unwrap();
    assert_eq!(config.gate.unwrap().rules.trusted.len(), 1024);
    // The first excess entry is 1025 lines below the key.
    assert_eq!(
        folder.error(&trusting(1025)),
        "knockd.toml:1033: trusted: at most 1024 networks can be trusted: merge some"
    );
}

#[test]
fn pins_have_a_folder_of_their_own_in_a_bpf_filesystem() {
    let folder = Folder::new();
    let pinning = |path: &str| {
        folder
            .load(&with("/sys/fs/bpf/knockd", path))
            .map(|config| config.gate.unwrap().pin_dir)
    };
    for path in [
        "/sys/fs/bpf/knockd",
        "/sys/fs/bpf/net/knockd",
        // Another bpf filesystem may be mounted anywhere.
        "/run/bpf.d/knockd",
        "/sys/fs/bpf.d",
    ] {
        assert_eq!(pinning(path).unwrap(), Path::new(path));
    }
    for (path, expected) in [
        ("knockd", "`knockd` is not an absolute path"),
        ("", "`` is not an absolute path"),
        (
            "/sys/fs/bpf",
            "`/sys/fs/bpf` is shared with other programs: use a directory below it",
        ),
        (
            "/sys/fs/bpf/",
            "`/sys/fs/bpf` is shared with other programs: use a directory below it",
        ),
        (
            "/sys/fs/bpf/knockd.d",
            "`/sys/fs/bpf/knockd.d` contains a dot",
        ),
        (
            "/sys/fs/bpf/a.b/knockd",
            "`/sys/fs/bpf/a.b/knockd` contains a dot",
        ),
        (
            "/sys/fs/bpf/../knockd",
            "`/sys/fs/bpf/../knockd` contains a dot",
        ),
    ] {
        let error = folder.error(&with("/sys/fs/bpf/knockd", path));
        let expected = format!("knockd.toml:10: pin_dir: {expected}");
        assert!(error.starts_with(&expected), "{error}\nnot\n{expected}");
    }
}

#[test]
fn what_nobody_reaches_is_known() {
    let folder = Folder::new();
    let unreachable = |text: &str| folder.load(text).unwrap().unreachable_ports();
    let more = with(
        "\"udp/51820\"]\nt",
        "\"udp/51820\", \"tcp/5432\", \"udp/22\"]\nt",
    );
    assert_eq!(unreachable(&more), []);
    let untrusted = |text: &str| text.replace("[\"192.0.2.0/24\"]", "[]");
    assert_eq!(
        unreachable(&untrusted(&more)),
        ports(&["tcp/5432", "udp/22"])
    );
    assert_eq!(unreachable(&untrusted(GATE)), []);
    assert_eq!(unreachable(GOOD), []);
}
