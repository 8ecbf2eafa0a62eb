//! Warnings about firewall rules that redirect other ports to protected ones: the gate sees packets
//! before the firewall does, and lets them pass to a port that it does not protect.
//!
//! Rules are read as nft(8) and iptables-save(8) print them: redirections, and translations of the
//! destination that keep the address or give it one of the loopback interface. A rule whose ports are
//! not known here is taken to redirect any port.

mod iptables;
mod nft;
mod redirect;

use std::fs;

use knockd_config::Config;
use serde_json::Value;

use super::ruleset::listing;

/// The programs that print the rules of iptables, with the file that names the tables which exist
/// outside of nftables.
const IPTABLES: [(&str, &str); 2] = [
    ("iptables-save", "/proc/net/ip_tables_names"),
    ("ip6tables-save", "/proc/net/ip6_tables_names"),
];

/// Warnings about the rules that are in force: those of nft(8) in `ruleset`, and those of iptables. What
/// cannot be read is left out.
pub(crate) fn warnings(config: &Config, ruleset: &Value) -> Vec<String> {
    let Some(gate) = &config.gate else {
        return Vec::new();
    };
    let mut redirects = nft::read(ruleset);
    for (program, tables) in IPTABLES {
        if changes_nothing(program, tables)
            && let Some(text) = listing(program, &["-t", "nat"])
        {
            redirects.extend(iptables::read(&text));
        }
    }
    let mut warnings: Vec<_> = redirects
        .iter()
        .flat_map(|redirect| redirect.warnings(&gate.rules.protect))
        .collect();
    // A rule of iptables may be in both listings.
    warnings.sort_unstable();
    warnings.dedup();
    warnings
}

/// Whether `program` can list the table `nat` without creating it: it reads nftables, or the table is
/// among those in the file `tables`.
fn changes_nothing(program: &str, tables: &str) -> bool {
    let version = listing(program, &["-V"]);
    version.is_some_and(|version| version.contains("nf_tables"))
        || fs::read_to_string(tables).is_ok_and(|names| names.lines().any(|name| name == "nat"))
}

#[cfg(test)]
mod tests;
