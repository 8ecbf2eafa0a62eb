//! Removes keys from error messages, as a last line of defence.

/// The prefixes of keys and invitations.
const BEGINNINGS: [&str; 3] = ["knock2:", "knockd2:", "knock://"];

/// The length of a key's text without its prefix, in characters.
const KEY_LEN: usize = 43;

/// The minimum number of characters after a prefix that are removed as part of a key.
const PART_LEN: usize = 8;

/// Replaces keys and invitations in `text` by an ellipsis.
///
/// If a user passes a key where a file or a server is expected, the error message, which may be
/// logged, would otherwise contain the key.
#[must_use]
pub fn redacted(text: &str) -> String {
    text.split_inclusive(ends_word).map(redacted_word).collect()
}

fn ends_word(c: char) -> bool {
    c.is_whitespace() || "'\"`,".contains(c)
}

fn redacted_word(word: &str) -> String {
    let body = word.trim_end_matches(ends_word);
    let after = &word[body.len()..];
    let secret = BEGINNINGS.iter().find_map(|beginning| {
        let start = body.find(beginning)? + beginning.len();
        (longest_run(&body[start..]) >= PART_LEN).then_some(start)
    });
    match secret {
        Some(start) => format!("{}…{after}", &body[..start]),
        None if longest_run(body) >= KEY_LEN => format!("…{after}"),
        None => word.to_owned(),
    }
}

/// The length of the longest sequence of characters that a key may consist of.
fn longest_run(text: &str) -> usize {
    let is_digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.split(|c| !is_digit(c))
        .map(str::len)
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    #[test]
    fn secrets_are_redacted() {
        for (text, shown) in [
            (
                format!("key file knock2:{KEY}: missing"),
                "key file knock2:… missing",
            ),
            (format!("value 'knock2:{KEY}' for"), "value 'knock2:…' for"),
            (
                format!("'knock://a@b:1?server={KEY}&key={KEY}' is"),
                "'knock://…' is",
            ),
            (format!("value 'knockd2:{KEY}'"), "value 'knockd2:…'"),
            (format!("address of {KEY}: none"), "address of … none"),
            (format!("knock2:{}", &KEY[..20]), "knock2:…"),
        ] {
            assert_eq!(redacted(&text), shown);
        }
    }

    #[test]
    fn other_text_is_kept() {
        for text in [
            "",
            "a key has 43 characters after knock2:, not 42",
            "an invitation looks like knock://CLIENT@HOST:BASE?server=KEY, as `knockd init` prints it",
            "key file /home/somebody/.config/knock/keys/server.example.net.key: it cannot be read",
            "cannot find an address of host.example.net",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    proptest! {
        #[test]
        fn a_key_is_always_redacted(before: String, after: String) {
            for text in [format!("{before}{KEY}{after}"), format!("{before}knock2:{}{after}", &KEY[1..])] {
                let shown = redacted(&text);
                prop_assert!(!shown.contains(&KEY[1..]), "{}", shown);
            }
        }
    }
}
