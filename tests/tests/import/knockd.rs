//! The configuration of the knockd by Judd Vinet.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output},
};

use knock_tests::{
    link::Pair,
    scene::{SOON, program},
};

use crate::site::{Site, error, expect_success};

/// One command that needs a shell, and one that does not. `{folder}` is replaced with the test's
/// folder.
const SOURCE: &str = "\
[options]
\tUseSyslog
\tInterface = srv0

[greeter]
\tSequence      = 7000,8000:udp,9000:tcp
\tTCPFlags      = syn,!ack
\tStart_Command = echo '%IP% came, 100%' >> {folder}/visitors
\tCmd_Timeout   = 1
\tStop_Command  = cp {folder}/visitors {folder}/gone-%IP%
";

fn site(source: &str) -> Site {
    Site::new(&[("knockd.conf", source)])
}

fn import(site: &Site) -> Command {
    let mut import = site.knockd(&["import-knockd"]);
    import.arg(site.path("knockd.conf"));
    import
}

fn import_to_file(site: &Site) -> Output {
    let output = import(site).arg("--output").arg(site.config()).output();
    output.unwrap()
}

/// The two steps of docs/migration.md. Returns the client's import command.
fn set_up(site: &Site) -> String {
    expect_success(&import_to_file(site));
    let mut add = site.knockd(&[
        "client",
        "add",
        "laptop",
        "--server",
        "192.0.2.1",
        "--no-reload",
    ]);
    expect_success(&add.arg("--config").arg(site.config()).output().unwrap())
}

#[test]
fn an_import_is_valid_once_a_client_is_added() {
    let site = site(SOURCE);
    let printed = expect_success(&import(&site).output().unwrap());
    let line = set_up(&site);
    assert!(line.starts_with("knock import 'knock://laptop@192.0.2.1:61000?server="));
    // The file has the text that was printed, the server key and the client.
    let written = fs::read_to_string(site.config()).unwrap();
    for line in printed.lines() {
        assert!(written.contains(line), "{line}\n{written}");
    }
    assert!(!written.contains("8000"), "{written}");
    let mode = fs::metadata(site.config()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let mut check = site.knockd(&["check"]);
    let report = expect_success(&check.arg("--config").arg(site.config()).output().unwrap());
    assert!(
        report.contains("clients: laptop, doors: greeter"),
        "{report}"
    );
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let site = site(SOURCE);
    set_up(&site);
    let before = fs::read(site.config()).unwrap();
    let report = error(&import_to_file(&site));
    assert!(
        report.contains("exists already and is left unchanged"),
        "{report}"
    );
    assert_eq!(fs::read(site.config()).unwrap(), before);
}

#[test]
fn syntax_errors_are_reported_with_their_line() {
    let site = site("[options]\nnonsense\n\n[a]\nsequence 7000,8000\n");
    let output = import_to_file(&site);
    assert!(output.stdout.is_empty());
    let report = error(&output);
    for place in ["knockd.conf:2: ", "knockd.conf:5: "] {
        assert!(report.contains(place), "{report}");
    }
    assert!(!report.contains("7000"), "{report}");
    assert!(!site.config().exists());
}

#[test]
fn an_imported_door_opens_and_closes() {
    knock_tests::needs_bpf!();
    let site = site(SOURCE);
    let line = set_up(&site);
    let pair = Pair::new().unwrap();
    let knockd = site.start(&pair);

    let uri = line.trim_end().strip_prefix("knock import ").unwrap();
    let uri = uri.trim_matches('\'');
    for arguments in [
        &["import", uri, "--name", "home"][..],
        &["-4", "home", "greeter"],
    ] {
        let mut knock = pair.client.command(program("knock").unwrap());
        knock.env("HOME", site.path("home"));
        knock.env("XDG_CONFIG_HOME", site.path("home/.config"));
        expect_success(&knock.args(arguments).output().unwrap());
    }
    let closed = |line: &str| line.contains("closed door=\"greeter\"");
    knockd.wait_for(closed, SOON).unwrap();
    let client = Pair::CLIENT_V4;
    let gone = fs::read_to_string(site.path(&format!("gone-{client}"))).unwrap();
    assert_eq!(gone, format!("{client} came, 100%\n"));
}
