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

/// Asserts that `knockd check` accepts the configuration, and returns its standard error.
fn warnings(mut command: Command) -> String {
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
    let warnings = || {
        let mut knockd = host.command(program("knockd").unwrap());
        knockd.args(["check", "--config"]);
        knockd.arg(files.path("knockd.toml"));
        warnings(knockd)
    };
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
