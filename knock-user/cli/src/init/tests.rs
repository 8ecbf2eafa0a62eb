//! Tests of the first configuration. The tests of `client add` use its directory as well.

use std::os::unix::fs::PermissionsExt as _;

use knock_common::window::Window;
use knockd_credentials::{invitation::Invitation, key_file};
use knockd_types::policy::Secret;

use super::*;

/// A directory for a configuration, with the subdirectory `etc`.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path("etc/knockd.toml")
    }

    pub(crate) fn init(&self, client: &str) -> Result<Zeroizing<String>> {
        init(&self.config(), &self.path("state"), new(client))
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path("etc"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// A new client that reaches this server as `server.example.net`.
pub(crate) fn new(client: &str) -> NewClient {
    NewClient::new(client, Some("server.example.net".into())).unwrap()
}

/// The permission bits of the file at `path`.
pub(crate) fn mode(path: &Path) -> u32 {
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
