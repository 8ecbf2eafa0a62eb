//! `ssh` knocks by itself. Asked for its configuration (`-G`), it decides what matches, which
//! runs the knock, and connects to nobody.

use std::{
    fs,
    process::{Command, Output},
};

use crate::{
    door::{Ears, Port, request},
    program::{Home, sealed_key, text},
};

/// What `ssh -G home` says if it knocks with `verify` in `criterion`; none without ssh.
fn ssh(home: &Home, criterion: &str, ears: &Ears, verify: &str) -> Option<Output> {
    let (knock, key, base) = (Home::program().display(), home.key_file(), ears.base());
    let config = home.path("ssh_config");
    fs::write(
        &config,
        format!(
            "Match {criterion} exec \"{knock} --key-file {key} --base {base} --verify {verify} --timeout 1s 127.0.0.1 ssh\"\n    Port 2222\n"
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
        let (home, mut ears, port) = (Home::new(), Ears::open(), Port::closed().open());
        let Some(output) = ssh(&home, criterion, &ears, &port.name()) else {
            return;
        };
        assert_eq!(text(&output.stderr), "");
        let said = text(&output.stdout);
        assert!(said.contains("\nport 2222\n"), "{said}");
        assert!(!said.contains("knocked on"), "{said}");
        request(&sealed_key(), &ears.knock());
    }
}

#[test]
fn a_knock_that_opens_nothing_is_told_and_does_not_match() {
    let (home, ears, port) = (Home::new(), Ears::open(), Port::closed());
    let Some(output) = ssh(&home, "host home", &ears, &port.name()) else {
        return;
    };
    assert!(text(&output.stdout).contains("\nport 22\n"));
    let said = text(&output.stderr);
    assert!(said.contains("knock: tcp/"), "{said}");
}
