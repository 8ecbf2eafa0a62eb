//! The key pairs that identify clients and servers (docs/protocol.md, "Identities").

use core::{fmt, str::FromStr};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use subtle::{Choice, ConstantTimeEq};
use x25519_dalek::{StaticSecret, X25519_BASEPOINT_BYTES};
use zeroize::{Zeroize as _, ZeroizeOnDrop, Zeroizing};

mod file;
mod fingerprint;
#[cfg(feature = "passphrase")]
mod passphrase;

pub use file::{KeyFileError, KeyFileText, Owner};
pub use fingerprint::Fingerprint;
#[cfg(feature = "passphrase")]
pub use passphrase::DerivationError;

/// The length of a private or public key, in bytes.
pub const KEY_LEN: usize = 32;

/// The length of a key in unpadded base64url, in characters.
pub const KEY_DIGITS: usize = 43;

/// The private half of an X25519 key pair (RFC 7748), before clamping.
///
/// The bytes are wiped when dropped, compared in constant time, and not shown by `Debug`. Only
/// [`PrivateKey::key_file_text`], [`PrivateKey::text`] and [`PrivateKey::expose`] reveal them.
/// There is no `Clone`: the fewer copies of a secret, the better.
pub struct PrivateKey([u8; KEY_LEN]);

impl PrivateKey {
    /// The key with these bytes. The caller must wipe its own copy; with [`PrivateKey::try_fill`]
    /// there is none.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_LEN]) -> Self {
        Self(bytes)
    }

    /// The key that `fill` writes, for example from the system's random number generator.
    ///
    /// # Errors
    ///
    /// Returns the error of `fill`. Bytes that it wrote before are wiped.
    pub fn try_fill<E>(fill: impl FnOnce(&mut [u8; KEY_LEN]) -> Result<(), E>) -> Result<Self, E> {
        // Constructed first, so that the bytes are wiped if `fill` fails.
        let mut key = Self([0; KEY_LEN]);
        fill(&mut key.0)?;
        Ok(key)
    }

    /// The bytes, to be sent to the process that verifies knocks.
    #[must_use]
    pub const fn expose(&self) -> &[u8; KEY_LEN] {
        &self.0
    }

    /// The public key: one multiplication on the curve.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        // Like the exchange of keys, and so without tables and other code. It is rare.
        let base = x25519_dalek::PublicKey::from(X25519_BASEPOINT_BYTES);
        PublicKey(self.scalar().diffie_hellman(&base).to_bytes())
    }

    /// The secret that this key and `other` share: one multiplication on the curve.
    ///
    /// # Errors
    ///
    /// Returns [`LowOrder`] if the shared secret is zero whatever this key is.
    pub(super) fn agree(&self, other: &PublicKey) -> Result<Zeroizing<[u8; KEY_LEN]>, LowOrder> {
        let shared = self
            .scalar()
            .diffie_hellman(&x25519_dalek::PublicKey::from(other.0));
        if shared.was_contributory() {
            Ok(Zeroizing::new(*shared.as_bytes()))
        } else {
            Err(LowOrder)
        }
    }

    /// The key in the form of the library, which wipes it when it is dropped.
    fn scalar(&self) -> StaticSecret {
        StaticSecret::from(self.0)
    }
}

impl Drop for PrivateKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for PrivateKey {}

impl ConstantTimeEq for PrivateKey {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        self.ct_eq(other).into()
    }
}

impl Eq for PrivateKey {}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey(..)")
    }
}

/// The public half of a key pair: the identity of a client or a server. It is no secret.
///
/// `Display` and `FromStr` use its text form of 43 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; KEY_LEN]);

/// A text that is not a public key. Does not contain the text, which may be a misplaced secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKeyError {
    /// It has this number of bytes.
    Length(usize),
    /// It is not canonical unpadded base64url: a character is not in the alphabet, or the last
    /// character has unused bits set.
    Encoding,
}

impl fmt::Display for PublicKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(found) => {
                write!(f, "a public key has {KEY_DIGITS} characters, not {found}")
            }
            Self::Encoding => f.write_str("this is not a public key: mistyped or damaged"),
        }
    }
}

impl core::error::Error for PublicKeyError {}

impl FromStr for PublicKey {
    type Err = PublicKeyError;

