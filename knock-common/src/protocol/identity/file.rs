//! The text forms of a private key (docs/protocol.md, "Identities").

use core::fmt;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use zeroize::Zeroizing;

use super::{KEY_DIGITS, PrivateKey};

/// Whose key a file contains. The first word of its line says it, so that a client's key is not
/// taken for a server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A client: `knock2:`.
    Client,
    /// A server: `knockd2:`.
    Server,
}

impl Owner {
    /// The beginning of the line.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Client => "knock2:",
            Self::Server => "knockd2:",
        }
    }

    /// The length of the line without the newline, in bytes.
    ///
    /// Reserve this much before writing a [`KeyFileText`] to a buffer: a buffer that grows leaves
    /// part of the key in freed memory.
    #[must_use]
    pub const fn line_len(self) -> usize {
        self.prefix().len() + KEY_DIGITS
    }

    const fn other(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Server => "server",
        })
    }
}

/// Why a text is not a private key. No variant contains any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyFileError {
    /// The text does not begin with the prefix of this owner.
    Prefix(Owner),
    /// It is a key, but not of this owner.
    Owner(Owner),
    /// The number of bytes after the prefix is not 43 but this. One newline at the end is allowed
    /// and not counted.
    Length(usize),
    /// The 43 bytes are not canonical unpadded base64url: a character is not in the alphabet, or
    /// the last character has unused bits set.
    Encoding,
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(owner) => write!(f, "a {owner}'s key begins with {}", owner.prefix()),
            Self::Owner(owner) => write!(
                f,
                "this is a {}'s key; a {owner}'s begins with {}",
                owner.other(),
                owner.prefix()
            ),
            Self::Length(found) => write!(f, "a key has {KEY_DIGITS} characters, not {found}"),
            Self::Encoding => f.write_str("this is not a key: mistyped or damaged"),
        }
    }
}

impl core::error::Error for KeyFileError {}

impl PrivateKey {
    /// Parses `text`, the content of the key file of an `owner`.
    ///
    /// Every key has exactly one text form, optionally followed by one `\n`. The parser is strict:
    /// it reports a damaged file instead of returning a key that opens nothing.
    ///
    /// # Errors
    ///
    /// Returns a [`KeyFileError`] that states which part is wrong, without showing any of it.
    pub fn from_key_file(owner: Owner, text: &[u8]) -> Result<Self, KeyFileError> {
        let line = text.strip_suffix(b"\n").unwrap_or(text);
        match line.strip_prefix(owner.prefix().as_bytes()) {
            Some(digits) => Self::from_text(digits),
            None if line.starts_with(owner.other().prefix().as_bytes()) => {
                Err(KeyFileError::Owner(owner))
            }
            None => Err(KeyFileError::Prefix(owner)),
        }
    }

    /// Parses the 43 characters of a key.
    ///
    /// # Errors
    ///
    /// Returns [`KeyFileError::Length`] or [`KeyFileError::Encoding`].
    pub fn from_text(digits: &[u8]) -> Result<Self, KeyFileError> {
        if digits.len() != KEY_DIGITS {
            return Err(KeyFileError::Length(digits.len()));
        }
        Self::try_fill(|bytes| {
            let decoded = Base64UrlUnpadded::decode(digits, bytes);
            decoded.map(|_| ()).map_err(|_| KeyFileError::Encoding)
        })
    }

    /// The line of the key file of an `owner`, without the newline. The text is the secret: write
    /// it only to a key file of mode 0600, never to a log.
    #[must_use]
    pub fn key_file_text(&self, owner: Owner) -> KeyFileText<'_> {
        KeyFileText {
            prefix: owner.prefix(),
            key: self,
        }
    }

    /// The 43 characters of the key. The text is the secret.
    #[must_use]
    pub fn text(&self) -> KeyFileText<'_> {
        KeyFileText {
            prefix: "",
            key: self,
        }
    }
}

/// The text form of a private key. It is encoded only when written, so that no copy stays in
/// memory.
///
/// `Display` shows the secret, `Debug` does not.
pub struct KeyFileText<'a> {
    prefix: &'static str,
    key: &'a PrivateKey,
}

impl fmt::Display for KeyFileText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = Zeroizing::new([0; KEY_DIGITS]);
        let digits = Base64UrlUnpadded::encode(&self.key.0, digits.as_mut_slice())
            .map_err(|_| fmt::Error)?;
        f.write_str(self.prefix)?;
        f.write_str(digits)
    }
}

