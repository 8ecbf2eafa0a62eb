//! Tests that the page agrees with the parser.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::Result;
use knockd_config::Config;
use tempfile::TempDir;
use toml_edit::{DocumentMut, Item, Value};

use super::{
    EXAMPLE,
    keys::TABLES,
    model::{Default, Key, Table, Values},
};

/// A valid configuration with every table that a key may need, and no key that has a default.
const MINIMAL: &str = r#"
server_key_file = "server.key"

[datagram]
port = 62201

[gate]
protect = ["tcp/2222"]

[metrics]
listen = "127.0.0.1:9811"

[fleet]
engine = ["192.0.2.11:4222"]
server_name = "nats.example"
ca = "ca.pem"
certificate = "node.pem"
certificate_key = "node.key"
key_file = "fleet.key"
node = "edge1"

[[client]]
name = "laptop"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"

[[door]]
name = "ssh"
open = ["tcp/2222"]
run = ["true"]
"#;

/// A configuration directory with a client's secrets.
struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write(
            "server.key",
            "knockd2:kdPePtooXZWhwSf3xoBoDaSiI4SLU1G6i30WClMItVw\n",
        );
        folder.write("laptop.passphrase", "correct horse battery staple\n");
        for name in ["ca.pem", "node.pem"] {
            folder.write(name, "-----BEGIN CERTIFICATE-----\n");
        }
        folder.write("node.key", "-----BEGIN PRIVATE KEY-----\n");
        folder.write(
            "fleet.key",
            "knockd-fleet1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\n",
        );
        folder
    }

    fn write(&self, name: &str, content: &str) {
        let path = self.0.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn parse(&self, text: &str) -> Result<Config> {
        Config::parse(text, &self.0.path().join("knockd.toml"))
    }

    /// The minimal configuration with `key` set to `value`.
    fn with(&self, table: &Table, key: &Key, value: &str) -> Result<Config> {
        let mut value = value.to_owned();
        let mut document: DocumentMut = MINIMAL.parse().unwrap();
        match key.name {
            // The file has to exist.
            "server_key_file" if value.starts_with('"') => value = "\"server.key\"".into(),
            "ca" if value.starts_with('"') => value = "\"ca.pem\"".into(),
            "certificate" if value.starts_with('"') => value = "\"node.pem\"".into(),
            "certificate_key" if value.starts_with('"') => value = "\"node.key\"".into(),
            "key_file" if value.starts_with('"') => value = "\"fleet.key\"".into(),
            // Only a classic client has one, its file has to exist, and its door needs a sequence.
            "passphrase_file" if value.starts_with('"') => {
                without_key(&mut document);
                value = "\"laptop.passphrase\"".into();
                document["client"][0]["protocol"] = toml_edit::value("classic");
                document["door"][0]["sequence"] = toml_edit::value(Value::from_iter([1]));
            }
            // A classic client needs a passphrase, and its door needs a sequence.
            "protocol" if value == "\"classic\"" => {
                without_key(&mut document);
                document["client"][0]["passphrase_file"] = toml_edit::value("laptop.passphrase");
                document["door"][0]["sequence"] = toml_edit::value(Value::from_iter([1]));
            }
            // A group requires a user.
            "group" => document["door"][0]["user"] = toml_edit::value("nobody"),
            // Neither is valid without the other.
            "previous_key" => {
                document["client"][0]["previous_until"] = later();
            }
            "previous_until" => {
                document["client"][0]["previous_key"] = toml_edit::value(OTHER_KEY);
            }
            // `max_for` must not be less than `for`.
            "max_for" => document["door"][0]["for"] = toml_edit::value("1s"),
            _ => {}
        }
        place(&mut document, table.header)[key.name] =
            toml_edit::value(value.parse::<Value>().unwrap());
        self.parse(&document.to_string())
    }

    fn assert_taken(&self, table: &Table, key: &Key, value: &str) {
        if let Err(error) = self.with(table, key, value) {
            panic!("{} {} = {value}: {error:#}", table.header, key.name);
        }
    }

    fn assert_refused(&self, table: &Table, key: &Key, value: &str) {
        let taken = self.with(table, key, value).is_ok();
        assert!(!taken, "{} {} = {value} is taken", table.header, key.name);
    }
}

/// A public key that no client has.
const OTHER_KEY: &str = "0iwA2BrX1liN0SVIFdL419C0RcwmnJ8wsaE_V3M7bVc";

fn later() -> Item {
    toml_edit::value("2027-01-01T00:00:00Z".parse::<Value>().unwrap())
}

fn without_key(document: &mut DocumentMut) {
    let client = document["client"][0].as_table_like_mut().unwrap();
    client.remove("public_key");
}

/// The table with this header in the document.
fn place<'a>(document: &'a mut DocumentMut, header: &str) -> &'a mut Item {
    let name = header.trim_matches(['[', ']']);
    match (name.is_empty(), header.starts_with("[[")) {
        (true, _) => document.as_item_mut(),
        (_, true) => &mut document[name][0],
        (_, false) => document.entry(name).or_insert_with(toml_edit::table),
    }
}

fn keys() -> impl Iterator<Item = (&'static Table, &'static Key)> {
    TABLES
        .iter()
        .flat_map(|table| table.keys.iter().map(move |key| (table, key)))
}

/// The words between backticks in an error that lists the expected keys.
fn expected(error: &str) -> BTreeSet<&str> {
    let (_, list) = error.split_once("expected").unwrap();
    list.split('`').skip(1).step_by(2).collect()
}