    fn from_str(text: &str) -> Result<Self, PublicKeyError> {
        if text.len() != KEY_DIGITS {
            return Err(PublicKeyError::Length(text.len()));
        }
        let mut bytes = [0; KEY_LEN];
        Base64UrlUnpadded::decode(text, &mut bytes).map_err(|_| PublicKeyError::Encoding)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; KEY_DIGITS];
        f.write_str(Base64UrlUnpadded::encode(&self.0, &mut digits).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A public key of low order: every private key would share the same secret with it, zero
/// (RFC 7748, section 6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LowOrder;

impl fmt::Display for LowOrder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "this public key belongs to no key pair: it would share the same secret with everybody",
        )
    }
}

impl core::error::Error for LowOrder {}

/// A private key with its public key, which is computed once.
#[derive(Debug, PartialEq, Eq)]
pub struct KeyPair {
    private: PrivateKey,
    public: PublicKey,
}

impl KeyPair {
    /// The private key.
    #[must_use]
    pub const fn private(&self) -> &PrivateKey {
        &self.private
    }

    /// The private key alone.
    #[must_use]
    pub fn into_private(self) -> PrivateKey {
        self.private
    }

    /// The public key.
    #[must_use]
    pub const fn public(&self) -> PublicKey {
        self.public
    }
}

impl From<PrivateKey> for KeyPair {
    fn from(private: PrivateKey) -> Self {
        Self {
            public: private.public(),
            private,
        }
    }
}

const _: () = assert!(KEY_DIGITS == (KEY_LEN * 8).div_ceil(6));

#[cfg(test)]
mod tests {
    use std::{format, string::ToString as _};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn debug_shows_no_private_key() {
        let pair = KeyPair::from(PrivateKey::new([65; KEY_LEN]));
        let shown = format!("{pair:?}");
        assert!(shown.contains("PrivateKey(..)"), "{shown}");
        assert!(shown.contains(&pair.public().to_string()), "{shown}");
        assert!(!shown.contains("65"), "{shown}");
    }

    #[test]
    fn the_library_wipes_scalars() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<StaticSecret>();
        wiped::<x25519_dalek::SharedSecret>();
    }

    #[test]
    fn a_failed_fill_makes_no_key() {
        let failed = PrivateKey::try_fill(|bytes| {
            bytes.fill(1);
            Err("no entropy")
        });
        assert_eq!(failed, Err("no entropy"));
        let filled = PrivateKey::try_fill(|bytes| {
            bytes.fill(1);
            Ok::<(), ()>(())
        });
        assert_eq!(filled, Ok(PrivateKey::new([1; KEY_LEN])));
    }

    #[test]
    fn a_point_of_low_order_is_refused() {
        let own = PrivateKey::new([7; KEY_LEN]);
        let mut one = [0; KEY_LEN];
        one[0] = 1;
        // p - 1, p and p + 1, which are -1, 0 and 1 (RFC 7748, section 5).
        let near_p = |first| {
            let mut bytes = [0xff; KEY_LEN];
            (bytes[0], bytes[31]) = (first, 0x7f);
            bytes
        };
        for bytes in [[0; KEY_LEN], one, near_p(0xec), near_p(0xed), near_p(0xee)] {
            assert_eq!(own.agree(&PublicKey(bytes)), Err(LowOrder), "{bytes:?}");
        }
        assert!(own.agree(&PrivateKey::new([8; KEY_LEN]).public()).is_ok());
    }

    #[test]
    fn errors_show_no_text() {
        for text in [
            "",
            "secret",
            &"?".repeat(KEY_DIGITS),
            &"/".repeat(KEY_DIGITS),
        ] {
            let error = text.parse::<PublicKey>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }

    proptest! {
        #[test]
        fn keys_are_equal_when_all_their_bytes_are(
            bytes: [u8; KEY_LEN],
            place in 0..KEY_LEN,
            flip in 1_u8..,
        ) {
            let mut other = bytes;
            prop_assert_eq!(PrivateKey::new(bytes), PrivateKey::new(other));
            other[place] ^= flip;
            prop_assert_ne!(PrivateKey::new(bytes), PrivateKey::new(other));
        }

        #[test]
        fn both_sides_share_one_secret(one: [u8; KEY_LEN], other: [u8; KEY_LEN]) {
            let (one, other) = (PrivateKey::new(one), PrivateKey::new(other));
            prop_assert_eq!(one.agree(&other.public()), other.agree(&one.public()));
        }

        #[test]
        fn a_public_key_round_trips_as_text(bytes: [u8; KEY_LEN]) {
            let key = PublicKey(bytes);
            let text = key.to_string();
            prop_assert_eq!(text.len(), KEY_DIGITS);
            prop_assert_eq!(text.parse(), Ok(key));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[A-Za-z0-9_-]{42,44}") {
            if let Ok(key) = text.parse::<PublicKey>() {
                prop_assert_eq!(key.to_string(), text);
            }
        }
    }
}
