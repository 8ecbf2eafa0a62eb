//! The effect of the commands on the rules, and invalid arguments.

use std::time::Instant;

use knock_tests::{netns::Namespace, process::Running, service::Greeter};
use serde_json::{Value, json};

use crate::{
    access::{CLIENT, OTHER, PORT, SOON, can_connect, pair},
    script::{Firewall, Variant},
};

pub(crate) fn a_repeated_command_changes_nothing(variant: Variant) {
    if !variant.is_testable() {
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

pub(crate) fn an_invalid_address_is_refused(variant: Variant) {
    if !variant.is_testable() {
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
            let error = firewall.refused(&[command, address], 2);
            assert!(error.starts_with("portknock: "), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
            assert!(error.contains("give "), "no remedy in: {error}");
        }
    }
    assert_eq!(firewall.rules(), rules);
}

pub(crate) fn an_invalid_command_or_port_is_refused(variant: Variant) {
    if !variant.is_testable() {
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
        &["open", "192.0.2.2", ""],
        &["open", "192.0.2.2", "0"],
        &["open", "192.0.2.2", "-1"],
        &["open", "192.0.2.2", "1h"],
        &["open", "192.0.2.2", "31536001"],
        &["open", "192.0.2.2", "99999999999999999999"],
        &["open", "192.0.2.2", "1", "1"],
        &["close"],
        &["status", "all"],
        &["status", "--json", "all"],
        &["teardown", "now"],
        &["Setup"],
        &["\u{1b}[2J"],
    ] {
        let error = firewall.refused(arguments, 2);
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
    assert_eq!(firewall.rules(), untouched);

    // Before `setup`, the other commands fail and name it.
    for arguments in [
        &["open", "192.0.2.2"][..],
        &["close", "192.0.2.2"],
        &["status"],
    ] {
        let error = firewall.refused(arguments, 1);
        assert!(error.contains("portknock setup"), "{error}");
    }
    assert_eq!(firewall.rules(), untouched);
    assert!(firewall.run(&["help"]).starts_with("Usage: portknock"));
}

pub(crate) fn all_notations_of_an_address_are_equivalent(variant: Variant) {
    if !variant.is_testable() {
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

pub(crate) fn concurrent_commands_all_succeed(variant: Variant) {
    if !variant.is_testable() {
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

pub(crate) fn teardown_removes_all_rules(variant: Variant) {
    if !variant.is_testable() {
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
    assert!(
        CLIENT
            .into_iter()
            .all(|source| can_connect(&pair, source, PORT))
    );
    firewall.changes_nothing(&["teardown"]);
}

pub(crate) fn missing_privileges_are_an_error(variant: Variant) {
    if !variant.is_testable() {
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
            .env("PATH", variant.path())
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains("portknock: "), "{error}");
    }
    assert_eq!(firewall.rules(), rules);
}

/// Such as a published port of a container: its packets do not pass the chains of this script.
pub(crate) fn a_port_that_is_forwarded_is_not_called_closed(variant: Variant) {
    if !variant.is_testable() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let firewall = Firewall {
        variant,
        namespace: &namespace,
    };
    let rules: &[&str] = match variant {
        Variant::Nftables => &[
            "nft add table ip nat",
            "nft add chain ip nat pre { type nat hook prerouting priority dstnat; }",
            "nft add rule ip nat pre tcp dport { 8443, 8444 } counter dnat to 198.51.100.2:443",
            "nft add rule ip nat pre tcp dport 9443 redirect to :443",
            "nft add rule ip nat pre tcp dport 9500-9510 redirect to :443",
            "nft add rule ip nat pre ip protocol tcp dnat to tcp dport map { 9600 : 198.51.100.2 . 443 }",
        ],
        Variant::Iptables | Variant::Legacy => &[
            "iptables -w -t nat -A PREROUTING -p tcp -m multiport --dports 8443,8444 -j DNAT --to-destination 198.51.100.2:443",
            "iptables -w -t nat -A PREROUTING -p tcp --dport 9443 -j REDIRECT --to-ports 443",
            "iptables -w -t nat -A PREROUTING -p tcp --dport 9500:9510 -j REDIRECT --to-ports 443",
            "iptables -w -t nat -A PREROUTING -p tcp --dport 9600 -j DNAT --to-destination 198.51.100.2:443",
        ],
    };
    let closed = "closed on this host to all but the open addresses: tcp port 22\n";
    assert!(firewall.run(&["setup", "22"]).contains(closed));
    for rule in rules {
        let mut command = namespace.command("env");
        command.arg(format!("PATH={}", variant.path()));
        let output = command.args(rule.split(' ')).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let arguments = ["setup", "22", "8443", "8444", "9443", "9505", "9600"];
    for said in [firewall.run(&arguments), firewall.run(&["status"])] {
        assert!(said.contains(closed), "{said}");
        assert!(
            said.contains("NOT closed, since address translation forwards it, for example to a container: tcp port 8443, 8444, 9443, 9505, 9600; the gate of knockd closes it"),
            "{said}"
        );
    }
    assert!(firewall.run(&["setup", "443"]).contains("tcp port 443\n"));
}

pub(crate) fn status_is_also_told_as_json(variant: Variant) {
    if !variant.is_testable() {
        return;
    }
    let namespace = Namespace::new().unwrap();
    let firewall = Firewall {
        variant,
        namespace: &namespace,
    };
    let status = || serde_json::from_str::<Value>(&firewall.run(&["status", "--json"])).unwrap();
    firewall.run(&["setup", "443", "22"]);
    assert_eq!(
        status(),
        json!({"closed": [22, 443], "translated": [], "open": []})
    );
    for address in ["192.0.2.2", "2001:db8::2"] {
        firewall.run(&["open", address]);
    }
    let open = |address| json!({"address": address, "seconds_left": null});
    let both = json!([open("192.0.2.2"), open("2001:db8::2")]);
    assert_eq!(status()["open"], both);
    firewall.changes_nothing(&["status", "--json"]);
}

pub(crate) fn an_address_can_be_open_for_a_time(variant: Variant) {
    if !variant.is_testable() {
        return;
    }
    let pair = pair();
    let _service = Greeter::start(&pair.server, PORT).unwrap();
    let firewall = Firewall {
        variant,
        namespace: &pair.server,
    };
    firewall.run(&["setup"]);
    let address = &CLIENT[0].to_string();
    if variant != Variant::Nftables {
        let error = firewall.refused(&["open", address, "60"], 2);
        assert!(error.contains("leave the time out"), "{error}");
        return;
    }
    let left = || {
        let status: Value = serde_json::from_str(&firewall.run(&["status", "--json"])).unwrap();
        status["open"][0]["seconds_left"].as_u64()
    };
    // The last command counts, whether it is longer, shorter or without an end.
    for (time, longest, shortest) in [("7200", 7200, 7140), ("93784", 93784, 93724), ("60", 60, 1)]
    {
        firewall.run(&["open", address, time]);
        let left = left().unwrap();
        assert!((shortest..=longest).contains(&left), "{time}: {left}");
    }
    let status = firewall.run(&["status"]);
    assert!(
        status.contains(&format!("open for: {address} (")),
        "{status}"
    );
    assert!(status.ends_with(" s left)\n"), "{status}");
    firewall.run(&["open", address]);
    assert_eq!(left(), None);
    assert!(can_connect(&pair, CLIENT[0], PORT));

    firewall.run(&["open", address, "1"]);
    let end = Instant::now() + SOON;
    while firewall.run(&["status"]).contains(address) {
        assert!(Instant::now() < end, "the address is still open");
    }
    assert!(!can_connect(&pair, CLIENT[0], PORT));
}

/// What the script made before an address could be open for a time, with two open addresses.
const OLDER_TABLE: &str = "
table inet portknock {
    set ports { type inet_service; elements = { 22, 80 } }
    set open4 { type ipv4_addr; elements = { 192.0.2.2 } }
    set open6 { type ipv6_addr; elements = { 2001:db8::2 } }
    chain portknock_in {
        type filter hook input priority filter - 10; policy accept;
        ip saddr @open4 accept
        ip6 saddr @open6 accept
        tcp dport @ports drop
    }
    chain portknock_out {
        type filter hook output priority filter - 10; policy accept;
    }
}";

pub(crate) fn an_older_table_is_replaced_and_stays_open_for_its_addresses() {
    let variant = Variant::Nftables;
    if !variant.is_testable() {
        return;
    }
    let pair = pair();
    let _service = Greeter::start(&pair.server, PORT).unwrap();
    let firewall = Firewall {
        variant,
        namespace: &pair.server,
    };
    let mut older = pair.server.command("nft");
    assert!(older.arg(OLDER_TABLE).status().unwrap().success());
    let error = firewall.refused(&["open", "192.0.2.7", "60"], 1);
    let hint = "run portknock setup 22 80 and repeat this command";
    assert!(error.contains(hint), "{error}");

    let port = PORT.to_string();
    firewall.run(&["setup", &port]);
    let open = || firewall.run(&["status"]);
    let both = "open for: 192.0.2.2, 2001:db8::2\n";
    assert!(open().ends_with(both), "{}", open());
    assert!(can_connect(&pair, CLIENT[0], PORT));
    firewall.run(&["close", "192.0.2.2"]);
    assert!(!can_connect(&pair, CLIENT[0], PORT));
    firewall.run(&["open", "192.0.2.2", "3600"]);
    assert!(can_connect(&pair, CLIENT[0], PORT));

    // A chain that nothing turns into that of the script: times are kept.
    let other_chain = "delete chain inet portknock portknock_in; \
        add chain inet portknock portknock_in { type filter hook prerouting priority 0; }";
    let mut other = pair.server.command("nft");
    assert!(other.arg(other_chain).status().unwrap().success());
    firewall.run(&["setup", &port]);
    assert!(open().contains("open for: 192.0.2.2 (3"), "{}", open());
}
