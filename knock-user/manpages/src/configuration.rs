//! Generates the manual page knockd.toml(5) and the key reference in docs/configuration.md, with
//! every key of the configuration.

mod keys;
mod model;
mod reference;

use knockd_config::DEFAULT_PATH;

pub(crate) use self::reference::reference;
use self::{keys::TABLES, model::Table};
use crate::page::Page;

/// A complete example.
const EXAMPLE: &str = r#"interfaces = ["eth0"]
server_key_file = "server.key"

[[client]]
name = "laptop"
public_key = "j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8"

[[door]]
name = "ssh"
open = ["tcp/22"]
for = "30s"
max_for = "1h"

[[door]]
name = "backup"
run = ["portknock", "open", "%IP%"]
close = ["portknock", "close", "%IP%"]
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
    for table in TABLES {
        add(table, &mut page);
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

/// Adds the section of `table`.
fn add(table: &Table, page: &mut Page) {
    page.section(if table.header.is_empty() {
        "TOP-LEVEL KEYS"
    } else {
        table.header
    });
    if !table.about.is_empty() {
        page.paragraph(table.about);
    }
    for key in table.keys {
        let text = format!(
            "{}\n{}. {}",
            key.meaning,
            key.values.description(),
            key.default.sentence()
        );
        page.item(key.name, "", text.trim_end());
    }
}

#[cfg(test)]
mod tests;
