use std::{collections::BTreeMap, iter};

use proptest::prelude::*;

use super::*;

/// Files in memory.
pub(in crate::import::fwknop) struct Memory(
    pub(in crate::import::fwknop) BTreeMap<PathBuf, Vec<u8>>,
);

impl Memory {
    /// Files in `/f`.
    pub(in crate::import::fwknop) fn new(files: &[(&str, &str)]) -> Self {
        let entry = |(name, text): &(&str, &str)| (Path::new("/f").join(name), (*text).into());
        Self(files.iter().map(entry).collect())
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        let bytes = self.0.get(path).cloned();
        bytes.with_context(|| format!("{}: not found", path.display()))
    }

    fn list(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        let paths = self.0.keys().rev();
        let inside = paths.filter(|path| path.parent() == Some(folder));
        Ok(inside.cloned().collect())
    }
}

fn load(files: &[(&str, &str)]) -> Result<Access> {
    let (first, _) = files[0];
    Access::load(&Path::new("/f").join(first), &Memory::new(files))
}

/// The sources and the numbers of further directives, stanza by stanza.
fn stanzas(access: &Access) -> Vec<(String, usize)> {
    let stanzas = access.stanzas.iter();
    let stanza = |stanza: &Stanza| {
        (
            stanza.directives[0].value.clone(),
            stanza.directives.len() - 1,
        )
    };
    stanzas.map(stanza).collect()
}

fn line(bytes: &[u8]) -> Result<Option<(String, String)>, &'static str> {
    let place = Place {
        file: "f".into(),
        line: 1,
    };
    let directive = directive(place, bytes)?;
    Ok(directive.map(|directive| (directive.key, directive.value)))
}

#[test]
fn a_line_is_a_variable_and_a_value_that_ends_at_a_semicolon() {
    for (text, expected) in [
        ("SOURCE ANY", ("SOURCE", "ANY")),
        ("SOURCE: ANY;", ("SOURCE", "ANY")),
        (
            "  SOURCE\t 192.0.2.1, 192.0.2.2 \t\r",
            ("SOURCE", "192.0.2.1, 192.0.2.2"),
        ),
        ("SOURCE :ANY", ("SOURCE", ":ANY")),
        (
            "ACCESS_EXPIRE 3/10/01;   ### old",
            ("ACCESS_EXPIRE", "3/10/01"),
        ),
        ("CMD_CYCLE_OPEN a $IP; b", ("CMD_CYCLE_OPEN", "a $IP")),
        ("source ANY", ("source", "")),
    ] {
        let (key, value) = line(text.as_bytes()).unwrap().unwrap();
        assert_eq!((&key[..], &value[..]), expected, "{text}");
    }
    for text in ["", " \t\r", "# SOURCE ANY", "  # x", "; x", "#\u{1b}[1m"] {
        assert_eq!(line(text.as_bytes()), Ok(None), "{text}");
    }
}

#[test]
fn what_is_no_line_is_told_without_what_it_says() {
    let long = [b"KEY ".as_slice(), &[b'x'; MAX_LINE_LEN]].concat();
    for (bytes, expected) in [
        (b"SECRET".as_slice(), "this is not `VARIABLE VALUE`"),
        (b"KEY ;SECRET", "this is not `VARIABLE VALUE`"),
        (b"KEY \x1b[1m", "the line contains a control character"),
        (b"KEY a\0b", "the line contains a control character"),
        (b"K\0E\0Y\0 \0a\0", "the line contains a control character"),
        (&long, "the line is so long that fwknopd would split it"),
    ] {
        assert_eq!(line(bytes), Err(expected));
    }
    let error = load(&[("a.conf", "\u{feff}SOURCE ANY\r\n\r\nSECRET\r\n")]);
    assert_eq!(
        error.unwrap_err().to_string(),
        "/f/a.conf:3: this is not `VARIABLE VALUE`"
    );
}

