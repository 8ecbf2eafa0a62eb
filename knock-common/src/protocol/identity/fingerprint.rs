//! A short text by which people compare public keys.

use core::fmt;

use base64ct::{Base64Unpadded, Encoding as _};
use sha2::{Digest as _, Sha256};

use super::PublicKey;

/// The bytes of the digest that are shown: a multiple of 3, so that base64 has no padding.
const SHOWN_LEN: usize = 12;

/// The fingerprint of a public key: `SHA256:` and the first 16 characters of the base64 of the key's
/// SHA-256.
///
/// The form is that of ssh-keygen(1), which people know as something to compare, not as a key to copy.
/// The beginning of the key itself would invite both mistakes. All of ssh's 43 characters would be as
/// long as the key. The 96 bits that are shown suffice: to find another key with the same fingerprint
/// takes 2⁹⁶ attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; SHOWN_LEN]);

impl Fingerprint {
    /// The fingerprint of `key`.
    #[must_use]
    pub fn of(key: &PublicKey) -> Self {
        let digest = Sha256::digest(key.0);
        Self(core::array::from_fn(|index| digest[index]))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [0; SHOWN_LEN / 3 * 4];
        let digits = Base64Unpadded::encode(&self.0, &mut digits).map_err(|_| fmt::Error)?;
        write!(f, "SHA256:{digits}")
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use super::*;

    #[test]
    fn a_fingerprint_is_the_beginning_of_the_digest_as_ssh_writes_it() {
        // echo KEY= | basenc --decode --base64url | openssl dgst -sha256 -binary | base64 | cut -c -16
        let key: PublicKey = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"
            .parse()
            .unwrap();
        assert_eq!(Fingerprint::of(&key).to_string(), "SHA256:7t2IPaCpRRWT3Ao4");
    }
}
