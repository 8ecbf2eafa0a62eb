//! The Prometheus exporter of the real daemon: scrapes before and after knocks, promtool's checks
//! and hostile clients.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod hostile;
mod listen;
mod process;
mod promtool;
mod scrape;

use std::{
    collections::BTreeMap,
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
};

use knock_tests::{
    link::Pair,
    scene::{CONFIGURATION, LAPTOP, SOON, SSH, Scene, classic},
};

/// The exporter's address in these tests.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9811);

/// A configuration whose door `ssh` has a lease and commands, with metrics.
fn configuration() -> String {
    let sequence = "sequence = [1, 2, 3, 4]\n";
    let doors = CONFIGURATION.replace(sequence, &format!("{sequence}open = [\"tcp/22\"]\n"));
    format!("{doors}\n[gate]\nprotect = [\"tcp/22\"]\n\n[metrics]\nlisten = \"{LISTEN}\"\n")
}

/// The id of the daemon's exporter, if there is one.
fn exporter(scene: &Scene) -> Option<u32> {
    let id = scene.knockd.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    let mut children = children.split_whitespace();
    let child = children.find(|child| {
        let name = fs::read(format!("/proc/{child}/cmdline"));
        name.is_ok_and(|name| name.starts_with(b"knockd-metrics\0"))
    });
    child.map(|child| child.parse().unwrap())
}

/// Connects to the exporter, which may not have accepted the connection yet.
fn connect(pair: &Pair) -> TcpStream {
    let stream = pair.server.run(|| Ok(TcpStream::connect(LISTEN)?));
    let stream = stream.unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Sends `request` and returns head and body of the response.
fn ask(pair: &Pair, request: &str) -> (String, String) {
    let mut stream = connect(pair);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

/// The result of a scrape.
struct Page {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Page {
    fn scrape(pair: &Pair) -> Self {
        let (head, text) = ask(pair, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            (sample.to_owned(), value.parse().unwrap())
        });
        Self {
            samples: samples.collect(),
            text,
        }
    }

    /// The value of `sample`, a metric name with its labels.
    fn value(&self, sample: &str) -> f64 {
        let value = self.samples.get(sample);
        *value.unwrap_or_else(|| panic!("there is no {sample} in\n{}", self.text))
    }
}

/// Knocks at door `ssh` from `source`.
fn send_knock(scene: &Scene, source: SocketAddr) {
    let knock = classic(LAPTOP, SSH, source, Pair::SERVER_V4.into());
    scene.send(&knock.unwrap()).unwrap();
}

/// Knocks at door `ssh` from `source` and waits until it is open.
fn knock(scene: &Scene, source: SocketAddr) {
    send_knock(scene, source);
    scene.opened("ssh", source.ip()).unwrap();
}
