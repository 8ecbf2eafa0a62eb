//! The text of a configuration file, and edits that keep its comments, its order and its line ends.

use std::{fmt, path::Path};

use anyhow::{Context as _, Result, anyhow, bail};
use toml_edit::{ArrayOfTables, DocumentMut, Item, RawString, Table, Value};

use super::array;

/// Keys of a client.
pub(super) const NAME: &str = "name";
pub(super) const PUBLIC_KEY: &str = "public_key";
pub(super) const PREVIOUS_KEY: &str = "previous_key";
pub(super) const PREVIOUS_UNTIL: &str = "previous_until";
pub(super) const EXPIRES: &str = "expires";
pub(super) const FROM: &str = "from";
pub(super) const DOORS: &str = "doors";

const BOM: char = '\u{feff}';

/// A configuration file that is being edited.
#[derive(Debug)]
pub(super) struct Document {
    /// The text before the edits.
    original: String,
    toml: DocumentMut,
    /// Whether lines end in CR and LF. The parser drops the CR.
    has_cr: bool,
    has_bom: bool,
}

impl Document {
    /// The document in the file at `path`.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot be read, can be changed by other users, or is not TOML.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = knockd_config::read(path)?;
        Self::parse(text).with_context(|| path.display().to_string())
    }

    /// The document with this `text`.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not TOML. The error does not quote it, since it may contain secrets.
    fn parse(text: String) -> Result<Self> {
        let toml = text.parse::<DocumentMut>();
        let toml = toml.map_err(|error| anyhow!("{}", error.message()))?;
        let first = text.split_inclusive('\n').next();
        Ok(Self {
            toml,
            has_cr: first.is_some_and(|line| line.ends_with("\r\n")),
            has_bom: text.starts_with(BOM),
            original: text,
        })
    }

    /// Whether the edits make a difference.
    pub(super) fn is_changed(&self) -> bool {
        self.to_string() != self.original
    }

    /// Sets the top-level `key` if it is missing. Returns whether it was.
    pub(super) fn provide(&mut self, key: &str, value: &str) -> bool {
        let is_missing = !self.toml.contains_key(key);
        if is_missing {
            self.toml.insert(key, toml_edit::value(value));
        }
        is_missing
    }

    /// The client called `name`, which is in this file.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not, or if the clients are an inline array.
    pub(super) fn client(&mut self, name: &str) -> Result<&mut Table> {
        let clients = self.tables("client")?.into_iter();
        let mut clients = clients.flat_map(ArrayOfTables::iter_mut);
        let client = clients.find(|client| is_named(client, name));
        client.with_context(|| format!("there is no client {name:?}"))
    }

    /// Adds a client after the existing ones.
    ///
    /// # Errors
    ///
    /// Returns an error if the clients are an inline array.
    pub(super) fn add_client(&mut self, mut client: Table) -> Result<()> {
        client.decor_mut().set_prefix("\n");
        let none = Item::ArrayOfTables(ArrayOfTables::new());
        let clients = self.toml.entry("client").or_insert(none);
        tables(clients, "client")?.push(client);
        Ok(())
    }

    /// Removes the client called `name`, which is in this file, with the comment directly above it.
    ///
    /// # Errors
    ///
    /// Returns an error if it is not, or if the clients are an inline array.
    pub(super) fn remove_client(&mut self, name: &str) -> Result<()> {
        let clients = self.tables("client")?;
        let place = clients.and_then(|clients| {
            let index = clients.iter().position(|client| is_named(client, name))?;
            Some((clients, index))
        });
        let (clients, index) = place.with_context(|| format!("there is no client {name:?}"))?;
        let removed = clients.remove(index);
        if clients.is_empty() {
            self.toml.remove("client");
        }
        let above = removed.decor().prefix().and_then(RawString::as_str);
        self.insert_above(removed.position(), of_others(above.unwrap_or_default()));
        Ok(())
    }

    /// Removes the client called `name` from the `clients` of every door. Returns whether a door has
    /// named it.
    ///
    /// # Errors
    ///
    /// Returns an error if the doors are an inline array, or if a door names no other client: without
    /// `clients`, all of them could open it.
    pub(super) fn remove_from_doors(&mut self, name: &str) -> Result<bool> {
        let mut is_changed = false;
        let Some(doors) = self.tables("door")? else {
            return Ok(false);
        };
        for door in doors.iter_mut() {
            let title = door.get(NAME).and_then(Item::as_str).map(str::to_owned);
            let clients = door.get_mut("clients").and_then(Item::as_array_mut);
            let Some(clients) = clients else { continue };
            if !array::remove(clients, name) {
                continue;
            }
            is_changed = true;
            if clients.is_empty() {
                bail!(
                    "door {:?} names no other client in `clients`: name another one there, or remove the door",
                    title.unwrap_or_default()
                );
            }
        }
        Ok(is_changed)
    }

    /// The tables `[[key]]`, if there are any.
    fn tables(&mut self, key: &str) -> Result<Option<&mut ArrayOfTables>> {
        let item = self.toml.get_mut(key);
        item.map(|item| tables(item, key)).transpose()
    }

    /// Inserts `text` above the table that follows `position`, or at the end.
    fn insert_above(&mut self, position: Option<isize>, text: &str) {
        let tables = self.toml.iter_mut().flat_map(|(_, item)| match item {
            Item::Table(table) => vec![table],
            Item::ArrayOfTables(tables) => tables.iter_mut().collect(),
            _ => Vec::new(),
        });
        let next = tables
            .filter(|table| table.position() > position)
            .min_by_key(|table| table.position());
        match next {
            Some(table) => {
                let old = table.decor().prefix().and_then(RawString::as_str);
                let new = stacked(text, old.unwrap_or_default());
                table.decor_mut().set_prefix(new);
            }
            None => {
                let new = stacked(text, self.toml.trailing().as_str().unwrap_or_default());
                self.toml.set_trailing(new);
            }
        }
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.toml.to_string();
        if self.has_cr {
            text = text.replace("\r\n", "\n").replace('\n', "\r\n");
        }
        if self.has_bom && !text.starts_with(BOM) {
            text.insert(0, BOM);
        }
        f.write_str(&text)
    }
}

