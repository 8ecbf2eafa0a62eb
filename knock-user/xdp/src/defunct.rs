//! Links whose interface no longer exists.

use std::fs;

use anyhow::{Context as _, Result};
use aya::programs::links::{FdLink, PinnedLink};

/// The open files of this process.
const OPEN: &str = "/proc/self/fdinfo";

/// Whether the interface of `link` no longer exists, in its network namespace.
///
/// # Errors
///
/// Returns an error if the kernel does not tell.
pub(crate) fn is_defunct(link: PinnedLink) -> Result<bool> {
    let link = FdLink::from(link);
    let id = link.info()?.id();
    for entry in fs::read_dir(OPEN).context(OPEN)? {
        // An entry can be gone: that of the directory itself is closed in between.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        if value(&text, "link_id") == Some(id)
            && let Some(ifindex) = value(&text, "ifindex")
        {
            return Ok(ifindex == 0);
        }
    }
    anyhow::bail!("{OPEN} has no link {id}")
}

/// The number in the line of `key`.
fn value(text: &str, key: &str) -> Option<u32> {
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_key() {
        let text =
            "pos:\t0\nflags:\t02000002\nlink_type:\txdp\nlink_id:\t17\nprog_id:\t45\nifindex:\t0\n";
        assert_eq!(value(text, "link_id"), Some(17));
        assert_eq!(value(text, "ifindex"), Some(0));
        assert_eq!(value(text, "link"), None);
        assert_eq!(value(text, "link_type"), None);
    }
}
