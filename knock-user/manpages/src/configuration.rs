//! Generates the manual page knockd.toml(5), with every key of the configuration.

mod keys;
mod model;

use knockd_config::model::DEFAULT_PATH;

use self::model::{Default, Table, Values};
use crate::page::Page;

/// A complete example.
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
        "A TOML file that defines the clients and the doors that they open. `knockd init` creates it, \
         `knockd check` validates it, and `knockd reload` makes the running daemon load it. An invalid \
         file is refused as a whole.",
    );
    page.paragraph(
        "The file names commands that normally run as root. It must belong to root or to the user that runs \
         knockd, and must not be writable by others. Unknown keys are errors. Durations are written \
         like `\"90s\"`, `\"10m\"`, `\"1h 30m\"`.",
    );
    for table in keys::TABLES {
        table.add_to(&mut page);
    }
    page.section("COMMANDS");
    page.paragraph(
        "`run` and `close` are a program and its arguments; no shell is involved. In each of them, \
         `%IP%` is the source address of the knock, `%DOOR%` and `%CLIENT%` are the names, `%FOR%` is \
         the duration of the lease in seconds, and `%%` is a percent sign. The environment contains the \
         same values as `KNOCK_IP`, `KNOCK_DOOR`, `KNOCK_CLIENT` and `KNOCK_FOR`, and a fixed `PATH`. \
         Commands run in `/` with an empty standard input. Their output goes to the log.",
    );
    page.section("EXAMPLE");
    page.verbatim(EXAMPLE);
    page.see_also(&[("knock", "1"), ("knockd", "8")]);
    page.render()
}

impl Table {
    fn add_to(&self, page: &mut Page) {
        page.section(if self.header.is_empty() {
            "TOP-LEVEL KEYS"
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
