//! Tests of edits of a configuration's text.

use super::*;

const TEXT: &str = r#"# Head.
state_dir = "/var/lib/knockd" # here

# The clients.

# Anna's laptop.
[[client]]
name = "laptop" # old
# Since May.
public_key = "one" # hers
# No more keys.

# The phone.
[[client]]
name = "phone"
public_key = "two"

# The doors.
[[door]]
name = "ssh"
clients = [
    # First.
    "laptop", # Anna
    "phone", # Bob
]

[[client]]
name = "late"
public_key = "three"
# The end.
"#;

fn parse(text: &str) -> Result<Document> {
    Document::parse(text.to_owned())
}

fn removed(text: &str, name: &str) -> String {
    let mut document = parse(text).unwrap();
    document.remove_from_doors(name).unwrap();
    document.remove_client(name).unwrap();
    document.to_string()
}

#[test]
fn a_document_without_edits_is_unchanged() {
    let with_cr = TEXT.replace('\n', "\r\n");
    for text in ["", TEXT, &with_cr, &format!("\u{feff}{with_cr}")] {
        assert_eq!(parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn a_client_is_removed_with_its_own_comments_only() {
    let after = removed(TEXT, "laptop");
    let expected = TEXT
        .replace(
            "# Anna's laptop.\n[[client]]\nname = \"laptop\" # old\n# Since May.\npublic_key = \"one\" # hers\n",
            "",
        )
        .replace("    # First.\n    \"laptop\", # Anna\n", "");
    assert_eq!(after, expected);
    let after = removed(TEXT, "phone");
    let expected = TEXT
        .replace(
            "\n# The phone.\n[[client]]\nname = \"phone\"\npublic_key = \"two\"\n",
            "",
        )
        .replace("    \"phone\", # Bob\n", "");
    assert_eq!(after, expected);
}

#[test]
fn the_last_table_leaves_what_follows_it() {
    let after = removed(TEXT, "late");
    let client = "\n[[client]]\nname = \"late\"\npublic_key = \"three\"\n";
    assert_eq!(after, TEXT.replace(client, ""));
}

#[test]
fn line_ends_and_a_byte_order_mark_stay() {
    let text = format!("\u{feff}{}", TEXT.replace('\n', "\r\n"));
    let mut document = parse(&text).unwrap();
    set(document.client("phone").unwrap(), "public_key", "four");
    assert_eq!(document.to_string(), text.replace("two", "four"));
}

#[test]
fn a_value_is_set_between_its_comments() {
    let mut document = parse(TEXT).unwrap();
    let client = document.client("laptop").unwrap();
    set(client, "public_key", "four");
    set(client, "previous_key", "one");
    let expected = TEXT.replace(
        "\"one\" # hers\n",
        "\"four\" # hers\nprevious_key = \"one\"\n",
    );
    assert_eq!(document.to_string(), expected);
}

#[test]
fn lists_keep_their_form() {
    for (before, after) in [
        (r#"["a", "b", "c"]"#, r#"["b", "c"]"#),
        (r#"["b", "a", "c"]"#, r#"["b", "c"]"#),
        (r#"[ "b", "a" ]"#, r#"[ "b" ]"#),
        (r#"["a", "b", "a",]"#, r#"["b",]"#),
        ("[\n  \"a\",\n  \"b\"\n]", "[\n  \"b\"\n]"),
        ("[\n  \"b\",\n  \"a\"\n]", "[\n  \"b\"\n]"),
        ("[\n  \"b\", # B\n  \"a\" # A\n]", "[\n  \"b\" # B\n]"),
        (
            "[\n  \"b\", # B\n  \"a\", # A\n  # End\n]",
            "[\n  \"b\", # B\n  # End\n]",
        ),
    ] {
        let text = format!("[[door]]\nclients = {before}\n");
        let mut document = parse(&text).unwrap();
        assert!(document.remove_from_doors("a").unwrap(), "{before}");
        let expected = format!("[[door]]\nclients = {after}\n");
        assert_eq!(document.to_string(), expected);
    }
}

#[test]
fn a_door_keeps_a_client() {
    let text = "[[door]]\nname = \"ssh\"\nclients = [\"a\"]\n";
    let mut document = parse(text).unwrap();
    let error = document.remove_from_doors("a").unwrap_err().to_string();
    assert!(
        error.contains("door \"ssh\" names no other client"),
        "{error}"
    );
}

#[test]
fn inline_arrays_are_refused() {
    let mut document = parse("client = [{ name = \"a\" }]\ndoor = []\n").unwrap();
    for error in [
        document.client("a").unwrap_err(),
        document.remove_client("a").unwrap_err(),
        document.add_client(Table::new()).unwrap_err(),
    ] {
        assert!(
            error.to_string().contains("write [[client]] tables"),
            "{error}"
        );
    }
    let error = document.remove_from_doors("a").unwrap_err().to_string();
    assert!(error.contains("write [[door]] tables"), "{error}");
}

#[test]
fn an_error_does_not_quote_the_text() {
    let error = parse("sequence = [1, 2, secret]").unwrap_err();
    assert!(!error.to_string().contains("1, 2"), "{error}");
}

#[test]
fn what_is_not_there_is_not_removed() {
    let mut document = parse("state_dir = \"x\"\n").unwrap();
    document.client("a").unwrap_err();
    document.remove_client("a").unwrap_err();
    assert!(!document.remove_from_doors("a").unwrap());
}
