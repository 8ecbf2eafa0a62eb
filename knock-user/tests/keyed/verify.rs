//! Tests `--verify` with a port that opens, one that stays closed, and one that is open.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use knock_common::protocol::{door::DoorTag, lease::RequestedLease};

use crate::{
    door::{Port, Receiver, request},
    program::{Home, syn_key, text},
};

/// `knock` with the client's keys, on the ports of `receiver`.
fn knock(home: &Home, receiver: &Receiver) -> Command {
    let mut knock = home.knock(&["--base", &receiver.base()]);
    knock.args(home.keys());
    knock
}

#[test]
fn a_port_that_opens_late_gets_fresh_knocks() {
    let (home, mut receiver, port) = (Home::new(), Receiver::open(), Port::closed());
    let verify = port.name();
    let mut child = knock(&home, &receiver)
        .args(["--copies=1", "--for=1m", "--timeout=30s"])
        .args(["--verify", &verify, "127.0.0.1", "ssh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    let (first, second) = (receiver.knock(), receiver.knock());
    assert_ne!(first, second);
    for block in [first, second] {
        let request = request(&syn_key(), &block);
        assert_eq!(request.door, DoorTag::of("ssh"));
        let minute = RequestedLease::of(Duration::from_secs(60)).unwrap();
        assert_eq!(Ok(request.lease), minute.try_into());
    }
    let _open = port.open();

    let mut message = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut message)
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert!(
        message.starts_with("knocked on 127.0.0.1 (2 times, ") || message.contains("(3 times, "),
        "{message}"
    );
    assert!(
        message.ends_with(&format!("; {verify} answers\n")),
        "{message}"
    );
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
    let (home, receiver, port) = (Home::new(), Receiver::open(), Port::closed());
    let verify = port.name();
    let started = Instant::now();
    let output = knock(&home, &receiver)
        .args(["--verify", &verify, "--timeout=800ms", "127.0.0.1", "ssh"])
        .output()
        .unwrap();
    assert!(started.elapsed() >= Duration::from_millis(800));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "");
    let message = text(&output.stderr);
    // Nothing listens there, which differs from a filtered port.
    let begins =
        format!("knock: {verify} on 127.0.0.1 still refuses connections after a knock in 800ms.");
    assert!(message.starts_with(&begins), "{message}");
    for cause in [
        "check this host's clock",
        "the public key",
        "door `ssh`",
        &receiver.base(),
    ] {
        assert!(message.contains(cause), "{cause}: {message}");
    }
    assert_eq!(message.lines().count(), 1, "{message}");
}

#[test]
fn an_open_port_gets_one_knock_and_a_message() {
    let (home, mut receiver, port) = (Home::new(), Receiver::open(), Port::closed().open());
    let verify = port.name();
    let output = knock(&home, &receiver)
        .args(["--verify", &verify, "127.0.0.1", "ssh"])
        .output()
        .unwrap();
    assert!(output.status.success());
    assert_eq!(text(&output.stderr), "");
    let message = text(&output.stdout);
    assert!(
        message.starts_with(&format!("{verify} answered before the knock")),
        "{message}"
    );
    request(&syn_key(), &receiver.knock());
}

/// Both addresses are used if `localhost` has both; the port answers on one of them.
#[test]
fn one_of_two_families_is_enough() {
    let (home, mut receiver, port) = (Home::new(), Receiver::open(), Port::closed().open());
    let verify = port.name();
    let output = knock(&home, &receiver)
        .args(["--verify", &verify, "localhost", "ssh"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("knocked on 127.0.0.1"));
    request(&syn_key(), &receiver.knock());
}

#[test]
fn a_classic_knock_can_be_verified_too() {
    let (home, receiver, port) = (Home::new(), Receiver::open(), Port::closed().open());
    let (file, verify) = (home.secret("passphrase", "open sesame"), port.name());
    let args = ["--classic", "--sequence=1,2", "--passphrase-file", &file];
    let output = home
        .knock(&args)
        .args(["--base", &receiver.base(), "--verify", &verify, "127.0.0.1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_server_without_an_address_is_not_waited_for() {
    let home = Home::new();
    let output = home
        .knock(&["-6", "--verify=tcp/22", "127.0.0.1", "ssh"])
        .args(home.keys())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text(&output.stderr),
        "knock: 127.0.0.1 has no IPv6 address; try it without -6\n"
    );
}
