use std::process::Command;

use proptest::prelude::*;

use super::*;

const ADDRESSES: [&str; 2] = ["192.0.2.7", "2001:db8::7"];

fn marked(text: &str) -> String {
    text.replace(ADDRESS, &MARK.to_string())
}

fn script(text: &str) -> Result<String, Refusal> {
    super::script(&marked(text))
}

fn words(text: &str) -> Option<Vec<String>> {
    super::words(&marked(text))
}

/// The output of `/bin/sh` for `text`, with an empty search path and an empty directory.
fn shell(text: &str, address: &str) -> (String, bool) {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("/bin/sh")
        .args(["-c", text])
        .env_clear()
        .env("PATH", folder.path())
        .env("KNOCK_IP", address)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    (printed, output.status.success())
}

/// Asserts that the script prints the same as the text with the address inserted.
fn assert_same(text: &str, script: &str) {
    for address in ADDRESSES {
        let pasted = text.replace(ADDRESS, address);
        assert_eq!(shell(script, address), shell(&pasted, address), "{script}");
    }
}

#[test]
fn a_variable_takes_the_address_s_place_in_every_kind_of_quotes() {
    for (text, expected) in [
        ("printf %s %IP%; :", r#"printf %s "$KNOCK_IP"; :"#),
        ("printf %s x%IP%y", r#"printf %s x"$KNOCK_IP"y"#),
        (r#"printf %s "a %IP%b""#, r#"printf %s "a ${KNOCK_IP}b""#),
        ("printf %s 'a %IP% b'", r#"printf %s 'a '"$KNOCK_IP"' b'"#),
        (
            r#"printf %s "it's %IP%""#,
            r#"printf %s "it's ${KNOCK_IP}""#,
        ),
        (r"printf %s \%IP%", r#"printf %s "$KNOCK_IP""#),
        (r#"printf %s "\%IP%""#, r#"printf %s "\\${KNOCK_IP}""#),
        (
            r#"printf %s "$(printf '%IP%')""#,
            r#"printf %s "$(printf ''"$KNOCK_IP"'')""#,
        ),
        (
            r#"printf %s "$(printf "%IP%")""#,
            r#"printf %s "$(printf "${KNOCK_IP}")""#,
        ),
        ("printf %s $#%IP%", r#"printf %s $#"$KNOCK_IP""#),
        ("printf %s %IP% # don't %IP%", r#"printf %s "$KNOCK_IP" "#),
        ("printf %s a#%IP%", r#"printf %s a#"$KNOCK_IP""#),
        (
            "case %IP% in *:*) printf 6;; *) printf 4;; esac",
            r#"case "$KNOCK_IP" in *:*) printf 6;; *) printf 4;; esac"#,
        ),
    ] {
        let script = script(text).unwrap();
        assert_eq!(script, expected);
        assert_same(text, &script);
    }
}

#[test]
fn where_a_variable_could_stand_for_something_else_it_is_refused() {
    for text in [
        "echo `whois %IP%`",
        r#"echo "`whois '%IP%'`""#,
        "echo ${x:-%IP%}",
        r#"echo "${x:-'%IP%'}""#,
        "echo $%IP%",
        "echo $x%IP%",
        "echo $(echo)#%IP%",
        "echo $'%IP%'",
        "echo $(case x in x) echo %IP%;; esac)",
        r"echo a\ #%IP%",
    ] {
        assert_eq!(script(text), Err(Refusal::Unclear), "{text}");
        // Without the address the text is passed on unchanged.
        let text = text.replace(ADDRESS, "x");
        assert_eq!(script(&text), Ok(text.clone()));
    }
    for text in ["echo 'x", "echo \"x", "echo $(x", "echo x\\"] {
        assert_eq!(script(text), Err(Refusal::Unbalanced), "{text}");
    }
}

#[test]
fn words_are_all_that_most_commands_are() {
    let words = |text| words(text).unwrap();
    assert_eq!(
        words("/sbin/iptables -A INPUT ! -s %IP% -j 'A B' \"it's\" c\\ d --to=%IP%:22 ''"),
        [
            "/sbin/iptables",
            "-A",
            "INPUT",
            "!",
            "-s",
            "\0",
            "-j",
            "A B",
            "it's",
            "c d",
            "--to=\0:22",
            ""
        ]
    );
    assert_eq!(
        words("echo ';' \"a|b\" \\$x '%I''P%'"),
        ["echo", ";", "a|b", "$x", "%IP%"]
    );
}

#[test]
fn what_is_more_than_words_is_left_to_a_shell() {
    for text in [
        "a; b",
        "a && b",
        "a | b",
        "a > b",
        "a &",
        "a $x",
        "a `b`",
        "a $(b)",
        "a *",
        "a ?",
        "a [b]",
        "a ~/b",
        "a # b",
        "A=b c",
        "a \"$x\"",
        "a \"`b`\"",
        "a {b,c}",
        "cd /",
        "! a",
        "exec a",
        "a 'b",
        "a \"b",
        "a \\",
        "'' a",
        "",
    ] {
        assert_eq!(words(text), None, "{text}");
    }
}

/// Text with shell syntax. There is no single `&`, which would make the output a race.
fn text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b",
        " ",
        " ",
        "%IP%",
        "%IP%",
        "%IP%",
        "'",
        "'",
        "\"",
        "\"",
        "\\",
        "$x",
        "$",
        "$(printf ",
        ")",
        "(",
        ";",
        "#",
        "{",
        "}",
        "${x:-",
        "`",
        "|",
        "&&",
        "*",
        "?",
        "[",
        "]",
        "~",
        "=",
        "%",
        "é",
        "\t",
        "!",
        "7",
    ]);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_script_does_what_the_pasted_text_did(text in text()) {
        // The process id differs between the two shells.
        prop_assume!(!text.contains("$$"));
        let text = format!("printf '<%s>' {text}");
        if let Ok(script) = script(&text) {
            prop_assert!(!script.contains(MARK));
            assert_same(&text, &script);
        }
    }

    #[test]
    fn words_are_those_that_the_shell_finds(text in text()) {
        if let Some(words) = words(&format!("x y {text}")) {
            let address = ADDRESSES[1];
            let pasted = format!("printf '<%s>' y {}", text.replace(ADDRESS, address));
            let expected: String = words[1..]
                .iter()
                .map(|word| format!("<{}>", word.replace(MARK, address)))
                .collect();
            prop_assert_eq!(shell(&pasted, address), (expected, true));
        }
    }

    #[test]
    fn never_panics(text: String) {
        let _ = (words(&text), script(&text));
    }
}
