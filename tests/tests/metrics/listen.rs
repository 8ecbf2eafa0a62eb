//! The exporter's listening address and HTTP interface.

use std::{
    net::{TcpListener, TcpStream},
    process::Output,
};

use knock_tests::{
    link::Pair,
    scene::{CONFIGURATION, Files, Scene, knockd, program},
};

use super::{LISTEN, ask, configuration};

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

#[test]
fn an_occupied_port_is_reported_before_anything_is_attached() {
    knock_tests::needs_bpf!();
    let pair = Pair::new().unwrap();
    let files = Files::new(&configuration()).unwrap();
    let _other = pair.server.run(|| Ok(TcpListener::bind(LISTEN)?)).unwrap();
    for dry_run in [&[][..], &["--dry-run"]] {
        let mut knockd = knockd(&pair, &files).unwrap();
        let output = knockd
            .args(["--iface", "srv0"])
            .args(dry_run)
            .output()
            .unwrap();
        let errors = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        let expected = format!(
            "knockd: metrics.listen: {LISTEN} is in use: `ss -ltnp` shows the program that listens there"
        );
        assert!(errors.contains(&expected), "{errors}");
        assert!(!errors.contains("attached"), "{errors}");
        let link = pair.server.ip("-details link show dev srv0").unwrap();
        assert!(!link.contains("xdp"), "{link}");
    }
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