/// Sets `key` of `table`. The comment after an old value stays.
pub(super) fn set(table: &mut Table, key: &str, value: impl Into<Value>) {
    let mut value = value.into();
    // `Table::insert` would drop the comment above the key.
    if let Some(old) = table.get_mut(key) {
        if let Some(old) = old.as_value() {
            *value.decor_mut() = old.decor().clone();
        }
        *old = Item::Value(value);
    } else {
        table.insert(key, Item::Value(value));
    }
}

/// The tables of `item`, the value of `key`.
fn tables<'i>(item: &'i mut Item, key: &str) -> Result<&'i mut ArrayOfTables> {
    let tables = item.as_array_of_tables_mut();
    tables.with_context(|| format!("`{key}` is written as an inline array: write [[{key}]] tables"))
}

fn is_named(table: &Table, name: &str) -> bool {
    table.get(NAME).and_then(Item::as_str) == Some(name)
}

/// The part of the text above a table that does not belong to it: what is before the last blank line.
fn of_others(above: &str) -> &str {
    let mut end = 0;
    let mut len = 0;
    for line in above.split_inclusive('\n') {
        if line.trim().is_empty() {
            end = len;
        }
        len += line.len();
    }
    &above[..end]
}

/// `upper` above `lower`, with a blank line between them.
fn stacked(upper: &str, lower: &str) -> String {
    let is_apart = upper.is_empty() || lower.is_empty() || lower.starts_with('\n');
    let gap = if is_apart { "" } else { "\n" };
    format!("{upper}{gap}{lower}")
}

#[cfg(test)]
mod tests;
