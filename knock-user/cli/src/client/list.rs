//! `knockd client list`: lists the clients.

use anyhow::Result;
use clap::Args;
use knockd_runtime::log::legible;

use super::record::{self, Record};
use crate::{args::ConfigArg, output, patience};

const HEADER: [&str; 8] = [
    "NAME",
    "KIND",
    "FINGERPRINT",
    "DOORS",
    "FROM",
    "EXPIRES",
    "PREVIOUS KEY",
    "LAST ACCEPTED",
];

#[derive(Args, Debug)]
pub(crate) struct List {
    #[command(flatten)]
    config: ConfigArg,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl List {
    /// Lists the clients as text or as one line of JSON.
    ///
    /// # Errors
    ///
    /// Returns an error if the configuration cannot be read or is invalid, or if standard output cannot
    /// be written.
    pub(super) fn execute(self) -> Result<()> {
        let config = patience::load(&self.config.path)?;
        let clients = Record::all(&config);
        if self.json {
            return output::print(&serde_json::to_string(&clients)?);
        }
        output::print_exactly(&legible(&table(&clients)))
    }
}

fn table(clients: &[Record]) -> String {
    let header = HEADER.map(str::to_owned);
    let rows: Vec<_> = [header]
        .into_iter()
        .chain(clients.iter().map(row))
        .collect();
    let widths: [usize; HEADER.len()] = std::array::from_fn(|column| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    });
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(widths);
        let cells: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    });
    lines.collect()
}

fn row(client: &Record) -> [String; HEADER.len()] {
    [
        client.name.clone(),
        client.kind.to_owned(),
        record::or_dash(client.fingerprint.as_deref()),
        record::listed(&client.doors),
        client.networks(),
        client.end(),
        client.previous(),
        client.last(),
    ]
}

#[cfg(test)]
mod tests;
