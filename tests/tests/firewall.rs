//! The shipped firewall scripts, both variants, against a real service and a real firewall.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use knock_tests::{
    frame::{Frame, Segment},
    link::Pair,
    netns::Namespace,
    privilege,
    process::Running,
    service::{Greeter, Session, try_connect},
    wire::{Capture, Sender},
};

/// Far more than anything here takes; only a failing test waits so long.
const SOON: Duration = Duration::from_secs(10);

/// After this a connection counts as not let in. The first SYN decides: it is not repeated
/// before a second is over.
const SILENCE: Duration = Duration::from_millis(300);

const PORT: u16 = 22;

const SERVER: [IpAddr; 2] = [IpAddr::V4(Pair::SERVER_V4), IpAddr::V6(Pair::SERVER_V6)];
const CLIENT: [IpAddr; 2] = [IpAddr::V4(Pair::CLIENT_V4), IpAddr::V6(Pair::CLIENT_V6)];
const OTHER: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 3)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 3)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variant {
    Nftables,
    Iptables,
}

impl Variant {
    fn script(self) -> PathBuf {
        let name = match self {
            Self::Nftables => "portknock-nftables",
            Self::Iptables => "portknock-iptables",
        };
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../knock-user/firewall")
            .join(name)
    }
}

/// The script in a namespace, run like the daemon does: with nothing but a PATH.
struct Firewall<'a> {
    variant: Variant,
    namespace: &'a Namespace,
}

impl Firewall<'_> {
    fn command(&self, variables: &[&str], arguments: &[&str]) -> Command {
        let mut command = self.namespace.command("env");
        command
            .args(["-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"])
            .args(variables)
            .arg(self.variant.script())
            .args(arguments);
        command
    }

    fn output(&self, arguments: &[&str]) -> Output {
        self.command(&[], arguments).output().unwrap()
    }

    /// Runs the script, which has to succeed, and returns what it prints.
    #[track_caller]
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?} failed: {errors}");
        assert_eq!(errors, "", "{arguments:?} complained");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs the script, which has to fail with `code`, and returns its complaint.
    #[track_caller]
    fn refused(&self, arguments: &[&str], code: i32) -> String {
        let output = self.output(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(
            output.stdout.is_empty(),
            "{arguments:?} printed its complaint to stdout"
        );
        String::from_utf8(output.stderr).unwrap()
    }

    /// All rules that hold in the namespace.
    fn rules(&self) -> String {
        let programs: &[&[&str]] = match self.variant {
            Variant::Nftables => &[&["nft", "list", "ruleset"]],
            Variant::Iptables => &[&["iptables", "-w", "-S"], &["ip6tables", "-w", "-S"]],
        };
        let listed = programs.iter().map(|program| {
            let (program, arguments) = program.split_first().unwrap();
            let output = self
                .namespace
                .command(program)
                .args(arguments)
                .output()
                .unwrap();
            assert!(output.status.success(), "{output:?}");
            String::from_utf8(output.stdout).unwrap()
        });
        listed.collect()
    }

    /// Runs the script, which must leave every rule as it is.
    #[track_caller]
    fn changes_nothing(&self, arguments: &[&str]) {
        let before = self.rules();
        self.run(arguments);
        assert_eq!(self.rules(), before, "{arguments:?} changed the rules");
    }
}

fn get_in(pair: &Pair, source: IpAddr, port: u16) -> bool {
    let server = if source.is_ipv4() {
        SERVER[0]
    } else {
        SERVER[1]
    };
    let destination = SocketAddr::new(server, port);
    match try_connect(&pair.client, Some(source), destination, SILENCE) {
        Ok(greeting) => greeting == Greeter::GREETING,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::TimedOut, "not silent: {error}");
            false
        }
    }
}

fn pair() -> Pair {
    let pair = Pair::new().unwrap();
    for address in OTHER {
        pair.add_client_address(address).unwrap();
    }
    pair
}

/// Each scenario once for each variant.
macro_rules! for_both {
    ($($scenario:ident)*) => {
        mod nftables {
            $(#[test]
            fn $scenario() {
                super::$scenario(super::Variant::Nftables);
            })*
        }
        mod iptables {
            $(#[test]
            fn $scenario() {
                super::$scenario(super::Variant::Iptables);
            })*
        }
    };
}

