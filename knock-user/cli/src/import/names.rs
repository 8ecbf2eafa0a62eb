//! Valid, unique names for what is converted.

use std::collections::HashSet;

use knock_common::{legible::misleads, protocol::door::ShortTag};

/// The names that are in use, and their tags in knocks. The tags of doors have to be unique too.
#[derive(Debug)]
pub(super) struct Names {
    /// The name of what has no valid one.
    default: &'static str,
    taken: HashSet<String>,
    tags: HashSet<ShortTag>,
}

impl Names {
    /// The maximum length of a name, in bytes.
    const MAX_LEN: usize = 64;

    /// No name is in use. What has no valid one is called `default`.
    pub(super) fn new(default: &'static str) -> Self {
        Self {
            default,
            taken: HashSet::new(),
            tags: HashSet::new(),
        }
    }

    /// A valid, unique name for what was called `name`, as similar as possible.
    pub(super) fn fitting(&mut self, name: &str) -> String {
        let printable: String = name
            .trim()
            .chars()
            .map(|c| if misleads(c) { '-' } else { c })
            .collect();
        let base = if knockd_config::is_name(cut(&printable, Self::MAX_LEN)) {
            &printable
        } else {
            self.default
        };
        let mut name = cut(base, Self::MAX_LEN).to_owned();
        let mut number = 1;
        // There are 65536 tags and far fewer names, so a free number exists.
        while self.taken.contains(&name) || self.tags.contains(&ShortTag::of(&name)) {
            number += 1;
            let suffix = format!("-{number}");
            name = cut(base, Self::MAX_LEN - suffix.len()).to_owned();
            name.push_str(&suffix);
        }
        self.tags.insert(ShortTag::of(&name));
        self.taken.insert(name.clone());
        name
    }
}

/// The longest prefix of `text` that fits into `len` bytes.
fn cut(text: &str, len: usize) -> &str {
    &text[..text.floor_char_boundary(len)]
}
