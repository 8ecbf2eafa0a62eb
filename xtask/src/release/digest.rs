//! Checksums of files.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use sha2::{Digest, Sha256, Sha512};

/// The SHA-256 of a file, in hexadecimal.
pub(super) fn sha256(path: &Path) -> Result<String> {
    of::<Sha256>(path)
}

/// The SHA-512 of a file, in hexadecimal.
pub(super) fn sha512(path: &Path) -> Result<String> {
    of::<Sha512>(path)
}

fn of<D: Digest>(path: &Path) -> Result<String> {
    let content = fs::read(path).with_context(|| path.display().to_string())?;
    let digest = D::digest(content);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_are_those_of_the_standard() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("abc");
        fs::write(&file, "abc").unwrap();
        let sum = sha256(&file).unwrap();
        assert!(sum.starts_with("ba7816bf8f01cfea414140de5dae2223"), "{sum}");
        let sum = sha512(&file).unwrap();
        assert!(sum.starts_with("ddaf35a193617abacc417349ae204131"), "{sum}");
    }
}
