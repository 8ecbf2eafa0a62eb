//! The content security policy of the page: it runs its own script only, and loads nothing. The script may
//! compile WebAssembly (`wasm-unsafe-eval`), which it contains, and evaluate no other text.

use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256};

/// The length of a SHA-256 in base64.
const HASH_LEN: usize = 44;

/// Where every page may connect to, if the host cannot be named.
const ANYWHERE: &str = "http: https:";

/// Which page a policy is for.
#[derive(Debug)]
pub(crate) enum Policy {
    /// The page for one client.
    Written {
        /// Where it may connect to.
        connects: String,
    },
    /// The page without a key, with its icon, manifest and worker.
    Hosted,
}

impl Policy {
    /// The policy of a page with this script and style.
    pub(crate) fn text(&self, script: &str, style: &str) -> String {
        let (connects, own) = match self {
            Self::Written { connects } => (&**connects, ""),
            Self::Hosted => (
                ANYWHERE,
                "; img-src 'self'; manifest-src 'self'; worker-src 'self'",
            ),
        };
        format!(
            "default-src 'none'; script-src {} 'wasm-unsafe-eval'; style-src {}; connect-src {connects}; base-uri 'none'; form-action 'none'{own}",
            hash(script),
            hash(style),
        )
    }
}

/// Where the page for a server called `host` may connect to. A policy has no form for an IPv6 address,
/// and leaves open whether an IPv4 address matches itself (CSP 3, "host-part matches").
pub(crate) fn connects_to(host: &str) -> String {
    let is_name = host.chars().any(|c| c.is_ascii_alphabetic()) && !host.ends_with('.');
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    if is_name && host.chars().all(is_plain) {
        format!("http://{host}:* https://{host}:*")
    } else {
        ANYWHERE.to_owned()
    }
}

/// The source expression that allows the element with `content`.
fn hash(content: &str) -> String {
    let mut buffer = [0; HASH_LEN];
    // The buffer is long enough.
    let text = Base64::encode(&Sha256::digest(content), &mut buffer).unwrap_or_default();
    format!("'sha256-{text}'")
}