for_both! {
    only_open_addresses_get_in
    established_connections_go_on
    a_repeated_command_changes_nothing
    a_repeated_setup_never_opens_the_port
    other_ports_replace_the_first
    what_is_no_address_is_refused
    what_is_no_command_or_port_is_refused
    every_form_of_an_address_is_the_same_address
    a_closed_port_says_nothing_at_all
    the_session_that_sets_up_is_not_cut_off
    commands_at_the_same_moment_all_succeed
    teardown_leaves_nothing
    missing_rights_are_an_error
}

fn only_open_addresses_get_in(variant: Variant) {
    if !privilege::namespaces() {
        return;
    }
    let pair = pair();
    let _service = Greeter::start(&pair.server, PORT).unwrap();
    let firewall = Firewall {
        variant,
        namespace: &pair.server,
    };
    let everybody = || CLIENT.into_iter().chain(OTHER);
    assert!(everybody().all(|source| get_in(&pair, source, PORT)));

    firewall.run(&["setup"]);
    assert!(!everybody().any(|source| get_in(&pair, source, PORT)));
    for (ours, other) in CLIENT.into_iter().zip(OTHER) {
        firewall.run(&["open", &ours.to_string()]);
        assert!(get_in(&pair, ours, PORT));
        assert!(!get_in(&pair, other, PORT));
        let status = firewall.run(&["status"]);
        assert!(status.contains(&ours.to_string()), "{status}");

        firewall.run(&["close", &ours.to_string()]);
        assert!(!get_in(&pair, ours, PORT));
    }
    assert!(firewall.run(&["status"]).contains("open for: nobody"));
    // The machine itself is let alone.
    let here = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT);
    try_connect(&pair.server, None, here, SOON).unwrap();
}

fn established_connections_go_on(variant: Variant) {
    if !privilege::namespaces() {
        return;
    }
    let pair = pair();
    let _service = Greeter::start(&pair.server, PORT).unwrap();
    let firewall = Firewall {
        variant,
        namespace: &pair.server,
    };
    firewall.run(&["setup"]);
    for (source, server) in CLIENT.into_iter().zip(SERVER) {
        firewall.run(&["open", &source.to_string()]);
        let destination = SocketAddr::new(server, PORT);
        let mut session = Session::open(&pair.client, Some(source), destination, SOON).unwrap();
        firewall.run(&["close", &source.to_string()]);
        assert!(!get_in(&pair, source, PORT));
        assert_eq!(session.ask("after close").unwrap(), "after close");
        firewall.run(&["setup", "22", "2222"]);
        assert_eq!(session.ask("after setup").unwrap(), "after setup");
    }
}

fn a_repeated_command_changes_nothing(variant: Variant) {
    if !privilege::namespaces() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let firewall = Firewall {
        variant,
        namespace: &namespace,
    };
    firewall.run(&["setup", "443", "22"]);
    firewall.changes_nothing(&["setup", "22", "443", "22"]);
    for address in ["192.0.2.2", "192.0.2.9", "2001:db8::2", "2001:db8::9"] {
        firewall.changes_nothing(&["close", address]);
        firewall.run(&["open", address]);
        firewall.changes_nothing(&["open", address]);
        firewall.changes_nothing(&["setup", "22", "443"]);
    }
    let rules = firewall.rules();
    firewall.run(&["open", "198.51.100.1"]);
    firewall.run(&["close", "198.51.100.1"]);
    assert_eq!(firewall.rules(), rules);
    firewall.changes_nothing(&["close", "198.51.100.1"]);
    firewall.changes_nothing(&["status"]);
    firewall.changes_nothing(&["help"]);
}

