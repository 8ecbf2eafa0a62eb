//! Tests that no secret is shown, neither in messages nor in the process list.

#[cfg(unix)]
use std::fs;
use std::process::{Output, Stdio};

use crate::program::{Home, KEY, SERVER};

const PASSPHRASE: &str = "xyzzy-plugh-4711";

fn assert_silent(output: &Output, about: &dyn std::fmt::Debug) {
    for bytes in [&output.stdout, &output.stderr] {
        let message = String::from_utf8_lossy(bytes);
        // Not even most of the secret.
        for secret in [&KEY[1..30], &KEY[10..42], &PASSPHRASE[2..]] {
            assert!(!message.contains(secret), "{about:?} shows {message}");
        }
    }
}

/// Lets other users read the file, on systems with file modes.
fn expose(path: &str) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
    }
    #[cfg(not(unix))]
    let _ = path;
}

/// Command lines that fail in different ways, with secrets in their proper places and in wrong
/// ones.
fn failures(home: &Home) -> Vec<Vec<String>> {
    let key_text = format!("knock2:{KEY}");
    let uri = format!("knock://laptop@127.0.0.1:61000?server={SERVER}&key={KEY}");
    let key = home.key_file();
    let passphrase = home.secret("passphrase", PASSPHRASE);
    let broken = home.secret("broken", &format!("knock2:{KEY}A"));
    let short = home.secret("short", &format!("knock2:{}", &KEY[..42]));
    let bare = home.secret("bare", KEY);
    let long = home.secret("long", &PASSPHRASE.repeat(300));
    let exposed = home.secret("exposed", &key_text);
    expose(&exposed);
    let keys = format!("--key-file {key} --server-key {SERVER}");
    let silent = "--verify tcp/9 --timeout 100ms --source-ip none 127.0.0.1 ssh";
    let lines = [
        // Invalid files, and files of another kind.
        format!("--server-key {SERVER} --key-file {broken} 127.0.0.1 ssh"),
        format!("--server-key {SERVER} --key-file {short} 127.0.0.1 ssh"),
        format!("--server-key {SERVER} --key-file {bare} 127.0.0.1 ssh"),
        format!(
            "--server-key {SERVER} --key-file {exposed} --verify tcp/9 --timeout 1ms 127.0.0.1 ssh"
        ),
        format!("--server-key {SERVER} --key-file {passphrase} 127.0.0.1 ssh"),
        format!("--server-key {SERVER} --passphrase-file {long} --client c 127.0.0.1 ssh"),
        format!(
            "--server-key {SERVER} --passphrase-file {exposed} --client c --verify tcp/9 --timeout 1ms 127.0.0.1 ssh"
        ),
        // Valid files, with another failure.
        format!("{keys} -6 127.0.0.1 ssh"),
        format!("{keys} -4 ::1 ssh"),
        format!("{keys} --copies 9 127.0.0.1 ssh"),
        format!("{keys} {silent}"),
        format!("--server-key {SERVER} --passphrase-file {passphrase} --client c {silent}"),
        format!("--classic --sequence 1 --passphrase-file {passphrase} -6 127.0.0.1"),
        // Secrets in wrong places of the command line.
        format!("--server-key {SERVER} --key-file {key_text} 127.0.0.1 ssh"),
        format!("--server-key {SERVER} --passphrase-file {key_text} --client c 127.0.0.1 ssh"),
        format!("--server-key {key_text} --key-file {key} 127.0.0.1 ssh"),
        format!("--server-key {} --key-file {key} 127.0.0.1 ssh", &KEY[..42]),
        format!("{keys} --udp-port {key_text} 127.0.0.1 ssh"),
        format!("{keys} --open-for {key_text} 127.0.0.1 ssh"),
        format!("{keys} --time-offset {key_text} 127.0.0.1 ssh"),
        format!("{keys} --time {key_text} 127.0.0.1 ssh"),
        format!("{keys} --time ntp:{key_text} 127.0.0.1 ssh"),
        format!("{keys} --time ntp:127.0.0.1:9 127.0.0.1 ssh"),
        format!("{keys} --resolve-ip {key_text} 127.0.0.1 ssh"),
        format!("{keys} --resolve-ip stun:{key_text} 127.0.0.1 ssh"),
        format!("{keys} --resolve-ip http://{key_text} 127.0.0.1 ssh"),
        format!("{keys} --resolve-ip https://knock:{key_text}@127.0.0.1 -6 127.0.0.1 ssh"),
        format!("{keys} --hold {silent} -- true"),
        format!("{keys} --udp -6 127.0.0.1 ssh"),
        format!("--key {key_text} 127.0.0.1 ssh"),
        format!("--key={key_text} 127.0.0.1 ssh"),
        format!("--passphrase={PASSPHRASE} 127.0.0.1 ssh"),
        format!("--client {key_text} 127.0.0.1 ssh"),
        format!("--for {key_text} 127.0.0.1 ssh"),
        format!("--source-ip {key_text} 127.0.0.1 ssh"),
        format!("--base {key_text} 127.0.0.1 ssh"),
        format!("--verify {key_text} 127.0.0.1 ssh"),
        format!("{key_text} ssh"),
        format!("{uri} ssh"),
        uri.clone(),
        format!("127.0.0.1 ssh {uri}"),
        format!("127.0.0.1 ssh {key_text}"),
        format!("127.0.0.1 {key_text}"),
        format!("--key-file {key} -6 {KEY} ssh"),
        key_text.clone(),
        // Invalid invitations.
        format!("import {uri}A"),
        format!("import {uri}?A"),
        format!("import {}", uri.replace("61000", "0")),
        format!("import {}", uri.replace("127.0.0.1:61000", "127.0.0.1")),
        format!("import {}", uri.replace("laptop@", "")),
        format!("import {}", uri.replace("knock", "http")),
        format!("import {key_text}"),
        format!("import {uri} {uri}"),
        format!("import {uri} --frob"),
        format!("import {uri} --name {key_text}/{KEY}/{KEY}"),
        format!("import --name {uri}"),
        format!("list {uri}"),
        format!("keygen {key_text}/{KEY}"),
        format!("keygen {key}"),
        format!("pubkey {key_text}/{KEY}"),
        format!("pubkey {broken}"),
        format!("enroll {key_text}"),
        format!("enroll host --name {key_text}/{KEY}/{KEY}"),
        format!("import {}", uri.replace(SERVER, KEY).replace("61000", "0")),
    ];
    let words = |line: &String| line.split(' ').map(str::to_owned).collect();
    lines.iter().map(words).collect()
}

