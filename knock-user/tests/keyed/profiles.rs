//! Tests that set up a client and use the stored profile.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Output, Stdio},
};

use knock_common::protocol::{
    door::DoorTag,
    identity::{PrivateKey, PublicKey},
    syn::{SynKey, SynSecret},
};

use crate::{
    door::{Receiver, request},
    program::{Home, KEY, SERVER, server, syn_key, text},
};

/// Runs `knock import` with `input` as its standard input.
fn import(home: &Home, args: &[&str], input: &str) -> Output {
    let mut child = home
        .knock(&[&["import"], args].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may exit without reading its standard input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn uri(host: &str, base: &str) -> String {
    format!("knock://laptop@{host}:{base}?server={SERVER}&key={KEY}")
}

fn mode(home: &Home, path: &str) -> u32 {
    let metadata = fs::metadata(home.path("config/knock").join(path)).unwrap();
    metadata.permissions().mode() & 0o7777
}

#[test]
fn one_line_sets_a_client_up() {
    let (home, mut receiver) = (Home::new(), Receiver::open());
    let uri = uri("127.0.0.1", &receiver.base());
    let output = import(&home, &["--name=home"], &format!("{uri}\n"));
    assert_eq!(text(&output.stderr), "");
    assert_eq!(
        text(&output.stdout),
        "profile `home` is stored; to knock: knock home DOOR\n"
    );
    assert!(output.status.success());
    assert_eq!((mode(&home, ""), mode(&home, "keys")), (0o700, 0o700));
    assert_eq!(mode(&home, "knock.toml"), 0o600);
    assert_eq!(mode(&home, "keys/home.key"), 0o600);

    let output = home.run(&["home", "ssh"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let request = request(&syn_key(), &receiver.knock());
    assert_eq!(request.door, DoorTag::of("ssh"));

    let output = home.run(&["list"]);
    let last = receiver.base().parse::<u16>().unwrap() + 255;
    assert_eq!(
        text(&output.stdout),
        format!(
            "PROFILE  SERVER     CLIENT  PORTS\nhome     127.0.0.1  laptop  {}-{last}\n",
            receiver.base()
        )
    );
}

#[test]
fn a_profile_is_never_overwritten() {
    let home = Home::new();
    // All three ways to pass the invitation.
    let uri = uri("server.example.net", "61000");
    assert!(home.run(&["import", &uri]).status.success());
    assert!(
        import(&home, &["--name=second", "-"], &uri)
            .status
            .success()
    );
    let before = fs::read(home.path("config/knock/knock.toml")).unwrap();

    let output = import(&home, &[], &uri);
    assert_eq!(output.status.code(), Some(1));
    let message = text(&output.stderr);
    assert!(
        message.contains("`server.example.net` already"),
        "{message}"
    );
    assert!(message.contains("--name"), "{message}");
    assert_eq!(
        fs::read(home.path("config/knock/knock.toml")).unwrap(),
        before
    );
}

#[test]
fn a_profile_can_have_the_name_of_a_command() {
    let home = Home::new();
    let output = import(&home, &["--name=list"], &uri("127.0.0.1", "61000"));
    assert!(text(&output.stdout).ends_with("knock -- list DOOR\n"));
    assert!(text(&home.run(&["list"]).stdout).contains("list"));
    let output = home.run(&["--dry-run", "--", "list", "ssh"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout).split_whitespace().count(), 16);
}

#[test]
fn a_bad_file_of_profiles_is_named() {
    let home = Home::new();
    let folder = home.path("config/knock");
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join("knock.toml");
    fs::write(&file, "[[profile]]\nname = \"home\"\nport = 22\n").unwrap();
    for args in [&["list"][..], &["home", "ssh"], &["import", &uri("b", "1")]] {
        let output = home.run(args);
        assert_eq!(output.status.code(), Some(1));
        let message = text(&output.stderr);
        let begins = format!("knock: {}:3: port: unknown field", file.display());
        assert!(message.starts_with(&begins), "{message}");
    }

    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let output = home.run(&["list"]);
    assert!(
        text(&output.stderr).contains("mode 0666"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn keygen_writes_a_new_key_once() {
    let home = Home::new();
    let file = home.path("new.key");
    let file = file.to_str().unwrap();
    let output = home.run(&["keygen", file]);
    let note = format!("knock: wrote a new private key to {file}; its public key:\n");
    assert_eq!(text(&output.stderr), note);
    let public = text(&output.stdout).to_owned();
    assert_eq!(public.len(), 44);
    let key = fs::read_to_string(file).unwrap();
    assert!(
        key.starts_with("knock2:") && key.len() == 51,
        "{}",
        key.len()
    );
    assert_eq!(text(&home.run(&["pubkey", file]).stdout), public);
    assert_eq!(
        fs::metadata(file).unwrap().permissions().mode() & 0o7777,
        0o600
    );

    let output = home.run(&["keygen", file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("exists already"));
    assert_eq!(fs::read_to_string(file).unwrap(), key);
    let args = ["--dry-run", "--key-file", file, "--server-key", SERVER];
    let output = home.run(&[&args[..], &["127.0.0.1", "ssh"]].concat());
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_pair_that_was_enrolled_knocks() {
    let home = Home::new();
    let said = home.run(&["enroll", "127.0.0.1", "--name", "home"]);
    assert!(said.status.success(), "{said:?}");
    let said = text(&said.stdout);
    assert_eq!(mode(&home, "pending/home@127.0.0.1.key"), 0o600);
    let public = said
        .split_whitespace()
        .find_map(|word| word.parse::<PublicKey>().ok())
        .unwrap();
    let command = format!("knockd client add NAME --server 127.0.0.1 --public-key={public}\n");
    assert!(said.contains(&command), "{said}");

    let mut receiver = Receiver::open();
    let base = receiver.base();
    let invitation = format!("knock://laptop@127.0.0.1:{base}?server={SERVER}");
    let output = import(&home, &[], &invitation);
    assert!(
        text(&output.stdout).contains("profile `home`"),
        "{output:?}"
    );
    let file = home.path("config/knock/keys/home.key");
    let printed = home.run(&["pubkey", file.to_str().unwrap()]);
    assert_eq!(text(&printed.stdout), format!("{public}\n"));

    let output = home.run(&["home", "ssh"]);
    assert!(output.status.success(), "{output:?}");
    let secret = SynSecret::of_server(&server(), &public).unwrap();
    request(&SynKey::new(&secret), &receiver.knock());
    // Nothing is left to complete.
    let output = import(&home, &["--name=other"], &invitation);
    assert!(text(&output.stderr).contains("knock enroll"), "{output:?}");
}

#[test]
fn the_public_key_of_a_passphrase_is_that_of_the_vectors() {
    const PRIVATE: &[u8; 32] = b"\x0b\xfb\x3c\x15\x0b\xbf\x16\xf6\xb6\xef\xf5\x75\x92\x56\x81\x1c\
        \x9e\x60\x44\xef\x34\x62\xa7\x9a\xd3\x49\xeb\x2d\x31\xf6\x38\xdb";
    let home = Home::new();
    let file = home.secret("passphrase", "correct horse battery staple");
    let args = [
        "pubkey",
        "--client=laptop",
        "--server-key",
        SERVER,
        "--passphrase-file",
        &file,
    ];
    let output = home.run(&args);
    let public = PrivateKey::new(*PRIVATE).public();
    assert_eq!(text(&output.stdout), format!("{public}\n"), "{output:?}");
}
