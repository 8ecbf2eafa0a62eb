//! Runs `knock` with a configuration directory and a key of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use knock_common::protocol::{
    identity::{KeyPair, Owner, PrivateKey},
    syn::{SynKey, SynSecret},
};
use knockd_credentials::{key_file, secret_file};

/// The text of [`Home::key_file`], without its prefix: the client's private key of the vectors.
pub(crate) const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

/// The server's public key of the vectors.
pub(crate) const SERVER: &str = "OWi8OvvoNuFLFfqIRpjks5-RpGPpJ__7drFY2e0KngI";

/// A home directory that contains only what a test creates there.
pub(crate) struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a secret file and returns its path.
    pub(crate) fn secret(&self, name: &str, line: &str) -> String {
        let path = self.path(name);
        secret_file::create(&path, line).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The path of the key file, which is created on first use.
    pub(crate) fn key_file(&self) -> String {
        let path = self.path("laptop.key");
        if !path.exists() {
            key_file::create(Owner::Client, &path, client().private()).unwrap();
        }
        path.to_str().unwrap().to_owned()
    }

    /// The options that name the client's key and the server's.
    pub(crate) fn keys(&self) -> [String; 4] {
        let [file, server] = ["--key-file", "--server-key"].map(str::to_owned);
        [file, self.key_file(), server, SERVER.to_owned()]
    }

    pub(crate) fn knock(&self, args: &[&str]) -> Command {
        let mut knock = Command::new(Self::program());
        self.enter(&mut knock);
        knock.args(args);
        knock
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.knock(args).output().unwrap()
    }

    /// Makes this the home directory of `command`.
    pub(crate) fn enter(&self, command: &mut Command) {
        command
            .env("HOME", self.folder.path())
            .env("KNOCK_CONFIG_DIR", self.path("config/knock"));
    }

    pub(crate) fn program() -> &'static Path {
        Path::new(env!("CARGO_BIN_EXE_knock"))
    }
}

/// The pair of [`Home::key_file`].
pub(crate) fn client() -> KeyPair {
    KeyPair::from(PrivateKey::from_text(KEY.as_bytes()).unwrap())
}

/// The pair of [`SERVER`].
pub(crate) fn server() -> KeyPair {
    let private = PrivateKey::from_text(b"kdPePtooXZWhwSf3xoBoDaSiI4SLU1G6i30WClMItVw").unwrap();
    let pair = KeyPair::from(private);
    assert_eq!(pair.public().to_string(), SERVER);
    pair
}

/// The key of SYN knocks of [`client`] on [`server`].
pub(crate) fn syn_key() -> SynKey {
    SynKey::new(&SynSecret::of_server(&server(), &client().public()).unwrap())
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