fn a_repeated_setup_never_opens_the_port(variant: Variant) {
    if !privilege::namespaces() {
        return;
    }
    let pair = pair();
    let _service = Greeter::start(&pair.server, PORT).unwrap();
    let firewall = Firewall {
        variant,
        namespace: &pair.server,
    };
    firewall.run(&["setup"]);
    firewall.run(&["open", &OTHER[0].to_string()]);
    let capture = Capture::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let syn = |source: IpAddr, port| {
        let source = SocketAddr::new(source, port);
        Frame::syn(source, SocketAddr::new(SERVER[0], PORT))
            .bytes()
            .unwrap()
    };
    let answer = |it: &[u8]| Segment::read(it).filter(|it| it.source.ip() == SERVER[0]);
    let mut source_ports = (1024..32768).cycle();
    let mut probes = 0;
    for ports in [["22", "80"], ["22", "443"]].iter().cycle().take(10) {
        let arguments = [&["setup"][..], ports].concat();
        let mut setup = Running::spawn(firewall.command(&[], &arguments)).unwrap();
        while !setup.has_ended().unwrap() {
            sender
                .send(&syn(CLIENT[0], source_ports.next().unwrap()))
                .unwrap();
            probes += 1;
        }
        assert!(setup.wait(SOON).unwrap().success(), "{:?}", setup.lines());
        let frames = capture.drain().unwrap();
        let mut answers = frames.iter().filter_map(|it| answer(&it.bytes));
        assert_eq!(answers.next(), None, "after {probes} probes");
    }
    // Whoever is open still is, and that answer is the first.
    sender.send(&syn(OTHER[0], 1)).unwrap();
    let frames = capture
        .until(|it| answer(&it.bytes).is_some(), SOON)
        .unwrap();
    let first = answer(&frames.last().unwrap().bytes).unwrap();
    assert_eq!(first.destination.ip(), OTHER[0], "after {probes} probes");
    assert!(first.header.syn && first.header.ack);
    assert!(probes > 10, "only {probes} probes");
}

fn other_ports_replace_the_first(variant: Variant) {
    if !privilege::namespaces() {
        return;
    }
    let pair = pair();
    let _first = Greeter::start(&pair.server, 22).unwrap();
    let _second = Greeter::start(&pair.server, 2222).unwrap();
    let firewall = Firewall {
        variant,
        namespace: &pair.server,
    };
    firewall.run(&["setup", "22"]);
    firewall.run(&["open", &OTHER[1].to_string()]);
    assert!(get_in(&pair, CLIENT[1], 2222));
    firewall.run(&["setup", "2222", "3333"]);
    assert!(get_in(&pair, CLIENT[1], 22));
    assert!(!get_in(&pair, CLIENT[1], 2222));
    assert!(
        get_in(&pair, OTHER[1], 2222),
        "setup forgot an open address"
    );
    assert!(firewall.run(&["status"]).contains("tcp port 2222, 3333\n"));
}

fn what_is_no_address_is_refused(variant: Variant) {
    if !privilege::namespaces() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let firewall = Firewall {
        variant,
        namespace: &namespace,
    };
    firewall.run(&["setup"]);
    firewall.run(&["open", "192.0.2.2"]);
    let rules = firewall.rules();
    #[rustfmt::skip]
    let hostile = [
        "", " ", "-j", "--help", "*", "}", ";", "$(reboot)", "`reboot`", "localhost", "any",
        "192.0.2.2 ", " 192.0.2.2", "192.0.2.2\n", "192.0.2.2\n192.0.2.3", "192.0.2.2,192.0.2.3",
        "192.0.2.2-192.0.2.9", "192.0.2.2/32", "0.0.0.0/0", "::/0", "2001:db8::2/128", "!192.0.2.2",
        "192.0.2", "192.0.2.", ".192.0.2.2", "192.0..2", "192.0.2.2.2", "192.0.2.256", "192.0.2.02",
        "0xc0.0.2.2", "3221225986", "1.2.3.99999999999999999999", "+1.2.3.4", "1e1.2.3.4",
        "0.0.0.0", "0.1.2.3", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255",
        ":", "::", "::0", "0:0:0:0:0:0:0:0", ":::", "1::2::3", ":1::2", "1::2:", "12345::1", "g::1",
        "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8",
        "ff02::1", "FF05::2", "fe80::1%srv0", "[2001:db8::2]", "2001:db8::2]:22",
        "::ffff:192.0.2.2", "::FFFF:c000:202", "0:0:0:0:0:ffff:0:1", "::ffff:0:0", "::192.0.2.2",
        "64:ff9b::192.0.2.2",
    ];
    for address in hostile {
        for command in ["open", "close"] {
            let complaint = firewall.refused(&[command, address], 2);
            assert!(complaint.starts_with("portknock: "), "{complaint}");
            assert_eq!(complaint.lines().count(), 1, "{complaint}");
            assert!(complaint.contains("give "), "no way out: {complaint}");
        }
    }
    assert_eq!(firewall.rules(), rules);
}

