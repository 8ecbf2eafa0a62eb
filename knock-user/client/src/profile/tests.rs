use std::{fs, num::NonZeroU16};

use knock_common::{
    protocol::{
        identity::{Owner, PrivateKey, PublicKey},
        lease::RequestedLease,
    },
    window::Window,
};
use proptest::prelude::*;

use super::*;
use crate::{
    source_ip::SourceIp,
    time_source::TimeSource,
    transport::{Transport, UdpPort},
};

const SERVER: &str = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI";

const FULL: &str = r#"
[[profile]]
name = "home"
host = "server.example.net"
client = "laptop"
base = 40000
key_file = "keys/home.key"
server_key = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI"
udp = 53
transport = "both"
time_offset = "-2h"
resolve_ip = "stun:192.0.2.3:3479"
for = "10m"
source_ip = "none"
verify = "tcp/22"

[[profile]]
name = "least"
host = "2001:db8::1"
client = "phone"
server_key = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI"
"#;

/// A configuration directory with `text` as its `knock.toml`.
fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join(FILE_NAME), text, 0o600);
    folder
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = mode;
}

fn load(folder: &tempfile::TempDir) -> Result<Profiles, ProfilesError> {
    Profiles::load(folder.path().to_owned())
}

fn refused(text: &str) -> String {
    let folder = folder(text);
    let error = load(&folder).unwrap_err().to_string();
    let path = folder.path().join(FILE_NAME);
    let message = error.strip_prefix(path.to_str().unwrap());
    message.unwrap_or_else(|| panic!("{error}")).to_owned()
}

fn invitation(host: &str) -> Invitation {
    Invitation {
        client: "laptop".into(),
        host: host.parse().unwrap(),
        window: Window::new(40_000).unwrap(),
        server: PublicKey([8; 32]),
        udp: NonZeroU16::new(53),
        key: None,
    }
}

fn add(folder: &Path, name: &str, host: &str) -> Result<(), ProfilesError> {
    let client = "laptop".parse().unwrap();
    let mut profiles = Profiles::load(folder.to_owned())?;
    let server = host.parse().unwrap();
    let (name, invitation) = (name.parse().unwrap(), invitation(host));
    profiles.add(&name, &client, &server, &invitation, &key())
}

fn key() -> PrivateKey {
    PrivateKey::new([7; 32])
}

#[test]
fn all_keys_of_a_profile_are_read() {
    let folder = folder(FULL);
    let profiles = load(&folder).unwrap();
    assert_eq!(profiles.iter().count(), 2);
    let home = profiles.get("home").unwrap();
    assert_eq!(home.server.as_str(), "server.example.net");
    assert_eq!(home.client.as_str(), "laptop");
    assert_eq!(home.window.base(), 40000);
    assert_eq!(
        home.key_file.as_deref(),
        Some(&*folder.path().join("keys/home.key"))
    );
    let lease = RequestedLease::of(std::time::Duration::from_secs(600)).unwrap();
    assert_eq!(home.lease, Some(lease));
    assert_eq!(home.source_ip, Some(SourceIp::None));
    assert_eq!(home.verify, Some("tcp/22".parse().unwrap()));
    assert_eq!(home.server_key, SERVER.parse().unwrap());
    assert_eq!(home.udp.map(UdpPort::get), Some(53));
    assert_eq!(home.transport, Some(Transport::Both));
    assert_eq!(home.time, TimeSource::Offset("-2h".parse().unwrap()));
    assert_eq!(
        home.resolve_ip,
        Some("stun:192.0.2.3:3479".parse().unwrap())
    );

    let least = profiles.get("least").unwrap();
    assert_eq!(least.window, Window::DEFAULT);
    assert!(least.key_file.is_none() && least.lease.is_none());
    assert!(least.udp.is_none() && least.transport.is_none() && least.resolve_ip.is_none());
    assert_eq!(least.time, TimeSource::System);
    assert!(profiles.get("server.example.net").is_none());
}

#[test]
fn no_file_is_no_profile() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(load(&folder).unwrap().iter().count(), 0);
    let nowhere = Profiles::load(folder.path().join("nowhere")).unwrap();
    assert_eq!(nowhere.iter().count(), 0);
}

