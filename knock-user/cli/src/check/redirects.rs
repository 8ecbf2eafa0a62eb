//! Warnings about firewall rules that redirect other ports to protected ones: the gate sees packets
//! before the firewall does, and lets them pass to a port that it does not protect.
//!
//! Rules are read as nft(8) and iptables-save(8) print them: redirections, and translations of the
//! destination that keep the address or give it one of the loopback interface. A rule whose ports are
//! not known here is taken to redirect any port.

mod iptables;
mod nft;
mod redirect;

use std::{fs, process::Command};

use knockd_config::Config;
use knockd_supervisor::exec;
use tracing::debug;

/// The programs that print the rules of iptables, with the file that names the tables which exist
/// outside of nftables.
const IPTABLES: [(&str, &str); 2] = [
    ("iptables-save", "/proc/net/ip_tables_names"),
    ("ip6tables-save", "/proc/net/ip6_tables_names"),
];

/// Warnings about the rules that are in force. What cannot be read is left out.
pub(crate) fn warnings(config: &Config) -> Vec<String> {
    let Some(gate) = &config.gate else {
        return Vec::new();
    };
    let ruleset = listing("nft", &["--json", "--terse", "list", "ruleset"]);
    let mut redirects = ruleset.map_or_else(Vec::new, |text| nft::read(&text));
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

/// What `program` prints; `None` if it fails.
fn listing(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", exec::PATH)
        .output();
    match output {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => {
            debug!("{program} cannot list the firewall: {}", output.status);
            None
        }
        Err(error) => {
            debug!("{program} cannot list the firewall: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests;