fn what_is_no_command_or_port_is_refused(variant: Variant) {
    if !privilege::namespaces() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let firewall = Firewall {
        variant,
        namespace: &namespace,
    };
    let untouched = firewall.rules();
    for port in [
        "0",
        "65536",
        "022",
        "22,80",
        "22:80",
        "-1",
        "",
        " 22",
        "22\n80",
        "ssh",
        "99999999999",
    ] {
        firewall.refused(&["setup", "22", port], 2);
    }
    for arguments in [
        &[][..],
        &["open"],
        &["open", "192.0.2.2", "192.0.2.3"],
        &["close"],
        &["status", "all"],
        &["teardown", "now"],
        &["Setup"],
        &["\u{1b}[2J"],
    ] {
        let complaint = firewall.refused(arguments, 2);
        assert!(!complaint.contains('\u{1b}'), "{complaint:?}");
    }
    assert_eq!(firewall.rules(), untouched);

    // Before there is anything to open, that is what a failure says.
    for arguments in [
        &["open", "192.0.2.2"][..],
        &["close", "192.0.2.2"],
        &["status"],
    ] {
        let complaint = firewall.refused(arguments, 1);
        assert!(complaint.contains("portknock setup"), "{complaint}");
    }
    assert_eq!(firewall.rules(), untouched);
    assert!(firewall.run(&["help"]).starts_with("Usage: portknock"));
}

fn every_form_of_an_address_is_the_same_address(variant: Variant) {
    if !privilege::namespaces() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let firewall = Firewall {
        variant,
        namespace: &namespace,
    };
    firewall.run(&["setup"]);
    let rules = firewall.rules();
    let forms = [
        "2001:db8::5",
        "2001:DB8:0:0::5",
        "2001:0db8:0000:0000:0000:0000:0000:0005",
    ];
    for form in forms {
        firewall.run(&["open", form]);
        let status = firewall.run(&["status"]);
        assert!(status.ends_with("open for: 2001:db8::5\n"), "{status}");
    }
    firewall.run(&["close", forms[2]]);
    assert_eq!(firewall.rules(), rules);
    for address in [
        "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8",
        "fe80::1",
        "00ff::1",
        "::1",
        "127.0.0.1",
    ] {
        firewall.run(&["open", address]);
        firewall.run(&["close", address]);
    }
    assert_eq!(firewall.rules(), rules);
}

fn a_closed_port_says_nothing_at_all(variant: Variant) {
    if !privilege::namespaces() {
        return;
    }
    let pair = pair();
    let _service = Greeter::start(&pair.server, PORT).unwrap();
    let firewall = Firewall {
        variant,
        namespace: &pair.server,
    };
    firewall.run(&["setup"]);
    let source = CLIENT[0];
    firewall.run(&["open", &source.to_string()]);
    let destination = SocketAddr::new(SERVER[0], PORT);
    let session = Session::open(&pair.client, Some(source), destination, SOON).unwrap();
    firewall.run(&["close", &source.to_string()]);

    let capture = Capture::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    let send = |frame: Frame| sender.send(&frame.bytes().unwrap()).unwrap();
    let from = |port| Frame::syn(SocketAddr::new(source, port), destination);
    // What a scanner tries, and a SYN where conntrack still knows a connection: the host
    // would answer that with a challenge.
    send(from(1001));
    send(from(1002).tcp(|tcp| (tcp.syn, tcp.ack) = (false, true)));
    send(from(1003).tcp(|tcp| tcp.ack = true));
    send(from(1004).tcp(|tcp| (tcp.syn, tcp.fin) = (false, true)));
    send(from(1005).tcp(|tcp| (tcp.ece, tcp.cwr) = (true, true)));
    send(from(1002));
    send(from(session.local_addr().unwrap().port()));
    // An unprotected port, where nobody listens, answers.
    let open = SocketAddr::new(SERVER[0], PORT + 1);
    send(Frame::syn(SocketAddr::new(source, 2000), open));
    let answer = |it: &[u8]| Segment::read(it).filter(|it| it.source.ip() == SERVER[0]);
    let frames = capture
        .until(|it| answer(&it.bytes).is_some(), SOON)
        .unwrap();
    let first = answer(&frames.last().unwrap().bytes).unwrap();
    assert_eq!(first.source, open, "{first:?}");
}

