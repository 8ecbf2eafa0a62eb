//! Escapes untrusted text for a log line or a terminal.

/// `text` with terminal controls escaped. Line feeds stay.
#[must_use]
pub fn legible(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(one_line).collect();
    lines.join("\n")
}

/// `text` with line ends and terminal controls escaped.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if misleads(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}

/// Whether `c` is a control character, a Unicode line or paragraph separator, or a bidirectional
/// control.
pub(super) fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}
