//! The names of doors, clients and profiles.

use std::{fmt, str::FromStr};

use knock_common::legible::misleads;
use thiserror::Error;

/// A name that the daemon accepts: 1 to 64 bytes of UTF-8, all of which can be
/// seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

/// The text is not a valid [`Name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "a name has 1 to {} bytes and no control or invisible characters",
    Name::MAX_LEN
)]
pub struct InvalidName;

impl Name {
    /// The maximum length in bytes, as in the daemon.
    pub const MAX_LEN: usize = 64;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        if text.is_empty() || text.len() > Self::MAX_LEN || text.chars().any(misleads) {
            return Err(InvalidName);
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_printable() {
        for name in ["ssh", "web admin", "türe", &"x".repeat(64)] {
            assert_eq!(name.parse::<Name>().unwrap().as_str(), name);
        }
        for none in ["", "a\nb", "\x1b[2J", &"x".repeat(65), &"ü".repeat(33)] {
            assert_eq!(none.parse::<Name>(), Err(InvalidName), "{none:?}");
        }
    }
}