#[test]
fn errors_name_line_and_key() {
    for (from, to, expected) in [
        (
            "base = 40000",
            "base = 0",
            ":6: base: 0 cannot be a window's base",
        ),
        ("base = 40000", "base = \"x\"", ":6: base: invalid type"),
        ("for = \"10m\"", "for = \"10\"", ":13: for: "),
        (
            "for = \"10m\"",
            "for = \"1500ms\"",
            ":13: for: a knock can ask for 1 to 4294967294 whole seconds",
        ),
        (
            "source_ip = \"none\"",
            "source_ip = \"no\"",
            ":14: source_ip: expected `auto`",
        ),
        ("verify = \"tcp/22\"", "verify = \"22\"", ":15: verify: "),
        ("verify = \"tcp/22\"", "verify", ":15: "),
        (
            "name = \"home\"",
            "name = \"\"",
            ":3: name: a name has 1 to 64 bytes",
        ),
        (
            "name = \"home\"",
            "name = \"-4\"",
            ":3: name: a profile's name",
        ),
        (
            "name = \"least\"",
            "name = \"home\"",
            ":18: name: there is another profile `home`",
        ),
        (
            "host = \"server.example.net\"",
            "host = \"a:22\"",
            ":4: host: a knock uses its own ports",
        ),
        ("client = \"laptop\"\n", "", ":2: missing field `client`"),
        (
            &format!("server_key = \"{SERVER}\"\nudp"),
            "udp",
            ":2: missing field `server_key`",
        ),
        (
            SERVER,
            "short",
            ":8: server_key: a public key has 43 characters, not 5",
        ),
        ("udp = 53", "udp = 0", ":9: udp: "),
        (
            "\"both\"",
            "\"tcp\"",
            ":10: transport: expected `syn`, `udp` or `both`",
        ),
        (
            "\"-2h\"",
            "\"2\"",
            ":11: time_offset: expected a duration with a sign",
        ),
        (
            "\"stun:",
            "\"turn:",
            ":12: resolve_ip: expected `none`, stun:HOST or https://HOST/",
        ),
        (
            "time_offset",
            "time = \"ntp:host\"\ntime_offset",
            ":3: name: `time` and `time_offset` exclude each other",
        ),
        ("[[profile]]", "[profiles]", ":2: unknown field `profiles`"),
    ] {
        let text = FULL.replacen(from, to, 1);
        assert_ne!(text, FULL);
        let message = refused(&text);
        assert!(message.starts_with(expected), "{to}: {message}");
    }
}