#[test]
fn the_parser_knows_the_same_keys() {
    let folder = Folder::new();
    for table in TABLES {
        let mut document: DocumentMut = MINIMAL.parse().unwrap();
        place(&mut document, table.header)["nonsense"] = toml_edit::value(1);
        let error = folder.parse(&document.to_string()).unwrap_err();
        let error = format!("{error:#}");
        let mut known: BTreeSet<_> = table.keys.iter().map(|key| key.name).collect();
        if table.header.is_empty() {
            let tables = TABLES.iter().map(|table| table.header);
            known.extend(tables.map(|header| header.trim_matches(['[', ']'])));
            known.remove("");
        }
        assert_eq!(expected(&error), known, "{}: {error}", table.header);
    }
}

#[test]
fn defaults_are_the_parsers() {
    let folder = Folder::new();
    let minimal = format!("{:?}", folder.parse(MINIMAL).unwrap());
    for (table, key) in keys() {
        if let Default::Value(value) = key.default {
            let spelt_out = folder.with(table, key, value).unwrap();
            assert_eq!(format!("{spelt_out:?}"), minimal, "{}", key.name);
        }
    }
}

#[test]
fn what_is_required_is_missed() {
    let folder = Folder::new();
    for (table, key) in keys() {
        if matches!(key.default, Default::Required) {
            let mut document: DocumentMut = MINIMAL.parse().unwrap();
            let place = place(&mut document, table.header);
            place.as_table_like_mut().unwrap().remove(key.name).unwrap();
            let taken = folder.parse(&document.to_string()).is_ok();
            assert!(!taken, "{} without {} is taken", table.header, key.name);
        }
    }
}

#[test]
fn bounds_are_the_parsers() {
    let folder = Folder::new();
    for (table, key) in keys() {
        let (right, wrong) = key.values.samples();
        for value in right {
            folder.assert_taken(table, key, &value);
        }
        for value in wrong {
            folder.assert_refused(table, key, &value);
        }
    }
}

impl Values {
    /// TOML values just inside and just outside the valid range.
    fn samples(&self) -> (Vec<String>, Vec<String>) {
        let owned = |values: &[&str]| values.iter().map(ToString::to_string).collect();
        let quoted = |value: &str| format!("\"{value}\"");
        match self {
            Self::Duration {
                least,
                most,
                whole_seconds,
            } => {
                let parse = |text| humantime::parse_duration(text).unwrap();
                let step = Duration::from_millis(1);
                let mut wrong = vec![parse(least) - step, parse(most) + Duration::from_secs(1)];
                wrong.extend(whole_seconds.then(|| parse(least) + step));
                let wrong = wrong
                    .into_iter()
                    .map(|time| quoted(&humantime::format_duration(time).to_string()));
                (vec![quoted(least), quoted(most)], wrong.collect())
            }
            Self::Number { least, most } => {
                let right = [*least].into_iter().chain(*most);
                let wrong = [least - 1].into_iter().chain(most.map(|most| most + 1));
                let text = |number: i64| number.to_string();
                (right.map(text).collect(), wrong.map(text).collect())
            }
            Self::Choice(words) => {
                let right = words.iter().map(|word| quoted(word)).collect();
                (right, vec![quoted("nonsense")])
            }
            Self::Flag => (owned(&["true", "false"]), owned(&["\"true\"", "1"])),
            Self::Other { right, wrong, .. } => (owned(right), owned(wrong)),
        }
    }
}

#[test]
fn the_example_is_right() {
    Folder::new().parse(EXAMPLE).unwrap();
}

/// `portknock open` and `portknock close` take exactly one address.
#[test]
fn the_example_calls_portknock_with_one_address() {
    let example: DocumentMut = EXAMPLE.parse().unwrap();
    let doors = example["door"].as_array_of_tables().unwrap();
    for (key, verb) in [("run", "open"), ("close", "close")] {
        let commands: Vec<Vec<_>> = doors
            .iter()
            .filter_map(|door| door.get(key)?.as_array())
            .map(|argv| argv.iter().filter_map(Value::as_str).collect())
            .collect();
        assert_eq!(commands, [["portknock", verb, "%IP%"]]);
    }
}

/// The example in the documentation has every key, each with its default.
#[test]
fn the_documentation_says_the_same() {
    let page = include_str!("../../../../docs/configuration.md");
    let (_, text) = page.split_once("```toml\n").unwrap();
    let (text, _) = text.split_once("```").unwrap();
    let text = text.replace("# passphrase_file", "passphrase_file");
    let mut document: DocumentMut = text.parse().unwrap();
    for table in TABLES {
        let place = place(&mut document, table.header);
        let keys = place.as_table_like().unwrap().iter();
        let keys: BTreeSet<_> = keys
            .filter(|(_, item)| item.is_value())
            .map(|(key, _)| key)
            .collect();
        let known = table.keys.iter().map(|key| key.name).collect();
        assert_eq!(keys, known, "{}", table.header);
        // For `interfaces` the documentation shows an example instead of the default.
        for key in table.keys.iter().filter(|key| key.name != "interfaces") {
            if let Default::Value(value) = key.default {
                let mut shown = place[key.name].as_value().unwrap().clone();
                shown.decor_mut().clear();
                assert_eq!(shown.to_string(), value, "{} {}", table.header, key.name);
            }
        }
    }
}
