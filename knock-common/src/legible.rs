//! Untrusted text in messages: names, the output of commands, and what a file or a peer contains.
//!
//! Such text must not control a terminal, forge a line of a log, or look like another text.

/// Whether `c` is not shown as itself: a control or format character, which includes the
/// bidirectional ones, a separator other than the space, or a character without a meaning. Those are
/// the general categories C and Z of Unicode.
#[must_use]
pub fn misleads(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    // Escapes these categories, and a combining character at the start of a text.
    let mut text = [b'x'; 5];
    let len = 1 + c.encode_utf8(&mut text[1..]).len();
    core::str::from_utf8(&text[..len]).is_ok_and(|text| text.escape_debug().nth(2).is_some())
}

/// The characters of `text`, with those that [mislead](misleads) as `\u{…}`, or as `\n`, `\r` or
/// `\t`.
pub fn escaped(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(|c| {
        let misleads = misleads(c);
        let escape = misleads.then(|| c.escape_default());
        let plain = (!misleads).then_some(c);
        escape.into_iter().flatten().chain(plain)
    })
}

#[cfg(test)]
mod tests {
    use std::string::String;

    use super::*;

    fn shown(text: &str) -> String {
        escaped(text).collect()
    }

    #[test]
    fn text_of_any_language_is_shown_as_it_is() {
        for text in [
            "",
            "a \"b\" 'c' \\d",
            "ünïcödé",
            "u\u{308}",
            "門",
            "हिन्दी",
            "عربى",
            "🔑",
        ] {
            assert_eq!(shown(text), text);
        }
    }

    #[test]
    fn what_misleads_is_escaped() {
        for (text, expected) in [
            ("a\u{1b}[2Jb\r\n\u{9b}c", r"a\u{1b}[2Jb\r\n\u{9b}c"),
            ("\u{85}", r"\u{85}"),
            ("\u{2028}\u{2029}", r"\u{2028}\u{2029}"),
            ("\u{202e}dlo\u{2066}", r"\u{202e}dlo\u{2066}"),
            // Separators that look like a space, and characters without a width.
            ("a\u{a0}b\u{3000}c", r"a\u{a0}b\u{3000}c"),
            ("a\u{200b}b\u{feff}c\u{ad}", r"a\u{200b}b\u{feff}c\u{ad}"),
            // Tags, private use, and not assigned.
            ("\u{e0041}\u{e000}\u{378}", r"\u{e0041}\u{e000}\u{378}"),
            ("\u{61c}\u{200e}\u{7f}\t\0", r"\u{61c}\u{200e}\u{7f}\t\u{0}"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn no_control_or_bidirectional_character_is_left() {
        for c in '\0'..=char::MAX {
            let is_bidi = matches!(
                c,
                '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            );
            assert!(misleads(c) || !(c.is_control() || is_bidi), "{c:?}");
            assert!(misleads(c) || c == ' ' || !c.is_whitespace(), "{c:?}");
        }
    }
}
