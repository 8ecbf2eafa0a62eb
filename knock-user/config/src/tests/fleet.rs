use knockd_types::fleet::WhenUnreachable;

use super::*;

pub(super) const CERTIFICATE: &str =
    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
pub(super) const PRIVATE_KEY: &str =
    "-----BEGIN PRIVATE KEY-----\nbm90aGluZw\n-----END PRIVATE KEY-----\n";
pub(super) const FLEET_KEY: &str = "knockd-fleet1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n";

const FLEET: &str = r#"
[fleet]
engine = ["192.0.2.11:4222", "[2001:db8::12]:4222"]
server_name = "nats.example"
ca = "ca.pem"
certificate = "node.pem"
certificate_key = "node.key"
key_file = "fleet.key"
node = "edge1"
"#;

#[test]
fn a_node_of_a_fleet_has_its_files_and_the_defaults() {
    let config = Folder::new().load(&format!("{GOOD}{FLEET}")).unwrap();
    let fleet = config.fleet.unwrap();
    assert_eq!(fleet.engine.servers.len(), 2);
    assert_eq!(fleet.engine.authorities, CERTIFICATE);
    assert_eq!(fleet.engine.key.expose(), PRIVATE_KEY.trim_end());
    assert_eq!(fleet.engine.prefix, "knock");
    assert_eq!(fleet.key.expose()[31], 31);
    assert_eq!(fleet.node, "edge1");
    assert_eq!(fleet.when_unreachable, WhenUnreachable::Refuse);
    assert_eq!(fleet.patience, Duration::from_secs(1));
    assert!(config.doors.iter().all(|door| door.everywhere));
}

#[test]
fn a_door_may_open_here_alone() {
    let here = "name = \"backup\"\nwhere = \"here\"";
    let text = GOOD.replace("name = \"backup\"", here);
    let config = Folder::new().load(&text).unwrap();
    assert!(config.doors[0].everywhere && !config.doors[1].everywhere);
}

#[test]
fn no_secret_of_a_fleet_is_shown() {
    let config = Folder::new().load(&format!("{GOOD}{FLEET}")).unwrap();
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("PRIVATE KEY") && !shown.contains("bm90aGluZw"),
        "{shown}"
    );
    assert!(!shown.contains("1, 2, 3, 4, 5"), "{shown}");
}

#[test]
fn what_is_wrong_with_a_file_of_a_fleet_is_said_with_its_place() {
    let folder = Folder::new();
    folder.write("exposed.key", PRIVATE_KEY, 0o644);
    folder.write("writable.pem", CERTIFICATE, 0o666);
    for (good, bad, expected) in [
        (
            "\"ca.pem\"",
            "\"none.pem\"",
            "ca: none.pem: it cannot be read",
        ),
        (
            "\"ca.pem\"",
            "\"node.key\"",
            "ca: node.key: it has no certificate",
        ),
        (
            "\"ca.pem\"",
            "\"writable.pem\"",
            "ca: writable.pem: others can change it",
        ),
        (
            "\"node.key\"",
            "\"exposed.key\"",
            "certificate_key: exposed.key: others can read",
        ),
        (
            "\"node.key\"",
            "\"fleet.key\"",
            "certificate_key: fleet.key: it has no private key",
        ),
        (
            "\"fleet.key\"",
            "\"node.key\"",
            "key_file: node.key: this is not the key of a fleet",
        ),
        (
            "[\"192.0.2.11:4222\", \"[2001:db8::12]:4222\"]",
            "[]",
            "engine: there is no server",
        ),
    ] {
        let text = format!("{GOOD}{}", FLEET.replacen(good, bad, 1));
        let error = folder.error(&text);
        assert!(error.contains(expected), "{error}");
        assert!(!error.contains("bm90aGluZw"), "{error}");
    }
}
