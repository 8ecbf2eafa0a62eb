use ipnet::IpNet;
use knockd_types::conditions::Conditions;

use super::*;

const LAPTOP: &str = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8";
const OLD: &str = "0iwA2BrX1liN0SVIFdL419C0RcwmnJ8wsaE_V3M7bVc";

/// A client with `keys`, a classic one, and two doors; only one has a sequence, and only the classic
/// client may open it.
fn with(keys: &str) -> String {
    format!(
        r#"
server_key_file = "server.key"

[[client]]
name = "laptop"
public_key = "{LAPTOP}"
{keys}

[[client]]
name = "phone"
protocol = "classic"
passphrase_file = "phone.pass"

[[door]]
name = "ssh"
run = ["true"]

[[door]]
name = "web"
clients = ["phone"]
sequence = [1]
run = ["true"]
"#
    )
}

fn networks(networks: &[&str]) -> Vec<IpNet> {
    let networks = networks.iter().map(|network| network.parse().unwrap());
    networks.collect()
}

#[test]
fn a_client_may_knock_until_a_time_and_from_networks() {
    let folder = Folder::new();
    let config = folder.load(&with("")).unwrap();
    assert_eq!(config.clients[0].conditions, Conditions::default());
    assert!(config.clients[0].previous.is_none());
    let config = folder
        .load(&with(
            "expires = 2027-01-01T00:00:00Z\nfrom = [\"192.0.2.0/24\", \"2001:db8::7\"]",
        ))
        .unwrap();
    let expected = Conditions {
        expires: Some(1_798_761_600_000),
        from: networks(&["192.0.2.0/24", "2001:db8::7/128"]),
    };
    assert_eq!(config.clients[0].conditions, expected);
}

#[test]
fn a_time_has_an_offset() {
    let folder = Folder::new();
    for (text, unix_ms) in [
        ("1970-01-01T00:00:00Z", 0),
        ("2027-01-01T02:00:00+02:00", 1_798_761_600_000),
        ("2026-12-31 19:00:00.25-05:00", 1_798_761_600_250),
        ("2027-01-01T00:00Z", 1_798_761_600_000),
    ] {
        let config = folder.load(&with(&format!("expires = {text}"))).unwrap();
        let expires = config.clients[0].conditions.expires;
        assert_eq!(expires, Some(unix_ms), "{text}");
    }
    for (text, expected) in [
        (
            "2027-01-01",
            "2027-01-01 is not a date and time with an offset",
        ),
        (
            "2027-01-01T00:00:00",
            "2027-01-01T00:00:00 is not a date and",
        ),
        ("00:00:00", "00:00:00 is not a date and time"),
        (
            "1969-12-31T23:59:59Z",
            "1969-12-31T23:59:59Z is not between 1970",
        ),
        (
            "1970-01-01T00:00:00+01:00",
            "1970-01-01T00:00:00+01:00 is not",
        ),
        (
            "9999-12-31T23:59:59-00:01",
            "9999-12-31T23:59:59-00:01 is not",
        ),
        ("\"2027-01-01T00:00:00Z\"", "invalid type: string"),
    ] {
        let error = folder.error(&with(&format!("expires = {text}")));
        let expected = format!("knockd.toml:7: expires: {expected}");
        assert!(error.starts_with(&expected), "{text}: {error}");
    }
}

#[test]
fn a_client_can_have_the_key_before_for_some_time() {
    let config = Folder::new()
        .load(&with(&format!(
            "previous_key = \"{OLD}\"\nprevious_until = 2027-01-01T00:00:00Z"
        )))
        .unwrap();
    let server = config.server.unwrap();
    let previous = config.clients[0].previous.as_ref().unwrap();
    assert_eq!(previous.until, 1_798_761_600_000);
    let Secret::Pair(peer) = &previous.secret else {
        panic!("it is a key pair");
    };
    assert_eq!(peer.public.to_string(), OLD);
    let syn = SynSecret::of_server(&server, &peer.public).unwrap();
    assert_eq!(peer.syn.expose(), syn.expose());
    // The keys of the others are their own.
    assert!(matches!(config.clients[1].secret, Secret::Classic(_)));
    assert!(config.clients[1].previous.is_none());
}

