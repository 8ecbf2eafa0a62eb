//! Text from outside, made fit for one line of a log or a terminal.

/// `text` with everything escaped that misleads a terminal; its lines stay.
#[must_use]
pub fn legible(text: &str) -> String {
    let lines: Vec<_> = text.split('\n').map(one_line).collect();
    lines.join("\n")
}

/// `text` with everything escaped that ends a line or misleads a terminal.
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

/// Whether `c` is a control character, or one of those that Unicode has for new lines and
/// for turning the direction of writing.
pub(super) fn misleads(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}
