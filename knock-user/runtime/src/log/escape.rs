//! Escapes untrusted text for a log line or a terminal.

use knock_common::legible::escaped;

/// `text` with everything escaped that could control a terminal or mislead its reader. Line feeds
/// stay.
#[must_use]
pub fn legible(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(one_line).collect();
    lines.join("\n")
}

/// The same with line feeds escaped too.
#[must_use]
pub(super) fn one_line(text: &str) -> String {
    escaped(text).collect()
}
