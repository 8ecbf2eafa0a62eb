//! The last line of defence: no key in what is said about a command line.

/// What keys and invitations begin with.
const BEGINNINGS: [&str; 2] = ["knock1:", "knock://"];

/// Characters of a key's text without its beginning.
const KEY_LEN: usize = 43;

/// So many characters of a key are too many to be shown, where one is expected.
const PART_LEN: usize = 8;

/// `text` without the keys and invitations in it.
///
/// Someone who gives a key where its file or a server is asked for would find it in the
/// message about that, and with it in a log.
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

/// How many characters that a key may consist of stand in a row.
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
    fn secrets_are_left_out() {
        for (text, shown) in [
            (
                format!("key file knock1:{KEY}: missing"),
                "key file knock1:… missing",
            ),
            (format!("value 'knock1:{KEY}' for"), "value 'knock1:…' for"),
            (format!("'knock://a@b:1/{KEY}' is"), "'knock://…' is"),
            (format!("address of {KEY}: none"), "address of … none"),
            (format!("knock1:{}", &KEY[..20]), "knock1:…"),
        ] {
            assert_eq!(redacted(&text), shown);
        }
    }

    #[test]
    fn the_rest_is_not() {
        for text in [
            "",
            "a key has 43 characters behind knock1: and nothing after them, not 42",
            "an invitation looks like knock://CLIENT@HOST:BASE/KEY, as `knockd init` prints it",
            "key file /home/somebody/.config/knock/keys/server.example.net.key: it cannot be read",
            "cannot find an address of host.example.net",
        ] {
            assert_eq!(redacted(text), text);
        }
    }

    proptest! {
        #[test]
        fn a_key_never_stays(before: String, after: String) {
            for text in [format!("{before}{KEY}{after}"), format!("{before}knock1:{}{after}", &KEY[1..])] {
                let shown = redacted(&text);
                prop_assert!(!shown.contains(&KEY[1..]), "{}", shown);
            }
        }
    }
}
