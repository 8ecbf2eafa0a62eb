//! How much a stream holds.

use std::str::FromStr;

use thiserror::Error;

/// A number of bytes that a stream of claims may take: at least [`Size::MIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size(u64);

/// Why a text is not a valid [`Size`].
#[derive(Debug, Error)]
pub(crate) enum InvalidSize {
    /// It is not a number with a unit.
    #[error("expected a number with one of the units KiB, MiB and GiB, such as 256MiB")]
    Syntax,
    /// It is less than [`Size::MIN`].
    #[error("must be at least 1MiB: some 4,000 claims, as many as doors can be open by default")]
    TooSmall,
    /// It is more than [`Size::MAX`].
    #[error("must be at most 1024GiB")]
    TooLarge,
}

impl Size {
    /// The claims of as many doors as `limits.open_doors` allows by default.
    const MIN: u64 = 1 << 20;

    /// More than any server stores.
    const MAX: u64 = 1 << 40;

    #[cfg_attr(
        not(feature = "fleet"),
        expect(dead_code, reason = "there is no stream")
    )]
    pub(crate) fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
        let (number, shift) = units
            .into_iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, shift)))
            .ok_or(InvalidSize::Syntax)?;
        if !number.bytes().all(|byte| byte.is_ascii_digit()) || number.is_empty() {
            return Err(InvalidSize::Syntax);
        }
        let number: u64 = number.parse().map_err(|_| InvalidSize::TooLarge)?;
        match number.checked_mul(1 << shift) {
            Some(..Self::MIN) => Err(InvalidSize::TooSmall),
            Some(bytes @ ..=Self::MAX) => Ok(Self(bytes)),
            _ => Err(InvalidSize::TooLarge),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_a_number_with_a_unit_and_within_limits() {
        let bytes = |text: &str| text.parse().map(|size: Size| size.0);
        for (text, expected) in [
            ("1024KiB", 1 << 20),
            ("1MiB", 1 << 20),
            ("64MiB", 64 << 20),
            ("3GiB", 3 << 30),
            ("1024GiB", 1 << 40),
        ] {
            assert_eq!(bytes(text).unwrap(), expected, "{text}");
        }
        for text in [
            "", "64", "MiB", "64MB", "64 MiB", "-1MiB", "+1MiB", "1.5GiB", "64mib",
        ] {
            assert!(matches!(bytes(text), Err(InvalidSize::Syntax)), "{text}");
        }
        for text in ["0MiB", "1023KiB"] {
            assert!(matches!(bytes(text), Err(InvalidSize::TooSmall)), "{text}");
        }
        for text in [
            "1025GiB",
            "18446744073709551615KiB",
            "99999999999999999999GiB",
        ] {
            assert!(matches!(bytes(text), Err(InvalidSize::TooLarge)), "{text}");
        }
    }
}
