//! A daemon that was installed somewhere is used: everything that can be wrong with how it was built or
//! installed.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::Command,
};

use knock_tests::{
    link::Pair,
    process::{Running, Signal, Stream, status},
    root::Root,
    scene::{LAPTOP_KEY, LAPTOP_PUBLIC, SERVER_KEY, SERVER_PUBLIC, SOON},
    service::{Greeter, is_admitted},
};

use super::stdout;

/// The capabilities of the systemd unit, which the documentation names for containers.
pub(super) const CAPABILITIES: &str = "+bpf,+kill,+net_admin,+perfmon,+setgid,+setuid,+sys_chroot";

const METRICS: &str = "127.0.0.1:9811";

/// Port 22 is closed but for this address, and for those that knock.
const WITNESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(192, 0, 2, 9);

/// Writes a configuration with a gate, a client and a door to the usual place.
pub(super) fn configure(root: &Root<'_>) {
    let text = format!(
        r#"interfaces = ["srv0"]
server_key_file = "server.key"

[datagram]
port = 62201

[metrics]
listen = "{METRICS}"

[gate]
protect = ["tcp/22"]
trusted = ["{WITNESS}"]

[[client]]
name = "laptop"
public_key = "{LAPTOP_PUBLIC}"

[[door]]
name = "ssh"
open = ["tcp/22"]
for = "10m"
"#
    );
    root.write("etc/knockd/server.key", SERVER_KEY, 0o600)
        .unwrap();
    root.write("etc/knockd/knockd.toml", text, 0o600).unwrap();
}

/// Gives a client its key.
pub(super) fn equip(root: &Root<'_>) {
    root.write("laptop.key", LAPTOP_KEY, 0o600).unwrap();
}

/// Starts the daemon, lets `knock` open a door with SYNs and close it with a datagram, and stops the
/// daemon.
pub(super) fn visit(pair: &Pair, knockd: impl Fn() -> Command, knock: impl Fn() -> Command) {
    pair.add_client_address(WITNESS.into()).unwrap();
    let _service = Greeter::start(&pair.server, 22).unwrap();
    let with = |mut command: Command, arguments: &[&str]| {
        command.args(arguments);
        command
    };
    stdout(with(knockd(), &["check"]));
    let mut daemon = Running::spawn(knockd()).unwrap();
    let logged = |part: &str| {
        let line = daemon.wait_for(|line| line.contains(part), SOON);
        line.unwrap_or_else(|error| panic!("{error}: {}", daemon.text(Stream::Err)));
    };
    logged("listening on srv0");
    assert!(!is_open(pair));

    let server = Pair::SERVER_V4.to_string();
    let keys = ["--key-file", "/laptop.key", "--server-key", SERVER_PUBLIC];
    stdout(with(knock(), &[&keys[..], &[&server, "ssh"]].concat()));
    logged("gate open");
    assert!(is_open(pair));
    stdout(with(knockd(), &["reload"]));
    logged("reloaded");
    is_confined(daemon.id());
    let metrics = scrape(pair);
    assert!(metrics.contains("\nknockd_accepted_total 1\n"), "{metrics}");
    let udp = ["--udp", "--close", &server, "ssh"];
    stdout(with(knock(), &[&keys[..], &udp].concat()));
    logged("closed door=\"ssh\"");
    assert!(!is_open(pair));
    assert!(stdout(with(knockd(), &["status"])).contains("srv0"));

    daemon.signal(Signal::SIGTERM).unwrap();
    let stopped = daemon.wait(SOON).unwrap();
    let log = daemon.text(Stream::Err);
    assert_eq!(stopped.code(), Some(0), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    stdout(with(knockd(), &["detach"]));
}

fn is_open(pair: &Pair) -> bool {
    let port = SocketAddr::new(Pair::SERVER_V4.into(), 22);
    let source = Pair::CLIENT_V4.into();
    is_admitted(&pair.client, source, WITNESS.into(), port).unwrap()
}

/// The processes that read network input have a system call filter and no capabilities.
fn is_confined(daemon: u32) {
    let children = fs::read_to_string(format!("/proc/{daemon}/task/{daemon}/children"));
    let children = children.unwrap();
    let children: Vec<u32> = children
        .split_whitespace()
        .map(|id| id.parse().unwrap())
        .collect();
    assert_eq!(children.len(), 2, "the listener and the exporter");
    for child in children {
        assert_eq!(status(child, "Seccomp").unwrap(), "2");
        assert_eq!(status(child, "CapEff").unwrap(), "0000000000000000");
        let user = status(child, "Uid").unwrap();
        assert!(!user.starts_with("0\t"), "{user}");
    }
}

fn scrape(pair: &Pair) -> String {
    let stream = pair.server.run(|| Ok(TcpStream::connect(METRICS)?));
    let mut stream = stream.unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    page
}
