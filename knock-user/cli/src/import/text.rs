//! Text of the new configuration, and numbers as C reads them.

use knock_common::legible::misleads;
use toml_edit::Value;

/// `words` as a TOML array.
pub(super) fn array(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| string(word)).collect();
    format!("[{}]", words.join(", "))
}

/// `text` as a TOML string, in which everything that misleads is escaped.
pub(super) fn string(text: &str) -> String {
    if !text.chars().any(misleads) {
        return Value::from(text).to_string();
    }
    let mut string = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => string.extend(['\\', c]),
            _ if misleads(c) => string.push_str(&format!("\\U{:08x}", u32::from(c))),
            _ => string.push(c),
        }
    }
    string.push('"');
    string
}

/// The result of C's `atoi()` for `text`.
pub(super) fn leading_number(text: &str) -> i64 {
    let text = text.trim_start();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits.bytes().take_while(u8::is_ascii_digit);
    let number = digits.fold(0_i64, |number, digit| {
        number
            .saturating_mul(10)
            .saturating_add((digit - b'0').into())
    });
    sign * number
}
