//! The one-line text form of a key in a key file (docs/protocol.md, "Sealed").

use core::fmt;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use zeroize::Zeroizing;

use super::{SECRET_KEY_LEN, SecretKey};

const PREFIX: &str = "knock1:";

/// The length of 32 bytes in unpadded base64url.
const DIGITS: usize = 43;

/// The length of a key file's line without the newline: `knock1:` and 43 characters.
///
/// Reserve this much before writing a [`KeyFileText`] to a buffer: a buffer that grows leaves
/// part of the key in freed memory.
pub const KEY_FILE_LEN: usize = PREFIX.len() + DIGITS;

/// Why a text is not a key file. No variant contains any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFileError {
    /// The text does not begin with `knock1:`.
    Prefix,
    /// The number of bytes after `knock1:` is not 43 but this. One newline at the end is allowed
    /// and not counted.
    Length(usize),
    /// The 43 bytes are not canonical unpadded base64url: a character is not in the alphabet, or
    /// the last character has unused bits set.
    Encoding,
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => write!(f, "a key begins with {PREFIX}"),
            Self::Length(found) => write!(
                f,
                "a key has {DIGITS} characters after {PREFIX}, not {found}"
            ),
            Self::Encoding => write!(
                f,
                "the characters after {PREFIX} are not a valid key: mistyped or damaged"
            ),
        }
    }
}

impl core::error::Error for KeyFileError {}

impl SecretKey {
    /// Parses `text`, the content of a key file.
    ///
    /// Every key has exactly one text form, optionally followed by one `\n`. The parser is strict:
    /// it reports a damaged file instead of returning a key that opens nothing.
    ///
    /// # Errors
    ///
    /// Returns a [`KeyFileError`] that states which part is wrong, without showing any of it.
    pub fn from_key_file(text: &[u8]) -> Result<Self, KeyFileError> {
        let line = text.strip_suffix(b"\n").unwrap_or(text);
        let digits = line
            .strip_prefix(PREFIX.as_bytes())
            .ok_or(KeyFileError::Prefix)?;
        if digits.len() != DIGITS {
            return Err(KeyFileError::Length(digits.len()));
        }
        Self::try_fill(|bytes| {
            let decoded = Base64UrlUnpadded::decode(digits, bytes);
            decoded.map(|_| ()).map_err(|_| KeyFileError::Encoding)
        })
    }

    /// The line of the key's file, without the newline. The text is the secret: write it only to
    /// a key file of mode 0600 or an invitation, never to a log.
    #[must_use]
    pub fn key_file_text(&self) -> KeyFileText<'_> {
        KeyFileText(self)
    }
}

/// The text form of a key. It is encoded only when written, so that no copy stays in memory.
///
/// `Display` shows the secret, `Debug` does not.
pub struct KeyFileText<'a>(&'a SecretKey);

impl fmt::Display for KeyFileText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = Zeroizing::new([0; DIGITS]);
        let digits =
            Base64UrlUnpadded::encode(&self.0.0, digits.as_mut_slice()).map_err(|_| fmt::Error)?;
        f.write_str(PREFIX)?;
        f.write_str(digits)
    }
}

impl fmt::Debug for KeyFileText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFileText(..)")
    }
}

const _: () = assert!(DIGITS == (SECRET_KEY_LEN * 8).div_ceil(6));

#[cfg(test)]
mod tests {
    use std::{
        format,
        string::{String, ToString as _},
        vec::Vec,
    };

    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "knock1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn parse(text: impl AsRef<[u8]>) -> Result<SecretKey, KeyFileError> {
        SecretKey::from_key_file(text.as_ref())
    }

    #[test]
    fn one_newline_may_end_the_line() {
        let key = parse(TEXT).unwrap();
        assert_eq!(parse(format!("{TEXT}\n")), Ok(key));
    }

    #[test]
    fn any_other_text_is_rejected() {
        use KeyFileError::{Encoding, Length, Prefix};
        let digits = TEXT.strip_prefix(PREFIX).unwrap();
        for (text, error) in [
            (String::new(), Prefix),
            ("\n".to_string(), Prefix),
            (format!(" {TEXT}"), Prefix),
            (format!("\u{feff}{TEXT}"), Prefix),
            (format!("KNOCK1:{digits}"), Prefix),
            (format!("knock2:{digits}"), Prefix),
            (format!("knock1{digits}"), Prefix),
            (PREFIX.to_string(), Length(0)),
            (format!("knock1:{}", &digits[1..]), Length(42)),
            (format!("{TEXT}="), Length(44)),
            (format!("{TEXT} "), Length(44)),
            (format!("{TEXT}\0"), Length(44)),
            (format!("{TEXT}\r\n"), Length(44)),
            (format!("{TEXT}\n\n"), Length(44)),
            (format!("{TEXT}\n{TEXT}\n"), Length(94)),
            (format!("knock1: {}", &digits[1..]), Encoding),
            (format!("knock1:{}\n\n", &digits[1..]), Encoding),
            (format!("knock1:{}=", &digits[1..]), Encoding),
            (format!("knock1:+{}", &digits[1..]), Encoding),
            (format!("knock1:/{}", &digits[1..]), Encoding),
        ] {
            assert_eq!(parse(&text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn bits_that_belong_to_no_byte_must_be_zero() {
        // 43 characters are 258 bits: the two lowest of the last one are spare.
        let (head, last) = TEXT.split_at(TEXT.len() - 1);
        assert_eq!(last, "8");
        for last in ["9", "-", "_"] {
            assert_eq!(parse(format!("{head}{last}")), Err(KeyFileError::Encoding));
        }
    }

    #[test]
    fn errors_and_debug_show_nothing() {
        let key = parse(TEXT).unwrap();
        assert_eq!(format!("{:?}", key.key_file_text()), "KeyFileText(..)");
        for text in [&TEXT[1..], &TEXT[..40], &TEXT.replace('Q', "%")] {
            let error = parse(text).unwrap_err();
            for shown in [format!("{error}"), format!("{error:?}")] {
                assert!(!shown.contains("AAECAw"), "{shown}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_key_round_trips_as_text(bytes: [u8; SECRET_KEY_LEN]) {
            let text = SecretKey::new(bytes).key_file_text().to_string();
            prop_assert_eq!(text.len(), KEY_FILE_LEN);
            prop_assert_eq!(parse(text), Ok(SecretKey::new(bytes)));
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(text: Vec<u8>) {
            prop_assert!(parse(text).is_err());
        }

        #[test]
        fn only_canonical_text_is_accepted(text in "knock1:[A-Za-z0-9_-]{42,44}\n?") {
            if let Ok(key) = parse(&text) {
                let line = text.strip_suffix('\n').unwrap_or(&text);
                prop_assert_eq!(key.key_file_text().to_string(), line);
            }
        }

        #[test]
        fn a_changed_byte_is_another_key_or_none(
            bytes: [u8; SECRET_KEY_LEN],
            place in 0..KEY_FILE_LEN,
            flip in 1_u8..,
        ) {
            let key = SecretKey::new(bytes);
            let mut text = key.key_file_text().to_string().into_bytes();
            text[place] ^= flip;
            if let Ok(other) = parse(&text) {
                prop_assert_ne!(&key, &other);
                prop_assert_eq!(other.key_file_text().to_string().into_bytes(), text);
            }
        }
    }
}
