//! Doors that the administrator opens and closes manually.

use std::{
    fs::{self, Permissions},
    io::{Read as _, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        net::UnixStream,
    },
};

use knock_tests::{needs_bpf, process::copy_program, scene::program};

use crate::{Gated, KNOCKER, STRANGER};

#[test]
fn a_door_is_opened_listed_and_closed_manually() {
    needs_bpf!();
    let gated = Gated::new();
    assert_eq!(gated.ask(&["leases"]), "no door is open\n");
    gated.ask(&["open", "192.0.2.66", "ssh", "--for", "10m"]);
    gated.admits(STRANGER);
    gated.refuses(KNOCKER);
    let leases = gated.leases();
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[0]["source"], "192.0.2.66");
    assert_eq!(leases[0]["ports"][0], "tcp/22");
    assert_eq!(leases[0]["client"], "by-hand");
    assert!((590..=600).contains(&leases[0]["seconds_left"].as_u64().unwrap()));
    let text = gated.ask(&["leases"]);
    assert!(
        text.starts_with("ssh to 192.0.2.66 (client by-hand): open, "),
        "{text}"
    );
    gated.ask(&["close", "192.0.2.66", "ssh"]);
    gated.logged(&["closed door=\"ssh\" source=192.0.2.66"]);
    gated.refuses(STRANGER);
    assert_eq!(gated.leases().len(), 0);
}

#[test]
fn closing_an_address_closes_all_its_doors_and_no_others() {
    needs_bpf!();
    let gated = Gated::new();
    gated.knock(&[1, 2, 3, 4], KNOCKER);
    gated.knock(&[7], KNOCKER);
    gated.knock(&[1, 2, 3, 4], STRANGER);
    gated.scene.opened("all", KNOCKER).unwrap();
    let answer = gated.ask(&["close", "192.0.2.2"]);
    assert!(answer.contains("ssh") && answer.contains("all"), "{answer}");
    gated.logged(&["closed door=\"all\""]);
    gated.refuses(KNOCKER);
    gated.admits(STRANGER);
}

#[test]
fn invalid_commands_are_reported() {
    needs_bpf!();
    let gated = Gated::new();
    for (arguments, expected) in [
        (
            &["open", "192.0.2.2", "cellar"][..],
            "there is no door \"cellar\"",
        ),
        (
            &["close", "192.0.2.2", "cellar"],
            "there is no door \"cellar\"",
        ),
        (&["close", "192.0.2.2"], "no such door is open to 192.0.2.2"),
        (&["open", "192.0.2", "ssh"], "invalid IP address"),
        (&["open", "192.0.2.2", "ssh", "--for", "0s"], "at least one"),
        (
            &["open", "192.0.2.2", "ssh", "--for", "300ms"],
            "whole number of seconds",
        ),
        (&["open", "192.0.2.2", "ssh", "--for", "3years"], "365 days"),
    ] {
        let output = gated.knockd(arguments);
        assert!(!output.status.success(), "{arguments:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

/// Commands sent to the socket directly, without the checks of `knockd open`: an excessive duration
/// must not crash the daemon.
#[test]
fn an_excessive_lease_duration_is_refused() {
    needs_bpf!();
    let gated = Gated::new();
    for seconds in ["0", "31536001", "18446744073709551615"] {
        let mut socket = UnixStream::connect(gated.scene.files.path("knockd.sock")).unwrap();
        writeln!(socket, "open\t192.0.2.66\tssh\t{seconds}").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("365 days"), "{seconds}: {answer}");
    }
    assert_eq!(gated.ask(&["leases"]), "no door is open\n");
}

/// The daemon's group may use `status` and `tail`; only root may open and close doors.
#[test]
fn only_root_opens_and_closes_doors() {
    needs_bpf!();
    let gated = Gated::new();
    let files = &gated.scene.files;
    // As if an administrator had made the socket accessible to every user.
    for (path, mode) in [("", 0o755), ("knockd.sock", 0o666)] {
        fs::set_permissions(files.path(path), Permissions::from_mode(mode)).unwrap();
    }
    // A copy owned by the user nobody: an unprivileged command runs as the owner of its file.
    let knockd = files.path("knockd");
    copy_program(&program("knockd").unwrap(), &knockd).unwrap();
    chown(&knockd, Some(65534), Some(65534)).unwrap();
    let ask = |arguments: &[&str]| {
        let mut nobody = gated.scene.pair.server.unprivileged_command(&knockd);
        nobody.args(arguments).arg("--socket");
        let output = nobody.arg(files.path("knockd.sock")).output().unwrap();
        (
            output.status.success(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    assert_eq!(ask(&["status"]), (true, String::new()));
    for arguments in [
        &["leases"][..],
        &["open", "192.0.2.66", "ssh"],
        &["close", "192.0.2.66"],
    ] {
        let (succeeded, error) = ask(arguments);
        assert!(!succeeded && error.contains("only root"), "{error}");
    }
    gated.refuses(STRANGER);
}
