//! knockd.toml(5): every key of the configuration, and how the page tells of it.

mod keys;

use knockd_config::model::DEFAULT_PATH;

use crate::page::Page;

/// A table of the file, or what stands before the first one.
struct Table {
    /// As it is written in the file; empty before the first one.
    header: &'static str,
    about: &'static str,
    keys: &'static [Key],
}

struct Key {
    name: &'static str,
    values: Values,
    default: Default,
    meaning: &'static str,
}

/// What a key takes. Everything here but texts is tried on the parser by a test.
enum Values {
    /// A time, such as `30s`.
    Duration {
        least: &'static str,
        most: &'static str,
        whole_seconds: bool,
    },
    /// A whole number; without `most` as large as a number can be in TOML.
    Number { least: i64, most: Option<i64> },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// `true` or `false`.
    Flag,
    /// Something else, with values in TOML that are right and such that are wrong.
    #[cfg_attr(not(test), expect(dead_code, reason = "samples are for the test"))]
    Other {
        what: &'static str,
        right: &'static [&'static str],
        wrong: &'static [&'static str],
    },
}

/// What is taken where the key is left out.
enum Default {
    /// Nothing: the key has to be there.
    Required,
    /// This value, in TOML.
    Value(&'static str),
    /// No value; the text says what that means.
    None(&'static str),
}

/// A whole file, as an example.
const EXAMPLE: &str = r#"interfaces = ["eth0"]

[[client]]
name = "laptop"
key_file = "laptop.key"

[[door]]
name = "ssh"
open = ["tcp/22"]
for = "30s"
max_for = "1h"

[[door]]
name = "backup"
run = ["portknock", "open", "%IP%", "873"]
close = ["portknock", "close", "%IP%", "873"]
for = "10m"

[gate]
protect = ["tcp/22"]
trusted = ["192.0.2.0/24"]
"#;

/// The whole page.
pub(crate) fn page() -> String {
    let mut page = Page::titled("knockd.toml", "5");
    page.section("NAME");
    page.paragraph("knockd.toml - configuration of the port-knock daemon knockd");
    page.section("SYNOPSIS");
    page.paragraph(&format!("`{DEFAULT_PATH}`"));
    page.section("DESCRIPTION");
    page.paragraph(
        "A file in TOML that says who may knock and what a knock opens. `knockd init` writes a first \
         one, `knockd check` says whether it is right, and `knockd reload` has the running daemon \
         take it over, or refuse it whole.",
    );
    page.paragraph(
        "The file must belong to root or to the user who runs knockd, and nobody else may be able to \
         write it, since it says what is run. A key that is not listed here is an error. Durations \
         are written like `\"90s\"`, `\"10m\"`, `\"1h 30m\"`.",
    );
    for table in keys::TABLES {
        table.add_to(&mut page);
    }
    page.section("COMMANDS");
    page.paragraph(
        "`run` and `close` are a program and its arguments, never a shell. Inside each, `%IP%` is the \
         address that knocked, `%DOOR%` and `%CLIENT%` are the names, `%FOR%` is the door's time in \
         seconds, and `%%` is a percent sign. The same stand in the environment as `KNOCK_IP`, \
         `KNOCK_DOOR`, `KNOCK_CLIENT` and `KNOCK_FOR`, beside a fixed `PATH`. Commands run in `/`, with \
         an empty standard input; what they print goes to the log.",
    );
    page.section("EXAMPLE");
    page.verbatim(EXAMPLE);
    page.see_also(&[("knock", "1"), ("knockd", "8")]);
    page.render()
}

impl Table {
    fn add_to(&self, page: &mut Page) {
        page.section(if self.header.is_empty() {
            "BEFORE THE FIRST TABLE"
        } else {
            self.header
        });
        if !self.about.is_empty() {
            page.paragraph(self.about);
        }
        for key in self.keys {
            let text = format!(
                "{}\n{} {}",
                key.meaning,
                key.values.told(),
                key.default.told()
            );
            page.item(key.name, "", text.trim_end());
        }
    }
}

impl Values {
    fn told(&self) -> String {
        match self {
            Self::Duration {
                least,
                most,
                whole_seconds,
            } => {
                let unit = if *whole_seconds {
                    ", in whole seconds"
                } else {
                    ""
                };
                format!("A duration from {least} to {most}{unit}.")
            }
            Self::Number {
                least,
                most: Some(most),
            } => format!("A number from {least} to {most}."),
            Self::Number { least, most: None } => format!("A number of at least {least}."),
            Self::Choice(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
                format!("{}.", words.join(" or "))
            }
            Self::Flag => "`true` or `false`.".to_owned(),
            Self::Other { what, .. } => format!("{what}."),
        }
    }
}

impl Default {
    fn told(&self) -> String {
        match self {
            Self::Required => "Required.".to_owned(),
            Self::Value(value) => format!("Default: `{value}`."),
            Self::None(meaning) => format!("Default: {meaning}."),
        }
    }
}

#[cfg(test)]
mod tests;
