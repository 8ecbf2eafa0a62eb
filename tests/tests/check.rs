//! `knockd check` with the real program: warnings about the ssh session that it runs in, and about
//! the firewall.

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::process::{Command, Output};

use knock_tests::{
    needs_bpf,
    netns::Namespace,
    scene::{Files, program},
};

const GATED: &str = r#"
user = "games"
server_key_file = "server.key"

[[client]]
name = "laptop"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"

[gate]
protect = ["tcp/2222", "udp/51820"]
trusted = ["198.51.100.0/24"]

[[door]]
name = "ssh"
open = ["tcp/2222"]
"#;

const STRANGER: &str = "192.0.2.5 50022 192.0.2.1 2222";
const TRUSTED: &str = "198.51.100.5 50022 192.0.2.1 2222";

/// The start of the warning about the clock of the machine that runs the test.
const CLOCK: &str = "the clock of this host is not synchronised";

/// Asserts that `knockd check` accepts the configuration, and returns its standard error without the
/// warning about the clock.
fn warnings(command: Command) -> String {
    let all = all_warnings(command);
    let others = all.lines().filter(|line| !line.contains(CLOCK));
    others.map(|line| format!("{line}\n")).collect()
}

fn all_warnings(mut command: Command) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{stderr}");
    let stdout = String::from_utf8(stdout).unwrap();
    assert!(stdout.contains(": valid. "), "{stdout}");
    stderr
}

fn check(files: &Files) -> Command {
    let mut check = Command::new(program("knockd").unwrap());
    check.args(["check", "--config"]);
    check.arg(files.path("knockd.toml"));
    check
}

#[test]
fn a_session_that_the_gate_would_refuse_is_reported() {
    let files = Files::new(GATED).unwrap();
    let mut knockd = check(&files);
    knockd.env("SSH_CONNECTION", STRANGER);
    let warning = warnings(knockd);
    assert!(
        warning
            .contains("this ssh session comes from 192.0.2.5 to tcp/2222, which the gate protects"),
        "{warning}"
    );
    assert!(warning.contains("the next one needs a knock"), "{warning}");
}

#[test]
fn a_session_from_a_trusted_network_causes_no_warning() {
    let files = Files::new(GATED).unwrap();
    let mut knockd = check(&files);
    knockd.env("SSH_CONNECTION", TRUSTED);
    assert_eq!(warnings(knockd), "");
}

#[test]
fn the_session_is_found_in_the_environment_of_an_ancestor() {
    let files = Files::new(GATED).unwrap();
    for (connection, warned) in [(STRANGER, true), (TRUSTED, false)] {
        let mut shell = Command::new("sh");
        // The trailing `exit` keeps two shells between, of which the inner one has an empty
        // environment: without it each shell would exec its last command.
        shell.args([
            "-c",
            "env -i \"$0\" -c '\"$0\" \"$@\"; exit $?' \"$@\"; exit $?",
            "/bin/sh",
        ]);
        let knockd = check(&files);
        shell.arg(knockd.get_program()).args(knockd.get_args());
        shell.env("SSH_CONNECTION", connection);
        let warning = warnings(shell);
        assert_eq!(
            warning.contains("this ssh session comes from 192.0.2.5"),
            warned,
            "{warning}"
        );
    }
}

#[test]
fn an_unreachable_protected_port_is_reported() {
    let files = Files::new(&GATED.replace("\"198.51.100.0/24\"", "")).unwrap();
    let mut knockd = check(&files);
    // A session on a port that is not protected.
    knockd.env("SSH_CONNECTION", "192.0.2.5 50022 192.0.2.1 22");
    let warning = warnings(knockd);
    let expected =
        "udp/51820: the gate admits no address: no door opens it and no network is trusted";
    assert!(warning.contains(expected), "{warning}");
    assert_eq!(warning.lines().count(), 1, "{warning}");
}

#[test]
fn a_rule_that_redirects_a_port_to_a_protected_one_is_reported() {
    needs_bpf!();
    let host = Namespace::new().unwrap();
    let files = Files::new(GATED).unwrap();
    let warnings = || warnings(check_on(&host, &files));
    assert!(!warnings().contains("redirects"));
    for rule in [
        "nft add table inet nat; add chain inet nat in { type nat hook prerouting priority -100; }; \
         add rule inet nat in tcp dport { 80, 443 } redirect to :2222",
        "iptables -t nat -A PREROUTING -p udp --dport 53 -j REDIRECT --to-ports 51820",
    ] {
        let (program, arguments) = rule.split_once(' ').unwrap();
        let mut firewall = host.command(program);
        match program {
            "nft" => firewall.arg(arguments),
            _ => firewall.args(arguments.split(' ')),
        };
        assert!(firewall.status().unwrap().success(), "{rule}");
    }
    let warnings = warnings();
    for warning in [
        "tcp/2222: a firewall rule redirects port 80, 443 to it",
        "udp/51820: a firewall rule redirects port 53 to it",
    ] {
        assert!(warnings.contains(warning), "{warnings}");
    }
}

/// `knockd check` in the network of `host`.
fn check_on(host: &Namespace, files: &Files) -> Command {
    let mut knockd = host.command(program("knockd").unwrap());
    knockd.args(["check", "--config"]);
    knockd.arg(files.path("knockd.toml"));
    knockd
}