impl fmt::Debug for KeyFileText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyFileText(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        format,
        string::{String, ToString as _},
        vec::Vec,
    };

    use proptest::prelude::*;

    use super::{super::KEY_LEN, *};

    const TEXT: &str = "knock2:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    fn parse(text: impl AsRef<[u8]>) -> Result<PrivateKey, KeyFileError> {
        PrivateKey::from_key_file(Owner::Client, text.as_ref())
    }

    #[test]
    fn one_newline_may_end_the_line() {
        let key = parse(TEXT).unwrap();
        assert_eq!(parse(format!("{TEXT}\n")), Ok(key));
    }

    #[test]
    fn any_other_text_is_rejected() {
        use KeyFileError::{Encoding, Length};
        let prefix = KeyFileError::Prefix(Owner::Client);
        let digits = TEXT.strip_prefix("knock2:").unwrap();
        for (text, error) in [
            (String::new(), prefix),
            ("\n".to_string(), prefix),
            (format!(" {TEXT}"), prefix),
            (format!("\u{feff}{TEXT}"), prefix),
            (format!("KNOCK2:{digits}"), prefix),
            (format!("knock1:{digits}"), prefix),
            (format!("knock2{digits}"), prefix),
            (
                format!("knockd2:{digits}"),
                KeyFileError::Owner(Owner::Client),
            ),
            ("knock2:".to_string(), Length(0)),
            (format!("knock2:{}", &digits[1..]), Length(42)),
            (format!("{TEXT}="), Length(44)),
            (format!("{TEXT} "), Length(44)),
            (format!("{TEXT}\0"), Length(44)),
            (format!("{TEXT}\r\n"), Length(44)),
            (format!("{TEXT}\n\n"), Length(44)),
            (format!("{TEXT}\n{TEXT}\n"), Length(94)),
            (format!("knock2: {}", &digits[1..]), Encoding),
            (format!("knock2:{}\n\n", &digits[1..]), Encoding),
            (format!("knock2:{}=", &digits[1..]), Encoding),
            (format!("knock2:+{}", &digits[1..]), Encoding),
            (format!("knock2:/{}", &digits[1..]), Encoding),
        ] {
            assert_eq!(parse(&text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_owner_of_a_key_is_checked() {
        let key = parse(TEXT).unwrap();
        let server = key.key_file_text(Owner::Server).to_string();
        let parsed = PrivateKey::from_key_file(Owner::Server, server.as_bytes());
        assert_eq!(parsed, Ok(key));
        let error = parse(server).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this is a server's key; a client's begins with knock2:"
        );
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
        assert_eq!(format!("{:?}", key.text()), "KeyFileText(..)");
        for text in [&TEXT[1..], &TEXT[..40], &TEXT.replace('Q', "%")] {
            let error = parse(text).unwrap_err();
            for shown in [format!("{error}"), format!("{error:?}")] {
                assert!(!shown.contains("AAECAw"), "{shown}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_key_round_trips_as_text(bytes: [u8; KEY_LEN], is_server: bool) {
            let owner = if is_server { Owner::Server } else { Owner::Client };
            let text = PrivateKey::new(bytes).key_file_text(owner).to_string();
            prop_assert_eq!(text.len(), owner.line_len());
            let parsed = PrivateKey::from_key_file(owner, text.as_bytes());
            prop_assert_eq!(parsed, Ok(PrivateKey::new(bytes)));
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(text: Vec<u8>) {
            prop_assert!(parse(text).is_err());
        }

        #[test]
        fn only_canonical_text_is_accepted(text in "knock2:[A-Za-z0-9_-]{42,44}\n?") {
            if let Ok(key) = parse(&text) {
                let line = text.strip_suffix('\n').unwrap_or(&text);
                prop_assert_eq!(key.key_file_text(Owner::Client).to_string(), line);
            }
        }

        #[test]
        fn a_changed_byte_is_another_key_or_none(
            bytes: [u8; KEY_LEN],
            place in 0..Owner::Client.line_len(),
            flip in 1_u8..,
        ) {
            let key = PrivateKey::new(bytes);
            let mut text = key.key_file_text(Owner::Client).to_string().into_bytes();
            text[place] ^= flip;
            if let Ok(other) = parse(&text) {
                prop_assert_ne!(&key, &other);
                prop_assert_eq!(
                    other.key_file_text(Owner::Client).to_string().into_bytes(),
                    text
                );
            }
        }
    }
}
