//! Runs `knock` with a configuration directory and a key of its own.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use knock_common::protocol::key::{SealedKey, SecretKey};
use knockd_credentials::{key_file, secret_file};

/// The text of [`Home::key_file`], without its prefix.
pub(crate) const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

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
            key_file::create(&path, &secret_key()).unwrap();
        }
        path.to_str().unwrap().to_owned()
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
            .env("XDG_CONFIG_HOME", self.path("config"));
    }

    pub(crate) fn program() -> &'static Path {
        Path::new(env!("CARGO_BIN_EXE_knock"))
    }
}

pub(crate) fn secret_key() -> SecretKey {
    SecretKey::from_key_file(format!("knock1:{KEY}").as_bytes()).unwrap()
}

pub(crate) fn sealed_key() -> SealedKey {
    SealedKey::new(&secret_key())
}

pub(crate) fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
