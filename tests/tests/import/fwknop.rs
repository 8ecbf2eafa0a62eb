//! The configuration of fwknopd.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output},
    time::Duration,
};

use knock_tests::{
    link::Pair,
    scene::{SOON, program},
    service::{Greeter, try_connect},
};

use crate::site::{Site, error, expect_success};

const SETTINGS: &str = "\
PCAP_INTF                   srv0;
ENABLE_UDP_SERVER           Y;
UDPSERV_PORT                62333;
ENABLE_IPT_FORWARDING       Y;
";

/// A command cycle; a stanza for another network; and address translation. `{folder}` is replaced
/// with the test's folder.
const ACCESS: &str = "\
SOURCE              192.0.2.0/24
KEY_BASE64          SECRET
HMAC_KEY_BASE64     SECRET
REQUIRE_USERNAME    alice
CMD_CYCLE_OPEN      cp {folder}/access.conf {folder}/came-$SRC
CMD_CYCLE_CLOSE     cp {folder}/access.conf {folder}/gone-$IP-$CLIENT_TIMEOUT
CMD_CYCLE_TIMER     1
%include            {folder}/others.conf
";

const OTHERS: &str = "\
SOURCE              198.51.100.0/24
KEY                 SECRET
REQUIRE_USERNAME    bob
OPEN_PORTS          tcp/8022

SOURCE              ANY
KEY                 SECRET
REQUIRE_USERNAME    carol
OPEN_PORTS          tcp/8022
FORCE_NAT           192.0.2.1 2222
ACCESS_EXPIRE       12/31/2999
";

fn site() -> Site {
    Site::new(&[
        ("access.conf", ACCESS),
        ("others.conf", OTHERS),
        ("fwknopd.conf", SETTINGS),
    ])
}

fn import(site: &Site) -> Command {
    let mut import = site.knockd(&["import-fwknop"]);
    import.arg(site.path("access.conf"));
    import.arg(site.path("fwknopd.conf"));
    import
}

fn import_to_file(site: &Site) -> Output {
    let output = import(site).arg("--output").arg(site.config()).output();
    output.unwrap()
}

fn with_config(site: &Site, arguments: &[&str]) -> String {
    let mut knockd = site.knockd(arguments);
    expect_success(&knockd.arg("--config").arg(site.config()).output().unwrap())
}

/// Makes a key pair for the client called `name`, in the file of this name, and puts its public key
/// into the configuration.
fn enroll(site: &Site, name: &str) {
    let mut keygen = Command::new(program("knock").unwrap());
    keygen.arg("keygen").arg(site.path(name));
    let printed = expect_success(&keygen.output().unwrap());
    let public = printed.split_whitespace().last().unwrap();
    let text = fs::read_to_string(site.config()).unwrap();
    let (before, after) = text.split_once(&format!("name = \"{name}\"\n")).unwrap();
    let (_, rest) = after.split_once('\n').unwrap();
    let text = format!("{before}name = \"{name}\"\npublic_key = \"{public}\"\n{rest}");
    fs::write(site.config(), text).unwrap();
}

/// The knock of the client called `name` at `door`.
fn knock(site: &Site, pair: &Pair, name: &str, door: &str) {
    let server = with_config(site, &["public-key"]);
    let mut knock = pair.client.command(program("knock").unwrap());
    knock.env("HOME", site.path("home"));
    knock.arg("--key-file").arg(site.path(name));
    knock.arg(format!("--server-key={}", server.trim()));
    knock.args([
        "--client",
        name,
        "--udp",
        "--udp-port",
        "62333",
        "192.0.2.1",
        door,
    ]);
    expect_success(&knock.output().unwrap());
}

#[test]
fn an_import_is_valid_and_contains_no_key() {
    let site = site();
    let output = import(&site).output().unwrap();
    let printed = expect_success(&output);
    expect_success(&import_to_file(&site));
    let written = fs::read_to_string(site.config()).unwrap();
    for text in [
        &printed,
        &written,
        &String::from_utf8(output.stderr).unwrap(),
    ] {
        assert!(!text.contains("SECRET"), "{text}");
    }
    for name in ["knockd.toml", "server.key"] {
        let path = site.config().with_file_name(name);
        let mode = fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
    let report = with_config(&site, &["check"]);
    assert!(
        report.contains("clients: alice, bob, carol, doors: stanza-1, tcp/8022, stanza-3"),
        "{report}"
    );
}

#[test]
fn errors_are_reported_with_their_file_and_line() {
    let site = Site::new(&[
        ("access.conf", "SOURCE ANY\n%include {folder}/others.conf\n"),
        ("others.conf", "SOURCE ANY\nSECRET\n"),
        ("fwknopd.conf", ""),
    ]);
    let report = error(&import_to_file(&site));
    assert!(report.contains("others.conf:2: this is not"), "{report}");
    assert!(!report.contains("SECRET"), "{report}");
    assert!(!site.config().exists());

    fs::write(site.path("access.conf"), "SOURCE ANY\nKEY SECRET\n").unwrap();
    let report = error(&import_to_file(&site));
    assert!(
        report.contains("access.conf:1: stanza 1 is skipped"),
        "{report}"
    );
    assert!(report.contains("--open tcp/22"), "{report}");
    let mut import = import(&site);
    let text = expect_success(&import.args(["--open", "tcp/22"]).output().unwrap());
    assert!(text.contains("open = [\"tcp/22\"]"), "{text}");
}

#[test]
fn imported_doors_open_for_their_clients_alone() {
    knock_tests::needs_bpf!();
    let site = site();
    expect_success(&import_to_file(&site));
    for name in ["alice", "bob", "carol"] {
        enroll(&site, name);
    }
    let pair = Pair::new().unwrap();
    let _service = Greeter::start(&pair.server, 2222).unwrap();
    // As the top of the file says.
    let mut load = pair.server.command("sh");
    load.arg("-c").arg(format!(
        "sed -n 's/^#nft //p' {} | nft -f -",
        site.config().display()
    ));
    expect_success(&load.output().unwrap());
    let knockd = site.start(&pair);
    let outer = SocketAddr::new(Pair::SERVER_V4.into(), 8022);
    let connect = |timeout| try_connect(&pair.client, None, outer, timeout);

    knock(&site, &pair, "alice", "stanza-1");
    let closed = |line: &str| line.contains("closed door=\"stanza-1\"");
    knockd.wait_for(closed, SOON).unwrap();
    let client = Pair::CLIENT_V4;
    for name in [format!("came-{client}"), format!("gone-{client}-1")] {
        assert!(site.path(&name).exists(), "{name}");
    }

    knock(&site, &pair, "bob", "tcp/8022");
    let refused =
        |line: &str| line.contains("reason=\"outside\"") || line.contains("reason=outside");
    knockd.wait_for(refused, SOON).unwrap();
    assert!(connect(Duration::from_millis(200)).is_err());

    knock(&site, &pair, "carol", "stanza-3");
    let opened = |line: &str| line.contains("door=\"stanza-3\"") && line.contains("succeeded");
    knockd.wait_for(opened, SOON).unwrap();
    connect(SOON).unwrap();
}
