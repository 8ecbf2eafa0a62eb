use std::{fs, net::TcpListener, path::Path};

use clap::Parser as _;
use knock_common::protocol::identity::{KeyPair, Owner, PrivateKey};
use knockd_credentials::key_file;

use super::{
    report::{Finding, Level},
    *,
};
use crate::{
    cli::{Cli, Command},
    testing::respond,
};

/// What `check` finds.
pub(super) fn findings(check: impl FnOnce(&mut Report<'_, '_>) -> Result<()>) -> Vec<Finding> {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut console = Console::new(&mut out, &mut notes, false);
    let mut report = Report::new(false, &mut console);
    check(&mut report).unwrap();
    report.findings
}

fn args(text: &str) -> Box<DoctorArgs> {
    let words = ["knock", "doctor"]
        .into_iter()
        .chain(text.split_whitespace());
    match Cli::try_parse_from(words).unwrap().command {
        Some(Command::Doctor(args)) => args,
        other => panic!("{other:?}"),
    }
}

/// Writes a profile `home` with a key to `folder`.
fn profiles(folder: &Path, more: &str) -> Profiles {
    let server = KeyPair::from(PrivateKey::new([7; 32])).public();
    let key = key_file::generate().unwrap();
    key_file::create(Owner::Client, &folder.join("home.key"), &key).unwrap();
    let text = format!(
        "[[profile]]\nname = \"home\"\nhost = \"127.0.0.1\"\nclient = \"laptop\"\n\
         server_key = \"{server}\"\nkey_file = \"home.key\"\n{more}\n"
    );
    fs::write(folder.join("knock.toml"), text).unwrap();
    Profiles::load(folder.to_owned()).unwrap()
}

/// The levels and the names of the findings, and all text.
fn examined(line: &str, profiles: &Profiles) -> (Vec<(Level, &'static str)>, String) {
    let found = findings(|report| examine(&args(line), profiles, report));
    let text: Vec<_> = found
        .iter()
        .map(|one| format!("{} {:?}", one.message, one.next))
        .collect();
    let found = found.iter().map(|one| (one.level, one.check)).collect();
    (found, text.join("\n"))
}

#[test]
fn a_good_profile_and_its_key_are_ok_and_no_key_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let profiles = profiles(folder.path(), "");
    let (found, text) = examined("", &profiles);
    let expected = [
        (Level::Ok, "profile"),
        (Level::Ok, "key"),
        (Level::Ok, "clock"),
    ];
    assert_eq!(found, expected);
    let secret = fs::read_to_string(folder.path().join("home.key")).unwrap();
    let secret = secret.trim().trim_start_matches("knock2:");
    assert!(!text.contains(secret));
    let key = PrivateKey::from_text(secret.as_bytes()).unwrap();
    assert!(text.contains(&key.public().to_string()), "{text}");
}

#[test]
fn a_key_that_cannot_be_used_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let profiles = profiles(folder.path(), "");
    let file = folder.path().join("home.key");
    let problem = |expected: &str| {
        let (found, text) = examined("", &profiles);
        assert!(found.contains(&(Level::Problem, "key")), "{found:?}");
        assert!(text.contains(expected), "{text}");
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        problem("chmod 600");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::write(&file, "knock2:sesame").unwrap();
    problem("home.key");
    fs::remove_file(&file).unwrap();
    problem("cannot be read");
}

#[test]
fn a_name_without_a_profile_is_taken_for_a_host() {
    let port = respond(|_, send| send(b"!")).port();
    let line = format!("127.0.0.1 --udp --udp-port {port}");
    let (found, text) = examined(&line, &Profiles::none());
    assert_eq!(found[0], (Level::Warning, "profile"));
    assert!(text.contains("knock list"), "{text}");
    // This host itself.
    assert!(found.contains(&(Level::Warning, "name")), "{found:?}");
    assert!(found.contains(&(Level::Ok, "route")), "{found:?}");
    assert!(!found.iter().any(|(_, check)| *check == "key"), "{found:?}");
}

#[test]
fn what_the_profile_says_is_looked_at_unless_the_command_line_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let udp = respond(|_, send| send(b"!")).port();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = listener.local_addr().unwrap().port();
    let profiles = profiles(
        folder.path(),
        &format!(
            "transport = \"udp\"\nudp = {udp}\nverify = \"tcp/{tcp}\"\nsource_ip = \"192.0.2.7\""
        ),
    );
    let (found, text) = examined("home", &profiles);
    let checks: Vec<_> = found.iter().map(|(_, check)| *check).collect();
    let expected = [
        "profile", "key", "clock", "name", "route", "source", "udp", "port",
    ];
    assert_eq!(checks, expected);
    let ports = [format!("udp/{udp}"), format!("tcp/{tcp}")];
    assert!(ports.iter().all(|port| text.contains(port)), "{text}");
    assert!(text.contains("bound to 192.0.2.7, but leave"), "{text}");

    let line = "home --syn --source-ip none --verify none --base 40000";
    let (found, text) = examined(line, &profiles);
    assert!(text.contains("tcp/40000 and tcp/40255"), "{text}");
    // The profile still says that the server takes datagrams there.
    assert!(found.iter().any(|(_, check)| *check == "udp"), "{found:?}");
    assert!(
        !found.iter().any(|(_, check)| *check == "port"),
        "{found:?}"
    );
}

#[test]
fn a_knock_that_is_not_defined_is_a_problem() {
    let folder = tempfile::tempdir().unwrap();
    let profiles = profiles(folder.path(), "for = \"20h\"");
    let (found, text) = examined("home ssh --knock", &profiles);
    assert!(found.contains(&(Level::Problem, "knock")), "{found:?}");
    assert!(text.contains("none was sent"), "{text}");
}

#[test]
fn json_is_one_object() {
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut console = Console::new(&mut out, &mut notes, false);
    let mut report = Report::new(true, &mut console);
    report.ok("clock", "right").unwrap();
    report.problem("name", "a\u{1b}[2J\nb", "look").unwrap();
    assert_eq!(report.finish().unwrap(), 1);
    drop(console);
    let object: serde_json::Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(object["problems"], 1);
    assert_eq!(object["findings"][0]["level"], "ok");
    assert!(object["findings"][0].get("next").is_none());
    assert_eq!(object["findings"][1]["message"], "a\\u{1b}[2J\\nb");
    assert_eq!(object["findings"][1]["next"], "look");
}

#[test]
fn each_finding_is_one_line_and_the_status_tells_of_problems() {
    let print = |level: Option<Level>| {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        let mut console = Console::new(&mut out, &mut notes, false);
        let mut report = Report::new(false, &mut console);
        report.ok("route", "there is one").unwrap();
        if let Some(level) = level {
            report
                .add("name", level, "two\nlines", Some("look"))
                .unwrap();
        }
        let status = report.finish().unwrap();
        drop(console);
        (status, String::from_utf8(out).unwrap())
    };
    let (status, text) = print(None);
    assert_eq!(status, 0);
    assert!(
        text.starts_with("ok       route: there is one\nNothing is wrong"),
        "{text}"
    );
    let (status, text) = print(Some(Level::Warning));
    assert_eq!(status, 0);
    assert!(
        text.ends_with("warning  name: two\\nlines -> look\n0 problems, 1 warning\n"),
        "{text}"
    );
    let (status, text) = print(Some(Level::Problem));
    assert_eq!(status, 1);
    assert!(text.ends_with("1 problem, 0 warnings\n"), "{text}");
}
