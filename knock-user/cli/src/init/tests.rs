use std::os::unix::fs::PermissionsExt as _;

use super::*;
use knockd_types::policy::Secret;

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("etc/knockd.toml")
    }

    fn init(&self, client: &str) -> Result<Zeroizing<String>> {
        init(&self.config(), &self.path("state"), new(client))
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path("etc"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

fn new(client: &str) -> NewClient {
    NewClient::new(client, Some("server.example.net".into())).unwrap()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn init_makes_everything_that_the_daemon_needs() {
    let folder = Folder::new();
    let uri = folder.init("laptop").unwrap();
    let invitation: Invitation = uri.parse().unwrap();
    assert_eq!(invitation.client, "laptop");
    assert_eq!(invitation.host, "server.example.net");
    assert_eq!(invitation.window, Window::DEFAULT);
    assert!(invitation.key == key_file::read(&folder.path("etc/laptop.key")).unwrap());

    let config = Config::load(&folder.config()).unwrap();
    assert_eq!(config.state_dir, folder.path("state"));
    assert!(matches!(config.clients[0].secret, Secret::Sealed(_)));
    assert_eq!(config.doors[0].name, "ssh");
    assert_eq!(mode(&folder.path("etc/laptop.key")), 0o600);
    assert_eq!(mode(&folder.path("state")), 0o700);
    let text = fs::read_to_string(folder.config()).unwrap();
    assert!(!text.contains('{') && !text.contains('}'), "{text}");
}

/// `text` with every commented line of TOML uncommented.
fn uncommented(text: &str) -> String {
    let uncommented = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(code) if code.parse::<toml::Table>().is_ok() => code,
        _ => line,
    });
    uncommented.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_init_comments_out_is_right_too() {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    let text = uncommented(&fs::read_to_string(folder.config()).unwrap());
    let config = Config::parse(&text, &folder.config()).unwrap();
    let gate = config.gate.unwrap();
    assert_eq!(gate.rules.protect, config.doors[0].opening.ports);
    assert_eq!(gate.rules.trusted.len(), 1);
    // No commented setting is left.
    let comments = text.lines().filter(|line| line.starts_with('#'));
    for comment in comments {
        assert!(!comment.contains(" = "), "{comment}");
    }
    // The door is also valid with `open` alone.
    let is_command = |line: &&str| line.starts_with("run") || line.starts_with("close");
    let text: Vec<_> = text.lines().filter(|line| !is_command(line)).collect();
    let config = Config::parse(&text.join("\n"), &folder.config()).unwrap();
    assert!(config.doors[0].run.is_none() && config.doors[0].close.is_none());
}

#[test]
fn init_never_overwrites() {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    let before = fs::read(folder.config()).unwrap();
    let error = folder.init("phone").unwrap_err().to_string();
    assert!(error.contains("knockd client add"), "{error}");
    assert_eq!(fs::read(folder.config()).unwrap(), before);
    assert_eq!(folder.files(), ["knockd.toml", "laptop.key"]);

    // An existing key is not overwritten either.
    let folder = Folder::new();
    fs::create_dir(folder.path("etc")).unwrap();
    fs::write(folder.path("etc/laptop.key"), "precious").unwrap();
    let error = folder.init("laptop").unwrap_err().to_string();
    assert!(error.contains("laptop.key exists already"), "{error}");
    assert_eq!(folder.files(), ["laptop.key"]);
}

#[test]
fn adding_a_client_keeps_the_comments() {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    let before = fs::read_to_string(folder.config()).unwrap();
    let uri = add_client(&folder.config(), new("phone")).unwrap();
    let invitation: Invitation = uri.parse().unwrap();
    assert!(invitation.key == key_file::read(&folder.path("etc/phone.key")).unwrap());
    let after = fs::read_to_string(folder.config()).unwrap();
    for line in before.lines() {
        assert!(after.contains(line), "{line}");
    }
    assert!(
        after.contains("\n[[client]]\nname = \"phone\"\nkey_file = \"phone.key\"\n"),
        "{after}"
    );
    let config = Config::load(&folder.config()).unwrap();
    let names: Vec<_> = config
        .clients
        .iter()
        .map(|client| &client.name[..])
        .collect();
    assert_eq!(names, ["laptop", "phone"]);
    // The door does not name its clients, so the new client may open it.
    assert_eq!(config.doors[0].clients, [0, 1]);
    assert_eq!(mode(&folder.config()), 0o600);
}

#[test]
fn the_first_client_of_a_configuration_comes_last() {
    let folder = Folder::new();
    let doors = "# Doors.\n\n[[door]]\nname = \"ssh\"\nrun = [\"x\"]\n# The end.\n";
    write_new(&folder.config(), doors).unwrap().keep();
    assert_eq!(mode(&folder.config()), 0o600);
    add_client(&folder.config(), new("laptop")).unwrap();
    let after = fs::read_to_string(folder.config()).unwrap();
    assert!(after.starts_with("# Doors.\n\n[[door]]\n"), "{after}");
    assert!(after.contains("# The end.\n"), "{after}");
    assert_eq!(Config::load(&folder.config()).unwrap().clients.len(), 1);
}

#[test]
fn what_is_wrong_beside_the_missing_client_is_told_and_left() {
    let folder = Folder::new();
    let text = "[[door]]\nname = \"ssh\"\n";
    write_new(&folder.config(), text).unwrap().keep();
    let error = add_client(&folder.config(), new("laptop")).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("knockd.toml:2: name: door `ssh` has neither"),
        "{error}"
    );
    assert_eq!(folder.files(), ["knockd.toml"]);
    assert_eq!(fs::read_to_string(folder.config()).unwrap(), text);
    drop(write_new(&folder.path("etc/other.toml"), text).unwrap());
    assert_eq!(folder.files(), ["knockd.toml"]);
}

#[test]
fn a_linked_configuration_stays_linked() {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    let elsewhere = folder.path("elsewhere.toml");
    fs::rename(folder.config(), &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, folder.config()).unwrap();
    add_client(&folder.config(), new("phone")).unwrap();
    assert!(fs::symlink_metadata(folder.config()).unwrap().is_symlink());
    assert_eq!(Config::load(&folder.config()).unwrap().clients.len(), 2);
}

#[test]
fn a_client_that_cannot_be_added_changes_nothing() {
    let folder = Folder::new();
    folder.init("laptop").unwrap();
    let before = fs::read(folder.config()).unwrap();
    let same = add_client(&folder.config(), new("laptop")).unwrap_err();
    assert!(
        same.to_string().contains("has a client \"laptop\" already"),
        "{same:#}"
    );
    fs::write(folder.path("etc/phone.key"), "precious").unwrap();
    assert!(add_client(&folder.config(), new("phone")).is_err());
    fs::write(folder.path("etc/knockd.toml.new"), "another editor").unwrap();
    assert!(add_client(&folder.config(), new("tablet")).is_err());
    assert_eq!(fs::read(folder.config()).unwrap(), before);
    assert_eq!(
        folder.files(),
        ["knockd.toml", "knockd.toml.new", "laptop.key", "phone.key"]
    );
    for name in ["", "../x", "a b", ".hidden", "a/b", "é"] {
        assert!(NewClient::new(name, None).is_err(), "{name:?}");
    }
}
