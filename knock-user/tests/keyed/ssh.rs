//! Tests `knock` in a `Match exec` of ssh. With `-G`, ssh evaluates the criteria, which runs
//! `knock`, and makes no connection.

use std::{
    fs,
    process::{Command, Output},
};

use crate::{
    door::{Port, Receiver, request},
    program::{Home, SERVER, syn_key, text},
};

/// The output of `ssh -G home` with `criterion` and a knock that verifies `verify`; `None` if
/// there is no ssh.
fn ssh(home: &Home, criterion: &str, receiver: &Receiver, verify: &str) -> Option<Output> {
    let (knock, key, base) = (Home::program().display(), home.key_file(), receiver.base());
    let config = home.path("ssh_config");
    fs::write(
        &config,
        format!(
            "Match {criterion} exec \"{knock} --key-file {key} --server-key {SERVER} --base {base} --verify {verify} --timeout 1s 127.0.0.1 ssh\"\n    Port 2222\n"
        ),
    )
    .unwrap();
    let mut ssh = Command::new("ssh");
    home.enter(&mut ssh);
    match ssh
        .arg("-F")
        .arg(&config)
        .args(["-T", "-G", "home"])
        .output()
    {
        Err(error) => {
            let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty());
            assert!(!ci, "no ssh: {error}");
            eprintln!("skipped: no ssh ({error})");
            None
        }
        Ok(output) => Some(output),
    }
}

#[test]
fn a_knock_that_opens_is_not_heard_of() {
    for criterion in ["host home", "originalhost home"] {
        let (home, mut receiver, port) = (Home::new(), Receiver::open(), Port::closed().open());
        let Some(output) = ssh(&home, criterion, &receiver, &port.name()) else {
            return;
        };
        assert_eq!(text(&output.stderr), "");
        let message = text(&output.stdout);
        assert!(message.contains("\nport 2222\n"), "{message}");
        assert!(!message.contains("knocked on"), "{message}");
        request(&syn_key(), &receiver.knock());
    }
}

#[test]
fn a_knock_that_opens_nothing_is_reported_and_does_not_match() {
    let (home, receiver, port) = (Home::new(), Receiver::open(), Port::closed());
    let Some(output) = ssh(&home, "host home", &receiver, &port.name()) else {
        return;
    };
    assert!(text(&output.stdout).contains("\nport 22\n"));
    let message = text(&output.stderr);
    assert!(message.contains("knock: tcp/"), "{message}");
}
