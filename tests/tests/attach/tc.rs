//! Traffic control on an interface with Ethernet headers.

use std::fs;

use knock_tests::{
    link::Pair,
    needs_bpf,
    other_xdp::OtherXdp,
    process::Signal,
    scene::{SOON, Scene, program},
    service::Greeter,
};
use serde_json::json;

use crate::{admits, configuration, knock, refuses, wait_for_status};

const BY_TC: &str = "{ name = \"srv0\", attach = \"tc\" }";

fn scene() -> (Scene, Greeter) {
    let scene = Scene::with(&configuration(BY_TC, "")).unwrap();
    let ssh = Greeter::start(&scene.pair.server, 22).unwrap();
    (scene, ssh)
}

#[test]
fn the_gate_of_tc_admits_the_knocker_alone() {
    needs_bpf!();
    let (scene, _ssh) = scene();
    assert_eq!(scene.status().unwrap()["attachments"][0]["mode"], "tc");
    refuses(&scene.pair.client, Pair::SERVER_V4, 22);
    refuses(&scene.pair.client, Pair::SERVER_V6, 22);
    knock(&scene, Pair::CLIENT_V4.into());
    admits(&scene.pair.client, Pair::SERVER_V4, 22);
    refuses(&scene.pair.client, Pair::SERVER_V6, 22);
    knock(&scene, Pair::CLIENT_V6.into());
    admits(&scene.pair.client, Pair::SERVER_V6, 22);
    wait_for_status(&scene, "/attachments/0/traffic", "seen");
}

#[test]
fn the_gate_of_tc_outlives_the_daemon_and_is_taken_over() {
    needs_bpf!();
    let (mut scene, _ssh) = scene();
    knock(&scene, Pair::CLIENT_V4.into());
    scene.knockd.signal(Signal::SIGKILL).unwrap();
    scene.knockd.wait(SOON).unwrap();
    admits(&scene.pair.client, Pair::SERVER_V4, 22);
    refuses(&scene.pair.client, Pair::SERVER_V6, 22);
    scene.restart().unwrap();
    scene
        .logged(&["attached to srv0 in tc mode, replacing the program of an earlier knockd"])
        .unwrap();
    admits(&scene.pair.client, Pair::SERVER_V4, 22);
    refuses(&scene.pair.client, Pair::SERVER_V6, 22);
    scene.stop().unwrap();
    refuses(&scene.pair.client, Pair::SERVER_V6, 22);
    let mut detach = scene.pair.server.command(program("knockd").unwrap());
    let detach = detach.arg("detach").arg("--config");
    let output = detach
        .arg(scene.files.path("knockd.toml"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("detached from srv0"), "{output:?}");
    admits(&scene.pair.client, Pair::SERVER_V6, 22);
}

#[test]
fn a_reload_replaces_the_program_of_tc() {
    needs_bpf!();
    let (scene, _ssh) = scene();
    knock(&scene, Pair::CLIENT_V4.into());
    scene.knockd.signal(Signal::SIGHUP).unwrap();
    scene.logged(&["reloaded the configuration"]).unwrap();
    admits(&scene.pair.client, Pair::SERVER_V4, 22);
    refuses(&scene.pair.client, Pair::SERVER_V6, 22);
    knock(&scene, Pair::CLIENT_V6.into());
}

/// Without a moment in which the port is open: the new program is attached before the old one is
/// detached.
#[test]
fn a_reload_changes_how_the_program_is_attached() {
    needs_bpf!();
    let scene = Scene::with(&configuration("\"srv0\"", "")).unwrap();
    let _ssh = Greeter::start(&scene.pair.server, 22).unwrap();
    knock(&scene, Pair::CLIENT_V4.into());
    let mut interfaces = "[\"srv0\"]".to_owned();
    let by_xdp = BY_TC.replace("tc", "xdp");
    for (next, mode) in [(BY_TC, "tc"), (&by_xdp, "native"), ("\"srv0\"", "native")] {
        let next = format!("[{next}]");
        let path = scene.files.path("knockd.toml");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen(&interfaces, &next, 1)).unwrap();
        interfaces = next;
        let mark = scene.knockd.mark();
        scene.knockd.signal(Signal::SIGHUP).unwrap();
        scene
            .knockd
            .wait_for_after(
                mark,
                |line| line.contains("reloaded the configuration"),
                SOON,
            )
            .unwrap();
        let status = scene.status().unwrap();
        assert_eq!(
            status["attachments"].as_array().unwrap().len(),
            1,
            "{status}"
        );
        assert_eq!(status["attachments"][0]["mode"], mode);
        admits(&scene.pair.client, Pair::SERVER_V4, 22);
        refuses(&scene.pair.client, Pair::SERVER_V6, 22);
    }
}

/// Another XDP program stays, and the gate is there nevertheless.
#[test]
fn where_xdp_is_taken_tc_is_used() {
    needs_bpf!();
    let pair = Pair::new().unwrap();
    let _other = OtherXdp::attach(&pair.server, "srv0").unwrap();
    let scene = Scene::on(pair, &configuration("\"srv0\"", "")).unwrap();
    scene
        .logged(&[
            "attached to srv0 in tc mode, because another XDP program, `somebody_elses` with id",
        ])
        .unwrap();
    let _ssh = Greeter::start(&scene.pair.server, 22).unwrap();
    refuses(&scene.pair.client, Pair::SERVER_V4, 22);
    knock(&scene, Pair::CLIENT_V4.into());
    admits(&scene.pair.client, Pair::SERVER_V4, 22);
    let details = scene.pair.server.ip("-details link show srv0").unwrap();
    assert!(details.contains("xdp"), "{details}");
    assert_eq!(scene.status().unwrap()["refused"], json!([]));
}
