//! The exporter's listening address and HTTP interface.

use std::{
    net::{TcpListener, TcpStream},
    process::Output,
};

use knock_tests::{
    link::Pair,
    scene::{CONFIGURATION, Files, SOURCE, Scene, program},
};

use super::{LISTEN, Page, ask, configuration};

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn without_the_setting_the_exporter_is_off() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(CONFIGURATION).unwrap();
    let refused = scene.pair.server.run(|| Ok(TcpStream::connect(LISTEN)));
    let error = refused.unwrap().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[test]
fn only_get_and_head_of_the_metrics_page_are_served() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(&configuration()).unwrap();
    for (request, status) in [
        ("GET /", "404 Not Found"),
        ("GET /metrics/", "404 Not Found"),
        ("DELETE /metrics", "405 Method Not Allowed"),
    ] {
        let (head, _) = ask(
            &scene.pair,
            &format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n"),
        );
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status}\r\n")),
            "{head}"
        );
    }
    let (head, body) = ask(&scene.pair, "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "");
}

/// The address of a VPN that is not up yet, for example.
#[test]
fn an_address_that_is_not_there_yet_keeps_no_gate_from_coming_up() {
    knock_tests::needs_bpf!();
    const LATER: &str = "192.0.2.77";
    let listen = LISTEN.to_string();
    let configuration = configuration().replace(&listen, &format!("{LATER}:9811"));
    let scene = Scene::with(&configuration).unwrap();
    scene
        .logged(&[
            "ERROR",
            &format!("metrics.listen: this host has no address {LATER}"),
            "trying again in 1 s; everything else is unaffected",
        ])
        .unwrap();
    let link = scene.pair.server.ip("-details link show dev srv0").unwrap();
    assert!(link.contains("xdp"), "{link}");
    super::knock(&scene, SOURCE);

    let address = format!("address add {LATER}/32 dev lo");
    scene.pair.server.ip(&address).unwrap();
    scene
        .logged(&[&format!("metrics at http://{LATER}:9811/metrics")])
        .unwrap();
    scene
        .logged(&["the metrics exporter is started again"])
        .unwrap();
}

#[test]
fn an_occupied_port_is_tried_again() {
    knock_tests::needs_bpf!();
    let pair = Pair::new().unwrap();
    let other = pair.server.run(|| Ok(TcpListener::bind(LISTEN)?)).unwrap();
    let scene = Scene::on(pair, &configuration()).unwrap();
    let expected = format!(
        "metrics.listen: {LISTEN} is in use: `ss -ltnp` shows the program that listens there"
    );
    scene.logged(&["ERROR", &expected]).unwrap();
    drop(other);
    scene
        .logged(&["the metrics exporter is started again"])
        .unwrap();
    Page::scrape(&scene.pair);
}

#[test]
fn a_non_loopback_address_causes_a_warning() {
    knock_tests::needs_bpf!();
    let warning = "anyone who can connect to 0.0.0.0:9811 can read the names of doors";
    let open = configuration().replace("127.0.0.1:9811", "0.0.0.0:9811");
    let scene = Scene::with(&open).unwrap();
    scene.logged(&["WARN", warning]).unwrap();
    for (configuration, warned) in [(open, true), (configuration(), false)] {
        let files = Files::new(&configuration).unwrap();
        let mut check = scene.pair.server.command(program("knockd").unwrap());
        check
            .args(["check", "--config"])
            .arg(files.path("knockd.toml"));
        let output = check.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(stderr(&output).contains(warning), warned, "{output:?}");
    }
}