#[test]
fn a_misplaced_key_is_not_shown() {
    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    for wrong in [
        format!("key = \"knock2:{KEY}\""),
        format!("key_file = [\"knock2:{KEY}\"]"),
        format!("verify = \"{KEY}\""),
        format!("source_ip = \"{KEY}\""),
        format!("for = \"knock2:{KEY}\""),
        format!("host = \"knock2:{KEY}\""),
        format!("key_file = knock2:{KEY}"),
        format!("server_key = \"knock2:{KEY}\""),
        format!("server_key = \"{}\"", &KEY[1..]),
        format!("knock2:{KEY}"),
    ] {
        let message = refused(&format!("[[profile]]\n{wrong}\n"));
        assert!(!message.contains("AECAwQF"), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_change_is_refused() {
    for (mode, good) in [(0o600, true), (0o644, true), (0o664, false), (0o602, false)] {
        let folder = folder(FULL);
        write(&folder.path().join(FILE_NAME), FULL, mode);
        match load(&folder) {
            Ok(_) => assert!(good, "{mode:o}"),
            Err(error) => {
                let error = error.to_string();
                assert!(!good && error.contains(&format!("{mode:04o}")), "{error}");
            }
        }
    }
}

#[test]
fn a_file_of_another_kind_is_refused() {
    let folder = folder(&"#".repeat(2 << 20));
    let error = load(&folder).unwrap_err().to_string();
    assert!(error.contains("longer"), "{error}");
    write(&folder.path().join(FILE_NAME), "", 0o600);
    fs::write(folder.path().join(FILE_NAME), b"\xff").unwrap();
    assert!(matches!(load(&folder), Err(ProfilesError::Io { .. })));
}

#[test]
fn adding_touches_nothing_that_is_there() {
    let folder = folder(&format!(
        "# mine\n[[profile]]\nname='a'\nhost='b'\nclient='c'
server_key='{SERVER}'"
    ));
    add(folder.path(), "home", "192.0.2.7").unwrap();
    add(folder.path(), "2001:db8::1", "2001:db8::1").unwrap();
    let text = fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
    assert!(text.starts_with("# mine\n[[profile]]\nname='a'"), "{text}");

    let profiles = load(&folder).unwrap();
    let names: Vec<_> = profiles.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["a", "home", "2001:db8::1"]);
    for name in ["home", "2001:db8::1"] {
        let profile = profiles.get(name).unwrap();
        assert_eq!(profile.window.base(), 40000);
        assert_eq!(profile.server_key, PublicKey([8; 32]));
        assert_eq!(profile.udp.map(UdpPort::get), Some(53));
        assert_eq!(profile.transport, Some(Transport::Syn));
        let file = profile.key_file.as_deref().unwrap();
        assert!(key_file::read(Owner::Client, file).unwrap() == key());
    }
    let key = profiles
        .get("2001:db8::1")
        .unwrap()
        .key_file
        .clone()
        .unwrap();
    assert!(key.ends_with("keys/2001%3Adb8%3A%3A1.key"), "{key:?}");
}

#[cfg(unix)]
#[test]
fn what_is_added_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;

    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("config/knock");
    add(&folder, "home", "192.0.2.7").unwrap();
    for (path, mode) in [
        ("", 0o700),
        ("keys", 0o700),
        ("knock.toml", 0o600),
        ("keys/home.key", 0o600),
    ] {
        let metadata = fs::metadata(folder.join(path)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o7777, mode, "{path}");
    }
}

#[test]
fn nothing_is_overwritten() {
    let folder = folder(FULL);
    let error = add(folder.path(), "home", "192.0.2.7").unwrap_err();
    assert!(matches!(error, ProfilesError::Exists { .. }));
    assert!(error.to_string().contains("--name"), "{error}");
    assert!(!folder.path().join(KEYS).exists());

    fs::create_dir(folder.path().join(KEYS)).unwrap();
    let key = folder.path().join(KEYS).join("other.key");
    fs::write(&key, "mine").unwrap();
    let error = add(folder.path(), "other", "192.0.2.7").unwrap_err();
    assert!(matches!(error, ProfilesError::KeyExists { .. }));
    assert_eq!(fs::read_to_string(key).unwrap(), "mine");
    let text = fs::read_to_string(folder.path().join(FILE_NAME)).unwrap();
    assert_eq!(text, FULL);
}

#[test]
fn names_that_differ_in_case_only_are_one() {
    let folder = folder(FULL);
    let error = add(folder.path(), "HOME", "192.0.2.7").unwrap_err();
    assert!(error.to_string().contains("a profile `home`"), "{error}");
}

#[test]
fn no_key_file_is_a_device_of_windows() {
    for (name, file) in [
        ("con", "_con.key"),
        ("NUL", "_NUL.key"),
        ("com1.example", "_com1.example.key"),
        ("console", "console.key"),
        ("_con", "_con.key"),
    ] {
        assert_eq!(key_file_of(name), file);
    }
}

#[test]
fn a_name_can_be_typed() {
    for (name, good) in [
        ("home", true),
        ("web admin", true),
        ("list", true),
        ("2001:db8::1", true),
        ("[2001:db8::1]", false),
        ("home:22", false),
        ("knock://a", false),
        ("-4", false),
    ] {
        assert_eq!(check_name(&name.parse().unwrap()).is_ok(), good, "{name}");
    }
}

#[test]
fn a_failed_addition_leaves_no_key() {
    // A table cannot be appended to a file with an inline array.
    let folder = folder("profile = []\n");
    let error = add(folder.path(), "home", "192.0.2.7").unwrap_err();
    assert!(matches!(error, ProfilesError::Invalid { .. }), "{error}");
    assert!(!folder.path().join(KEYS).exists());

    let folder = tempfile::tempdir().unwrap();
    let mut profiles = load(&folder).unwrap();
    // Created after the profiles were read, and not a regular file.
    fs::create_dir(folder.path().join(FILE_NAME)).unwrap();
    let name = "home".parse().unwrap();
    let server = "192.0.2.7".parse().unwrap();
    let invitation = invitation("192.0.2.7");
    let error = profiles.add(&name, &name, &server, &invitation, &key());
    assert!(matches!(error, Err(ProfilesError::Io { .. })));
    assert!(!folder.path().join("keys/home.key").exists());
    assert_eq!(profiles.iter().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_name_is_read_as_it_was_added(name in "[^\\p{C}\\p{Z}]{1,16}") {
        prop_assume!(check_name(&name.parse().unwrap()).is_ok());
        let root = tempfile::tempdir().unwrap();
        add(root.path(), &name, "192.0.2.7").unwrap();
        let profiles = load(&root).unwrap();
        let profile = profiles.get(&name).unwrap();
        prop_assert!(key_file::read(Owner::Client, profile.key_file.as_deref().unwrap()).is_ok());
    }

    #[test]
    fn any_text_is_read_or_refused(text: String) {
        let _ = file::parse(&text, Path::new("/nowhere"));
    }
}
