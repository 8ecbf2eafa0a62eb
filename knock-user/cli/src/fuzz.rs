//! The fuzzing targets of this crate, for `tests/fuzz`.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::import::{
    Import,
    fwknop::{
        Settings,
        source::{Access, Files},
    },
    knockd::source::Source,
};

/// The public key of every client.
const PUBLIC: &str = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8";

/// The configuration that `bytes`, one of the other knockd, is converted to. `None` if it is invalid
/// or no door can be converted.
#[must_use]
pub fn imported(bytes: &[u8]) -> Option<String> {
    let source = Source::parse(bytes).ok()?;
    let import = Import::new(&source, Path::new("/etc/knockd.conf"));
    (!import.doors.is_empty()).then_some(import.text)
}

/// The configuration that `bytes` are converted to: the `access.conf` of fwknop up to a NUL, and its
/// `fwknopd.conf`. All clients have the same key. `None` if it is invalid or no door can be converted.
#[must_use]
pub fn imported_fwknop(bytes: &[u8]) -> Option<String> {
    let mut files = bytes.splitn(2, |byte| *byte == 0);
    let files = Memory {
        access: files.next().unwrap_or_default(),
        settings: files.next().unwrap_or_default(),
    };
    let access = Access::load(Path::new(Memory::ACCESS), &files).ok()?;
    let settings = Settings::load(Path::new(Memory::SETTINGS), &files).ok()?;
    let open = ["tcp/22".parse().ok()?];
    let path = PathBuf::from(Memory::ACCESS);
    let key = || Ok(PUBLIC.parse()?);
    let import = Import::of_fwknop(&access, &settings, &[&path], &open, key).ok()?;
    (!import.doors.is_empty()).then_some(import.text)
}

/// Two files. There is nothing else that they could include.
struct Memory<'a> {
    access: &'a [u8],
    settings: &'a [u8],
}

impl Memory<'_> {
    const ACCESS: &'static str = "/etc/fwknop/access.conf";
    const SETTINGS: &'static str = "/etc/fwknop/fwknopd.conf";
}

impl Files for Memory<'_> {
    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        match path.to_str() {
            Some(Self::ACCESS) => Ok(self.access.to_vec()),
            Some(Self::SETTINGS) => Ok(self.settings.to_vec()),
            _ => bail!("{}: not found", path.display()),
        }
    }

    fn list(&self, _folder: &Path) -> Result<Vec<PathBuf>> {
        Ok(vec![Self::ACCESS.into(), Self::SETTINGS.into()])
    }
}
