//! Obtains the key of a knock.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use knock_common::protocol::key::{ClassicKey, SealedKey, SecretKey};
use knockd_credentials::{key_file, passphrase::Passphrase};

use crate::name::Name;

/// The source of a sealed key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Secret {
    /// This key file.
    KeyFile(PathBuf),
    /// The client's name and a passphrase, from this file or from a prompt.
    Passphrase(Option<PathBuf>, Name),
}

impl Secret {
    /// Reads or derives the key. May prompt for a passphrase.
    pub(super) fn key(&self) -> Result<SealedKey> {
        let secret = match self {
            // The error's text includes its cause, which would appear twice if it were a source.
            Self::KeyFile(path) => key_file::read(path)
                .map_err(|error| anyhow!("key file {}: {error}", path.display()))?,
            Self::Passphrase(file, client) => {
                let passphrase = passphrase(file.as_deref())?;
                SecretKey::from_passphrase(passphrase.as_bytes(), client.as_str())?
            }
        };
        Ok(SealedKey::new(&secret))
    }
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

    #[test]
    fn a_bad_file_is_named_once_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        secret_file::create(&empty, "").unwrap();
        let missing = folder.path().join("missing");
        let client: Name = "laptop".parse().unwrap();
        for (path, expected) in [(&empty, "it is empty"), (&missing, "os error")] {
            let error = Secret::Passphrase(Some(path.clone()), client.clone()).key();
            let error = format!("{:#}", error.unwrap_err());
            assert!(error.contains(path.to_str().unwrap()), "{error}");
            assert_eq!(error.matches(expected).count(), 1, "{error}");
        }
        let error = Secret::KeyFile(missing).key().unwrap_err();
        assert_eq!(
            format!("{error:#}").matches("os error").count(),
            1,
            "{error:#}"
        );

        let wrong = folder.path().join("wrong");
        secret_file::create(&wrong, "knock1:sesame").unwrap();
        let error = Secret::KeyFile(wrong).key().unwrap_err();
        assert!(!format!("{error:#}").contains("sesame"), "{error:#}");
    }
}