fn the_session_that_sets_up_is_not_cut_off(variant: Variant) {
    if !privilege::namespaces() {
        return;
    }
    for (index, server) in SERVER.into_iter().enumerate() {
        let pair = pair();
        let _service = Greeter::start(&pair.server, PORT).unwrap();
        let firewall = Firewall {
            variant,
            namespace: &pair.server,
        };
        let source = CLIENT[index];
        let destination = SocketAddr::new(server, PORT);
        let mut session = Session::open(&pair.client, Some(source), destination, SOON).unwrap();
        let ssh = format!("SSH_CONNECTION={source} 40000 {server} {PORT}");
        let setup = || {
            let output = firewall.command(&[&ssh], &["setup"]).output().unwrap();
            assert!(output.status.success(), "{output:?}");
        };
        setup();
        assert_eq!(session.ask("still there?").unwrap(), "still there?");
        assert!(!get_in(&pair, OTHER[index], PORT));
        // Tracked from now on, so that closing does no harm and stays.
        firewall.run(&["close", &source.to_string()]);
        setup();
        assert!(!get_in(&pair, source, PORT));
        assert_eq!(session.ask("and now?").unwrap(), "and now?");
    }
}

fn commands_at_the_same_moment_all_succeed(variant: Variant) {
    if !privilege::namespaces() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let firewall = Firewall {
        variant,
        namespace: &namespace,
    };
    firewall.run(&["setup"]);
    let addresses: Vec<_> = (1..=16).map(|host| format!("198.51.100.{host}")).collect();
    for command in ["open", "close"] {
        let started: Vec<_> = addresses
            .iter()
            .map(|address| firewall.command(&[], &[command, address]))
            .map(|command| Running::spawn(command).unwrap())
            .collect();
        for mut running in started {
            assert!(
                running.wait(SOON).unwrap().success(),
                "{:?}",
                running.lines()
            );
        }
        let status = firewall.run(&["status"]);
        let open = addresses.iter().filter(|&address| status.contains(address));
        assert_eq!(
            open.count(),
            if command == "open" { 16 } else { 0 },
            "{status}"
        );
    }
}

fn teardown_leaves_nothing(variant: Variant) {
    if !privilege::namespaces() {
        return;
    }
    let pair = pair();
    let _service = Greeter::start(&pair.server, PORT).unwrap();
    let firewall = Firewall {
        variant,
        namespace: &pair.server,
    };
    let untouched = firewall.rules();
    firewall.changes_nothing(&["teardown"]);
    firewall.run(&["setup", "22", "80"]);
    for address in OTHER {
        firewall.run(&["open", &address.to_string()]);
    }
    firewall.run(&["teardown"]);
    assert_eq!(firewall.rules(), untouched);
    assert!(CLIENT.into_iter().all(|source| get_in(&pair, source, PORT)));
    firewall.changes_nothing(&["teardown"]);
}

fn missing_rights_are_an_error(variant: Variant) {
    if !privilege::namespaces() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let firewall = Firewall {
        variant,
        namespace: &namespace,
    };
    firewall.run(&["setup"]);
    let rules = firewall.rules();
    for arguments in [
        &["setup", "80"][..],
        &["open", "192.0.2.2"],
        &["close", "192.0.2.2"],
        &["teardown"],
    ] {
        let output = namespace
            .unprivileged_command(variant.script())
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(complaint.contains("portknock: "), "{complaint}");
    }
    assert_eq!(firewall.rules(), rules);
}

#[test]
fn both_variants_judge_arguments_alike() {
    let shared = |variant: Variant| {
        let script = fs::read_to_string(variant.script()).unwrap();
        let (_, rest) = script
            .split_once("# --- From here to the next such line")
            .unwrap();
        let (shared, _) = rest.split_once("\n# --- ").unwrap();
        shared.to_owned()
    };
    assert_eq!(shared(Variant::Nftables), shared(Variant::Iptables));
}
