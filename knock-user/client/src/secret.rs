//! Obtains the key of a knock.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use knock_common::protocol::{
    classic::ClassicKey,
    identity::{KeyPair, Owner, PrivateKey, PublicKey},
};
use knockd_credentials::{key_file, passphrase::Passphrase};

use crate::name::Name;

/// The source of a client's private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Secret {
    /// This key file.
    KeyFile(PathBuf),
    /// The client's name and a passphrase, from this file or from a prompt.
    Passphrase(Option<PathBuf>, Name),
}

impl Secret {
    /// Reads or derives the key pair for knocks on `server`. May prompt for a passphrase.
    pub(super) fn pair(&self, server: &PublicKey) -> Result<KeyPair> {
        let private = match self {
            Self::KeyFile(path) => read_key_file(path)?,
            Self::Passphrase(file, client) => {
                let passphrase = passphrase(file.as_deref())?;
                PrivateKey::from_passphrase(passphrase.as_bytes(), server, client.as_str())?
            }
        };
        Ok(KeyPair::from(private))
    }
}

/// Reads a client's private key.
pub(super) fn read_key_file(path: &Path) -> Result<PrivateKey> {
    // The error's text includes its cause, which would appear twice if it were a source.
    key_file::read(Owner::Client, path)
        .map_err(|error| anyhow!("key file {}: {error}", path.display()))
}

/// The classic key of the passphrase in `file`, or from a prompt.
pub(super) fn classic_key(file: Option<&Path>) -> Result<ClassicKey> {
    let passphrase = passphrase(file)?;
    Ok(ClassicKey::from_passphrase(passphrase.as_bytes()))
}

fn passphrase(file: Option<&Path>) -> Result<Passphrase> {
    match file {
        Some(path) => Passphrase::from_file(path)
            .map_err(|error| anyhow!("passphrase file {}: {error}", path.display())),
        None => {
            let typed = rpassword::prompt_password("Passphrase: ").context(
                "cannot prompt for the passphrase; without a terminal, use --passphrase-file",
            )?;
            Passphrase::typed(typed).map_err(|error| anyhow!("passphrase: {error}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use knockd_credentials::secret_file;

    use super::*;

    const SERVER: PublicKey = PublicKey([7; 32]);

    #[test]
    fn a_bad_file_is_named_once_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        secret_file::create(&empty, "").unwrap();
        let missing = folder.path().join("missing");
        let client: Name = "laptop".parse().unwrap();
        for (path, expected) in [(&empty, "it is empty"), (&missing, "os error")] {
            let secret = Secret::Passphrase(Some(path.clone()), client.clone());
            let error = secret.pair(&SERVER);
            let error = format!("{:#}", error.unwrap_err());
            assert!(error.contains(path.to_str().unwrap()), "{error}");
            assert_eq!(error.matches(expected).count(), 1, "{error}");
        }
        let error = Secret::KeyFile(missing).pair(&SERVER).unwrap_err();
        assert_eq!(
            format!("{error:#}").matches("os error").count(),
            1,
            "{error:#}"
        );

        let wrong = folder.path().join("wrong");
        secret_file::create(&wrong, "knock2:sesame").unwrap();
        let error = Secret::KeyFile(wrong).pair(&SERVER).unwrap_err();
        assert!(!format!("{error:#}").contains("sesame"), "{error:#}");
    }
}
