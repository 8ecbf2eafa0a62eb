//! The texts of keys: key files, and public keys.

use knock_common::protocol::identity::{Owner, PrivateKey, PublicKey};

/// Every key has exactly one text, optionally with a newline in a file.
pub(crate) fn run(input: &[u8]) {
    for owner in [Owner::Client, Owner::Server] {
        if let Ok(key) = PrivateKey::from_key_file(owner, input) {
            let line = input.strip_suffix(b"\n").unwrap_or(input);
            assert_eq!(key.key_file_text(owner).to_string().as_bytes(), line);
        }
    }
    if let Ok(text) = str::from_utf8(input)
        && let Ok(key) = text.parse::<PublicKey>()
    {
        assert_eq!(key.to_string(), text);
    }
}