#[test]
fn a_client_can_be_limited_to_doors() {
    let folder = Folder::new();
    let clients = |keys| {
        let config = folder.load(&with(keys)).unwrap();
        let doors = config.doors.iter().map(|door| door.clients.clone());
        doors.collect::<Vec<_>>()
    };
    assert_eq!(clients(""), [vec![0, 1], vec![1]]);
    assert_eq!(clients("doors = [\"ssh\"]"), [vec![0, 1], vec![1]]);
    // It is the other client that is limited: the door that names it is not in its list.
    let text = with("").replace("phone.pass\"", "phone.pass\"\ndoors = [\"web\"]");
    let config = folder.load(&text).unwrap();
    assert_eq!(config.doors[0].clients, [0]);
    assert_eq!(config.doors[1].clients, [1]);
    let text = with("doors = [\"ssh\"]").replace("[\"phone\"]", "[\"phone\", \"laptop\"]");
    let config = folder.load(&text).unwrap();
    assert_eq!(
        config.doors[1].clients,
        [1],
        "the list of the client narrows"
    );
}

#[test]
fn mistakes_about_a_clients_rules_name_file_line_and_key() {
    let folder = Folder::new();
    let server = format!("previous_key = \"{SERVER}\"\nprevious_until = 2027-01-01T00:00:00Z");
    let same = format!("previous_key = \"{LAPTOP}\"\nprevious_until = 2027-01-01T00:00:00Z");
    let alone = format!("previous_key = \"{OLD}\"");
    let low = "previous_key = \"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\nprevious_until = 2027-01-01T00:00:00Z";
    let many = format!("from = [{}]", "\"192.0.2.1\", ".repeat(65));
    for (keys, expected) in [
        (
            alone.as_str(),
            "previous_key: a `previous_key` needs a `previous_until`",
        ),
        (
            "previous_until = 2027-01-01T00:00:00Z",
            "previous_until: this needs a `previous_key`",
        ),
        (&same, "previous_key: this is the client's `public_key`"),
        (
            &server,
            "previous_key: client `laptop` has the same key as the server",
        ),
        (low, "previous_key: this public key belongs to no key pair"),
        ("from = []", "from: this client may knock from nowhere"),
        (&many, "from: at most 64 networks can be listed"),
        (
            "from = [\"192.0.2.7/24\"]",
            "from: `192.0.2.7/24` has bits set after its prefix: the network is 192.0.2.0/24",
        ),
        (
            "from = [\"::/0\"]",
            "from: `::/0` contains every IPv4 address, in IPv4-mapped form",
        ),
        (
            "from = [\"::ffff:192.0.2.7\"]",
            "from: `::ffff:192.0.2.7` is an IPv4 network: write `192.0.2.7/32`",
        ),
        ("from = [\"host\"]", "from: `host` is neither a network"),
        ("doors = []", "doors: this client may open no door"),
        (
            "doors = [\"ssh\", \"attic\"]",
            "doors: there is no [[door]] named `attic`",
        ),
        (
            "doors = [\"web\"]",
            "doors: the `clients` of door `web` do not include `laptop`: add it there, or remove the door here",
        ),
    ] {
        let error = folder.error(&with(keys));
        let expected = format!("knockd.toml:7: {expected}");
        assert!(error.starts_with(&expected), "{keys}:\n{error}");
    }
}

#[test]
fn a_classic_client_has_no_previous_key_and_needs_sequences() {
    let folder = Folder::new();
    for (keys, expected) in [
        (
            format!("previous_key = \"{OLD}\"\nprevious_until = 2027-01-01T00:00:00Z"),
            "knockd.toml:13: previous_key: a classic client has a `passphrase_file`, not a key",
        ),
        (
            "doors = [\"ssh\"]".to_owned(),
            "knockd.toml:13: doors: door `ssh` has no `sequence`, which a classic client needs",
        ),
    ] {
        let text = with("").replace("phone.pass\"", &format!("phone.pass\"\n{keys}"));
        let error = folder.error(&text);
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn no_other_client_has_the_key_before() {
    let text = with(&format!(
        "previous_key = \"{OLD}\"\nprevious_until = 2027-01-01T00:00:00Z"
    )) + &format!("[[client]]\nname = \"tablet\"\npublic_key = \"{OLD}\"\n");
    let error = Folder::new().error(&text);
    let expected =
        "knockd.toml:26: public_key: client `tablet` has the same key as client `laptop`";
    assert!(error.starts_with(expected), "{error}");
}