#[test]
fn no_failure_shows_a_secret() {
    let home = Home::new();
    for args in failures(&home) {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let output = home.knock(&args).stdin(Stdio::null()).output().unwrap();
        assert!(!output.status.success(), "{args:?}");
        assert!(!output.stderr.is_empty(), "{args:?}");
        assert_silent(&output, &args);
    }
}

#[test]
fn no_success_shows_a_secret() {
    let home = Home::new();
    let key = home.key_file();
    let passphrase = home.secret("passphrase", PASSPHRASE);
    let uri = format!("knock://laptop@127.0.0.1:61000?server={SERVER}&key={KEY}");
    let keys = ["--key-file", &key, "--server-key", SERVER];
    let new = home.path("new.key").to_str().unwrap().to_owned();
    for args in [
        [&keys[..], &["--dry-run", "127.0.0.1", "ssh"]].concat(),
        [&keys[..], &["127.0.0.1", "ssh"]].concat(),
        [
            &keys[..],
            &["--dry-run", "--udp", "--syn", "127.0.0.1", "ssh"],
        ]
        .concat(),
        [&keys[..], &["--udp", "--udp-port=9", "127.0.0.1", "ssh"]].concat(),
        vec!["pubkey", &key],
        vec!["keygen", &new],
        vec!["enroll", "127.0.0.1"],
        vec![
            "--passphrase-file",
            &passphrase,
            "--client=c",
            "--server-key",
            SERVER,
            "127.0.0.1",
            "ssh",
        ],
        vec!["import", &uri, "--name=home"],
        vec!["list"],
        vec!["home", "ssh"],
    ] {
        let output = home.run(&args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        assert_silent(&output, &args);
    }
}

/// Only the key file contains the imported key.
#[cfg(unix)]
#[test]
fn a_profile_does_not_hold_its_key() {
    let home = Home::new();
    let uri = format!("knock://laptop@127.0.0.1:61000?server={SERVER}&key={KEY}");
    assert!(home.run(&["import", &uri]).status.success());
    let profiles = fs::read_to_string(home.path("config/knock/knock.toml")).unwrap();
    assert!(
        profiles.contains("127.0.0.1.key") && !profiles.contains(KEY),
        "{profiles}"
    );
}

#[cfg(target_os = "linux")]
#[test]
fn process_lists_show_no_secret() {
    use std::io::Write as _;

    let home = Home::new();
    let key = home.key_file();
    let passphrase = home.secret("passphrase", PASSPHRASE);
    let waits = "--verify tcp/9 --timeout 30s --source-ip none 127.0.0.1 ssh";
    for args in [
        format!("--key-file {key} --server-key {SERVER} {waits}"),
        format!("--server-key {SERVER} --passphrase-file {passphrase} --client c {waits}"),
        "import".to_owned(),
    ] {
        let mut child = home
            .knock(&args.split(' ').collect::<Vec<_>>())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Part of an invitation, so that the program waits for the rest.
        let mut input = child.stdin.take().unwrap();
        let _ = write!(
            input,
            "knock://laptop@127.0.0.1:61000?server={SERVER}&key={KEY}"
        );
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(child.try_wait().unwrap().is_none(), "{args}");
        for about in ["cmdline", "environ"] {
            let seen = fs::read(format!("/proc/{}/{about}", child.id())).unwrap();
            let seen = String::from_utf8_lossy(&seen);
            assert!(
                !seen.contains(&KEY[1..]) && !seen.contains(PASSPHRASE),
                "{seen}"
            );
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
