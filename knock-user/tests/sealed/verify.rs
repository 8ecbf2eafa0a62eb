//! `--verify`, against a port that opens, one that does not, and one that was open.

use std::{
    io::Read as _,
    process::Stdio,
    time::{Duration, Instant},
};

use knock_common::protocol::sealed::{DoorTag, RequestedLease};

use crate::{
    door::{Ears, Port, request},
    program::{Home, sealed_key, text},
};

#[test]
fn a_port_that_opens_late_is_knocked_for_with_fresh_blocks() {
    let (home, mut ears, port) = (Home::new(), Ears::open(), Port::closed());
    let (key, verify) = (home.key_file(), port.name());
    let mut child = home
        .knock(&["--key-file", &key, "--base", &ears.base(), "--copies=1"])
        .args([
            "--for=1m",
            "--verify",
            &verify,
            "--timeout=30s",
            "127.0.0.1",
            "ssh",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    let (first, second) = (ears.knock(), ears.knock());
    assert_ne!(first, second);
    for block in [first, second] {
        let request = request(&sealed_key(), &block);
        assert_eq!(request.door, DoorTag::of("ssh"));
        let minute = RequestedLease::of(Duration::from_secs(60)).unwrap();
        assert_eq!(request.lease, minute);
    }
    let _open = port.open();

    let mut said = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert!(
        said.starts_with("knocked on 127.0.0.1 (2 times, ") || said.contains("(3 times, "),
        "{said}"
    );
    assert!(said.ends_with(&format!("; {verify} answers\n")), "{said}");
    let mut notes = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut notes)
        .unwrap();
    let again = format!("knock: {verify} on 127.0.0.1 does not answer yet: knocking again (2)\n");
    assert!(notes.starts_with(&again), "{notes}");
}

#[test]
fn a_port_that_stays_closed_is_a_failure_with_its_likely_causes() {
    let (home, ears, port) = (Home::new(), Ears::open(), Port::closed());
    let (key, verify) = (home.key_file(), port.name());
    let started = Instant::now();
    let output = home.run(&[
        "--key-file",
        &key,
        "--base",
        &ears.base(),
        "--verify",
        &verify,
        "--timeout=800ms",
        "127.0.0.1",
        "ssh",
    ]);
    assert!(started.elapsed() >= Duration::from_millis(800));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let said = text(&output.stderr);
    // Nobody listens there, which is not as if it was filtered.
    let begins =
        format!("knock: {verify} on 127.0.0.1 still refuses connections, after a knock in 800ms.");
    assert!(said.starts_with(&begins), "{said}");
    for cause in [
        "check this host's clock",
        "the key",
        "door `ssh`",
        &ears.base(),
    ] {
        assert!(said.contains(cause), "{cause}: {said}");
    }
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn a_port_that_was_open_is_knocked_for_once_and_said_so() {
    let (home, mut ears, port) = (Home::new(), Ears::open(), Port::closed().open());
    let (key, verify) = (home.key_file(), port.name());
    let output = home.run(&[
        "--key-file",
        &key,
        "--base",
        &ears.base(),
        "--verify",
        &verify,
        "127.0.0.1",
        "ssh",
    ]);
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
    let said = text(&output.stdout);
    assert!(
        said.starts_with(&format!("{verify} answered before the knock")),
        "{said}"
    );
    request(&sealed_key(), &ears.knock());
}

/// Both are knocked on, where `localhost` has both, and the port answers on one of them.
#[test]
fn one_of_two_families_is_enough() {
    let (home, mut ears, port) = (Home::new(), Ears::open(), Port::closed().open());
    let (key, verify) = (home.key_file(), port.name());
    let args = ["--key-file", &key, "--base", &ears.base()];
    let output = home
        .knock(&args)
        .args(["--verify", &verify, "localhost", "ssh"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("knocked on 127.0.0.1"));
    request(&sealed_key(), &ears.knock());
}

#[test]
fn a_classic_knock_can_be_verified_too() {
    let (home, ears, port) = (Home::new(), Ears::open(), Port::closed().open());
    let (file, verify) = (home.secret("passphrase", "open sesame"), port.name());
    let args = ["--classic", "--sequence=1,2", "--passphrase-file", &file];
    let output = home
        .knock(&args)
        .args(["--base", &ears.base(), "--verify", &verify, "127.0.0.1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_server_without_an_address_is_not_waited_for() {
    let home = Home::new();
    let key = home.key_file();
    let output = home.run(&[
        "--key-file",
        &key,
        "-6",
        "--verify=tcp/22",
        "127.0.0.1",
        "ssh",
    ]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "knock: 127.0.0.1 has no IPv6 address; try it without -6\n"
    );
}