#[test]
fn a_door_behind_a_firewall_that_drops_its_port_is_reported() {
    needs_bpf!();
    let host = Namespace::new().unwrap();
    let files = Files::new(GATED).unwrap();
    let warned = |policy: &str, rules: &str| {
        let text = format!(
            "flush ruleset; table inet filter {{ chain input {{ type filter hook input priority 0; \
             policy {policy}; ct state established,related accept; iif lo accept; {rules} }}; }}"
        );
        let nft = host.command("nft").arg(&text).output().unwrap();
        assert!(nft.status.success(), "{nft:?}");
        let warnings = warnings(check_on(&host, &files));
        let warning = "tcp/2222: door \"ssh\" opens it in the gate, and the firewall (chain `input` \
                       of table `filter`) still drops new connections to it";
        warnings.contains(warning)
    };
    assert!(warned("drop", "tcp dport { 22, 80 } accept;"));
    assert!(warned(
        "accept",
        "meta l4proto icmp accept; tcp dport 2000-3000 reject;"
    ));
    for passing in [
        "tcp dport 2222 accept;",
        "ip saddr 192.0.2.0/24 accept;",
        "tcp dport { 2000-3000 } ct state new accept;",
    ] {
        assert!(!warned("drop", passing), "{passing}");
    }
    assert!(!warned("accept", "tcp dport 22 drop;"));
}

#[test]
fn an_interface_without_an_address_is_reported() {
    needs_bpf!();
    let host = Namespace::new().unwrap();
    host.ip("link add ext0 type veth peer name ext1").unwrap();
    host.ip("link set dev ext0 up").unwrap();
    let files = Files::new(&GATED.replace("user =", "interfaces = [\"ext0\"]\nuser =")).unwrap();
    let warned = || warnings(check_on(&host, &files)).contains("ext0: it has no IP address");
    assert!(warned());
    host.ip("address add 192.0.2.1/24 dev ext0").unwrap();
    assert!(!warned());
}

#[test]
fn a_name_that_no_interface_has_is_reported_and_an_alias_is_told_apart() {
    needs_bpf!();
    let host = Namespace::new().unwrap();
    host.ip("link add ext0 type veth peer name ext1").unwrap();
    host.ip("link set dev ext0 alias uplink").unwrap();
    host.ip("link property add dev ext0 altname outside")
        .unwrap();
    for (name, expected) in [
        ("ext2", Some("`ip link` lists the interfaces")),
        (
            "uplink",
            Some("an alias, which is only a description, of `ext0`"),
        ),
        ("outside", None),
    ] {
        let interfaces = format!("interfaces = [\"{name}\"]\nuser =");
        let files = Files::new(&GATED.replace("user =", &interfaces)).unwrap();
        let warned = warnings(check_on(&host, &files));
        let start = format!("there is no interface `{name}`: waiting for it (");
        let hint = warned.split_once(&start).map(|(_, hint)| hint);
        assert_eq!(hint.is_some(), expected.is_some(), "{warned}");
        let expected = expected.unwrap_or_default();
        assert!(hint.unwrap_or_default().contains(expected), "{warned}");
    }
}

#[test]
fn a_client_whose_knocks_are_never_accepted_is_reported() {
    needs_bpf!();
    let limits = "expires = 2020-01-01T00:00:00Z\nfrom = [\"224.0.0.0/4\"]\n\n[gate]";
    let files = Files::new(&GATED.replacen("\n[gate]", limits, 1)).unwrap();
    let host = Namespace::new().unwrap();
    let warned = warnings(check_on(&host, &files));
    for expected in [
        "they have expired: \"laptop\". ",
        "no packet of another host can come: 224.0.0.0/4 of client \"laptop\"",
    ] {
        assert!(warned.contains(expected), "{warned}");
    }
}

/// The clock is that of the machine, so what is right depends on it.
#[test]
fn a_clock_that_nothing_keeps_right_is_reported() {
    let files = Files::new(GATED).unwrap();
    let mut adjtimex = Command::new("python3");
    adjtimex.args([
        "-c",
        "import ctypes; b = (ctypes.c_long * 64)(); f = ctypes.CDLL(None).adjtimex; \
         r = f(b); \
         status = ctypes.c_int.from_buffer(b, 5 * ctypes.sizeof(ctypes.c_long)).value; \
         print(r >= 0 and status & 0x40 != 0 and b[3] >= 16000000)",
    ]);
    let output = adjtimex.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let is_unsynchronised = output.stdout.starts_with(b"True");
    let warned = all_warnings(check(&files)).contains(CLOCK);
    assert_eq!(warned, is_unsynchronised);
    // A classic knock contains no time.
    let classic = GATED
        .replace("server_key_file = \"server.key\"\n", "")
        .replace(
            "public_key = \"j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8\"",
            "protocol = \"classic\"\npassphrase_file = \"laptop.passphrase\"",
        );
    let classic = classic.replace("name = \"ssh\"", "name = \"ssh\"\nsequence = [1, 2, 3, 4]");
    let files = Files::new(&classic).unwrap();
    assert!(!all_warnings(check(&files)).contains(CLOCK));
}

#[test]
fn an_error_is_reported_with_file_and_line() {
    let files = Files::new(&GATED.replace("[\"tcp/2222\", ", "[\"tcp/22\", ")).unwrap();
    let output = check(&files).output().unwrap();
    assert!(!output.status.success());
    let warning = String::from_utf8(output.stderr).unwrap();
    let expected = "knockd.toml:15: open: tcp/2222 is not closed in the first place";
    assert!(warning.contains(expected), "{warning}");
    assert!(output.stdout.is_empty());
}
