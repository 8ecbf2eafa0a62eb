//! Removes a name from a list. The comment after an entry belongs to it, as does one on the lines
//! above it.

use toml_edit::{Array, RawString, Value};

/// Removes every `name` from `list`. Returns whether there was one.
pub(super) fn remove(list: &mut Array, name: &str) -> bool {
    let len = list.len();
    for index in (0..len).rev() {
        if list.get(index).and_then(Value::as_str) == Some(name) {
            remove_at(list, index);
        }
    }
    list.len() < len
}

fn remove_at(list: &mut Array, index: usize) {
    let removed = list.remove(index);
    // The parser takes what is between two entries as the prefix of the second.
    let before = prefix(&removed);
    match list.get_mut(index) {
        Some(next) => {
            let after = prefix(next);
            let joined = match after.split_once('\n') {
                Some((_, below)) => format!("{}\n{below}", same_line(&before)),
                None => before,
            };
            next.decor_mut().set_prefix(joined);
        }
        None => {
            let suffix = removed.decor().suffix().and_then(RawString::as_str);
            let trailing = list.trailing().as_str();
            let after = [suffix, trailing].map(Option::unwrap_or_default).concat();
            let comment = same_line(&before).trim_end();
            let joined = match after.split_once('\n') {
                Some((_, below)) => format!("{comment}\n{below}"),
                None if comment.is_empty() => after,
                None => format!("{comment}\n"),
            };
            list.set_trailing(joined);
        }
    }
}

/// What is on the line of the entry before.
fn same_line(gap: &str) -> &str {
    gap.split_once('\n').map_or(gap, |(same, _)| same)
}

fn prefix(entry: &Value) -> String {
    let prefix = entry.decor().prefix().and_then(RawString::as_str);
    prefix.unwrap_or_default().to_owned()
}
