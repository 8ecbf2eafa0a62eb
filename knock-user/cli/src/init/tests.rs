//! Tests of the first configuration. The tests of `client add` use its directory as well.

use std::os::unix::fs::PermissionsExt as _;

use knock_common::{
    protocol::identity::{KeyPair, Owner, PrivateKey, PublicKey},
    window::Window,
};
use knockd_credentials::{invitation::Invitation, key_file, secret_file};
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

    pub(crate) fn init(&self, client: &str) -> Result<Invitation> {
        init(&self.config(), &self.path("state"), new(client), invited)
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

/// The invitation of `client`, as it is read from what is shown.
pub(crate) fn invited(client: NewClient, config: &Config) -> Result<Invitation> {
    let shown = client.invitation(config, false)?;
    let uri = shown.text().strip_prefix("knock import '").unwrap();
    Ok(uri.strip_suffix('\'').unwrap().parse()?)
}

/// A new client that reaches this server as `server.example.net`.
pub(crate) fn new(client: &str) -> NewClient {
    NewClient::new(client, "server.example.net".parse().unwrap(), None).unwrap()
}

/// The public key of a client in `config`.
pub(crate) fn public_key(config: &Config, client: usize) -> PublicKey {
    match &config.clients[client].secret {
        Secret::Pair(peer) => peer.public,
        Secret::Classic(_) => panic!("it is classic"),
    }
}

/// The permission bits of the file at `path`.
pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn init_makes_everything_that_the_daemon_needs() {
    let folder = Folder::new();
    let invitation = folder.init("laptop").unwrap();
    assert_eq!(invitation.client, "laptop");
    assert_eq!(invitation.host.as_str(), "server.example.net");
    assert_eq!(invitation.window, Window::DEFAULT);
    let server = key_file::read(Owner::Server, &folder.path("etc/server.key")).unwrap();
    assert_eq!(invitation.server, server.public());
    assert_eq!(invitation.udp, None);

    let config = Config::load(&folder.config()).unwrap();
    assert_eq!(config.state_dir, folder.path("state"));
    let key = invitation.key.unwrap();
    assert_eq!(public_key(&config, 0), key.public());
    // Nothing on the server contains the client's key.
    for file in folder.files() {
        let text = fs::read_to_string(folder.path("etc").join(file)).unwrap();
        assert!(!text.contains(&**key_file::digits(&key)), "{text}");
    }
    assert_eq!(config.doors[0].name, "ssh");
    assert_eq!(mode(&folder.path("etc/server.key")), 0o600);
    assert_eq!(mode(&folder.path("state")), 0o700);
    let text = fs::read_to_string(folder.config()).unwrap();
    assert!(!text.contains('{') && !text.contains('}'), "{text}");
}

#[test]
fn a_client_may_bring_its_own_key() {
    let folder = Folder::new();
    let own = KeyPair::from(PrivateKey::new([7; 32]));
    let host = "server.example.net".parse().unwrap();
    let client = NewClient::new("laptop", host, Some(own.public())).unwrap();
    let invitation = init(&folder.config(), &folder.path("state"), client, invited);
    let invitation = invitation.unwrap();
    assert!(invitation.key.is_none());
    let config = Config::load(&folder.config()).unwrap();
    assert_eq!(public_key(&config, 0), own.public());
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
    assert_eq!(folder.files(), ["knockd.toml", "server.key"]);

    // Another file in the place of the server's key is not overwritten either.
    let folder = Folder::new();
    fs::create_dir(folder.path("etc")).unwrap();
    secret_file::create(&folder.path("etc/server.key"), "precious").unwrap();
    let error = format!("{:#}", folder.init("laptop").unwrap_err());
    assert!(
        error.contains("server.key: a server's key begins"),
        "{error}"
    );
    assert_eq!(folder.files(), ["server.key"]);
}

#[test]
fn a_server_key_that_exists_is_used() {
    let folder = Folder::new();
    fs::create_dir(folder.path("etc")).unwrap();
    let key = PrivateKey::new([9; 32]);
    key_file::create(Owner::Server, &folder.path("etc/server.key"), &key).unwrap();
    let invitation = folder.init("laptop").unwrap();
    assert_eq!(invitation.server, key.public());
}

#[test]
fn an_invitation_that_cannot_be_shown_leaves_nothing_behind() {
    let folder = Folder::new();
    let shown: Result<()> = init(
        &folder.config(),
        &folder.path("state"),
        new("laptop"),
        |_, _| anyhow::bail!("full"),
    );
    assert_eq!(shown.unwrap_err().to_string(), "full");
    assert_eq!(folder.files(), [""; 0]);
}
