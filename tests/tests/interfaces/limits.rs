//! More interfaces than the daemon may have open files.

use knock_tests::{
    link::Pair,
    needs_bpf,
    process::Running,
    scene::{CONFIGURATION, Files, SOON, program},
};
use serde_json::json;

use crate::{Watched, source};

/// The interfaces of a host with more of them than the daemon may have open files.
const MANY: usize = 61;

/// How many of them are removed again.
const FREED: usize = 24;

/// A limit of open files that leaves some for interfaces, besides those that are kept free.
const TOO_FEW: &str = "174:174";

/// A daemon on all interfaces whose limit of open files is `limit` of prlimit(1).
fn with_limit(limit: &str) -> Watched {
    let pair = Pair::new().unwrap();
    for number in 0..MANY / 2 {
        let add = format!("link add one{number} type veth peer name other{number}");
        pair.server.ip(&add).unwrap();
    }
    let gate = "[gate]\nprotect = [\"tcp/22\"]\n";
    let files = Files::new(&format!("{CONFIGURATION}\n{gate}")).unwrap();
    let knockd = start_with_limit(&pair, &files, limit);
    Watched {
        pair,
        files,
        knockd,
    }
}

fn start_with_limit(pair: &Pair, files: &Files, limit: &str) -> Running {
    let mut command = pair.server.command("prlimit");
    command.arg(format!("--nofile={limit}"));
    command.arg(program("knockd").unwrap());
    command.args(["--iface", "any", "--config"]);
    command.arg(files.path("knockd.toml"));
    let knockd = Running::spawn(command).unwrap();
    knockd
        .wait_for(|line| line.contains("listening on"), SOON)
        .unwrap();
    knockd
}

impl Watched {
    /// Removes interfaces that the daemon is attached to, and waits until it is attached to those that
    /// had to wait.
    fn free_files(&self) {
        let status = self.status();
        let refused = status["refused"].as_array().unwrap();
        assert!(refused.len() <= FREED, "{refused:?}");
        let mark = self.knockd.mark();
        for number in 0..FREED / 2 {
            self.pair
                .server
                .ip(&format!("link delete one{number}"))
                .unwrap();
        }
        for refused in refused {
            let name = refused["interface"].as_str().unwrap();
            let attached = format!("attached to {name} ");
            self.knockd
                .wait_for_after(mark, |line| line.contains(&attached), SOON)
                .unwrap();
        }
    }
}

#[test]
fn the_soft_limit_of_open_files_is_raised() {
    needs_bpf!();
    let watched = with_limit("64:4096");
    assert_eq!(watched.attached().len(), MANY);
    assert_eq!(watched.status()["refused"], json!([]));
}

/// Each of the others is an error of its own, and tried again.
#[test]
fn a_daemon_without_files_for_all_interfaces_runs_on_some() {
    needs_bpf!();
    let watched = with_limit(TOO_FEW);
    let status = watched.status();
    let refused = status["refused"].as_array().unwrap();
    let attached = watched.attached().len();
    assert!(attached > 10, "{attached}");
    assert_eq!(refused.len(), MANY - attached);
    assert_eq!(status["daemon"]["interfaces_refused"], refused.len());
    let reason = refused[0]["reason"].as_str().unwrap();
    assert!(
        reason.contains("`LimitNOFILE` in the systemd unit"),
        "{reason}"
    );
    watched.knock_from("cli0", source(31));
    watched.free_files();
    assert_eq!(watched.attached().len(), MANY - FREED);
}

/// The gate of the earlier daemon stays in force where there are no files for the new one.
#[test]
fn a_restart_without_files_for_all_interfaces_opens_none() {
    needs_bpf!();
    let mut watched = with_limit("4096:4096");
    watched.stop();
    let programs = |watched: &Watched| {
        let links = watched.pair.server.ip("-details link show").unwrap();
        links.matches("prog/xdp").count()
    };
    assert_eq!(programs(&watched), MANY);
    watched.knockd = start_with_limit(&watched.pair, &watched.files, TOO_FEW);
    assert!(watched.attached().len() < MANY);
    assert_eq!(programs(&watched), MANY);
    watched.free_files();
    assert_eq!(watched.attached().len(), MANY - FREED);
    watched.stop();
    assert_eq!(programs(&watched), MANY - FREED);
}