#[test]
fn the_values_of_keys_are_not_kept_however_they_are_called() {
    for key in [
        "KEY",
        "KEY_BASE64",
        "HMAC_KEY",
        "HMAC_KEY_BASE64",
        "GPG_DECRYPT_PW",
        "KEY:",
        "KEY_BASE46",
        "SECRET",
        "key",
        "KEY:SECRET",
    ] {
        let access = load(&[("a.conf", &format!("SOURCE ANY\n{key} SECRET\n"))]).unwrap();
        let directive = &access.stanzas[0].directives[1];
        assert_eq!(directive.value, "", "{key}");
    }
    let access = load(&[("a.conf", "SOURCE ANY\nc2VjcmV0= x\nSECRET1 x\nOTHER x\n")]).unwrap();
    let shown: Vec<_> = access.stanzas[0]
        .directives
        .iter()
        .map(Directive::shown_key)
        .collect();
    assert_eq!(shown, ["SOURCE", "this line", "this line", "OTHER"]);
}

#[test]
fn included_files_are_read_where_they_are_named() {
    let access = load(&[
        (
            "1.conf",
            "KEY a\nSOURCE 1.1.1.1\nKEY a\n%include d/2.conf\nOPEN_PORTS tcp/22\nSOURCE 5.5.5.5\n",
        ),
        (
            "d/2.conf",
            "KEY a\n%include d/3.conf\nSOURCE 4.4.4.4\nKEY a\n",
        ),
        ("d/3.conf", "SOURCE 2.2.2.2\nKEY a\nSOURCE 3.3.3.3\n"),
    ])
    .unwrap();
    let expected = [
        ("1.1.1.1", 2),
        ("2.2.2.2", 1),
        ("3.3.3.3", 0),
        ("4.4.4.4", 1),
        ("5.5.5.5", 0),
    ];
    let expected = expected.map(|(source, count)| (source.to_owned(), count));
    assert_eq!(stanzas(&access), expected);
    let places = access.orphans.iter().map(|orphan| orphan.place.to_string());
    assert_eq!(places.collect::<Vec<_>>(), ["/f/1.conf:1", "/f/d/2.conf:1"]);
    assert_eq!(access.stanzas[3].number, 4);
}

#[test]
fn a_folder_is_read_in_the_order_of_names() {
    let access = load(&[
        ("a.conf", "SOURCE ANY\n%include_folder d\n"),
        ("d/b.conf", "SOURCE 2.2.2.2\n"),
        ("d/a.conf", "SOURCE 1.1.1.1\n"),
        ("d/c.conf~", "SOURCE 3.3.3.3\n"),
        ("d/d.txt", "SOURCE 4.4.4.4\n"),
    ])
    .unwrap();
    let sources: Vec<_> = stanzas(&access)
        .into_iter()
        .map(|(source, _)| source)
        .collect();
    assert_eq!(sources, ["ANY", "1.1.1.1", "2.2.2.2", "3.3.3.3"]);
}

#[test]
fn files_that_include_each_other_or_are_missing_are_told_with_their_place() {
    let error = |files: &[(&str, &str)]| format!("{:#}", load(files).unwrap_err());
    let round = error(&[
        ("1.conf", "%include 2.conf\nSOURCE ANY\n"),
        ("2.conf", "\n%include 1.conf\nSOURCE ANY\n"),
    ]);
    assert!(round.contains("/f/2.conf:2: %include: "), "{round}");
    assert!(
        round.ends_with("fwknopd does not go deeper than 3 files"),
        "{round}"
    );
    let itself = error(&[("a.conf", "%include_folder .\n")]);
    assert!(
        itself.ends_with("deeper than 3 files") || itself.contains("%include_folder"),
        "{itself}"
    );
    let missing = error(&[("a.conf", "SOURCE ANY\n%include /no/where\n")]);
    assert_eq!(missing, "/f/a.conf:2: %include: /no/where: not found");
    let names: Vec<_> = (0..MAX_FILES)
        .map(|index| format!("d/{index}.conf"))
        .collect();
    let first = ("a.conf", "%include_folder d\n");
    let files: Vec<_> = iter::once(first)
        .chain(names.iter().map(|name| (&name[..], "SOURCE ANY\n")))
        .collect();
    let many = error(&files);
    assert!(many.ends_with("more than 256 files are included"), "{many}");
    let many = error(&[("a.conf", &"SOURCE ANY\n".repeat(MAX_STANZAS + 1))]);
    assert!(
        many.starts_with("/f/a.conf:1025: there are more than 1024"),
        "{many}"
    );
}

proptest! {
    #[test]
    fn never_panics(bytes: Vec<u8>) {
        let files = Memory([("/f/a".into(), bytes)].into());
        let _ = Access::load(Path::new("/f/a"), &files);
    }
}
