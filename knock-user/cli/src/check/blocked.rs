//! Warnings about doors that open a port of the gate which the firewall blocks for everybody: the gate
//! lets a connection pass, and the firewall behind it does not.
//!
//! Only what is certain is reported. A rule that is not understood is taken to let the connection pass.

mod path;

use std::collections::BTreeMap;

use knock_common::settings::Destinations;
use knockd_config::Config;
use knockd_types::rules::Port;
use serde_json::Value;

use self::path::Connection;

/// Warnings about the rules of nft(8) in `ruleset`.
pub(crate) fn warnings(config: &Config, ruleset: &Value) -> Vec<String> {
    let gate = config.gate.as_ref();
    // What is for other hosts does not pass the chains that are looked at.
    if gate.is_none_or(|gate| gate.rules.destinations != Destinations::Local) {
        return Vec::new();
    }
    let mut doors: BTreeMap<Port, &str> = BTreeMap::new();
    for door in &config.doors {
        // A command may open the firewall.
        if door.run.is_none() {
            for port in &door.opening.ports {
                doors.entry(*port).or_insert(&door.name);
            }
        }
    }
    let opened_by_command = config.doors.iter().filter(|door| door.run.is_some());
    for port in opened_by_command.flat_map(|door| &door.opening.ports) {
        doors.remove(port);
    }
    doors
        .into_iter()
        .filter_map(|(port, door)| {
            let chain = blocking_chain(ruleset, port)?;
            Some(format!(
                "{port}: door {door:?} opens it in the gate, and the firewall ({chain}) still drops new \
                 connections to it, so that a knock opens nothing. Accept the port there: the gate \
                 keeps it closed to others"
            ))
        })
        .collect()
}

/// The first chain of `ruleset` that lets no new connection to `port` pass, as a message shows it.
fn blocking_chain(ruleset: &Value, port: Port) -> Option<String> {
    let objects = ruleset["nftables"].as_array()?;
    let connection = Connection::new(objects, port);
    let mut chains = objects.iter().map(|object| &object["chain"]);
    let chain = chains.find(|chain| chain["hook"] == "input" && !connection.may_pass(chain))?;
    let text = |key: &str| chain[key].as_str().unwrap_or_default().to_owned();
    let family = match chain["family"].as_str() {
        Some("ip") => ", for IPv4",
        Some("ip6") => ", for IPv6",
        _ => "",
    };
    Some(format!(
        "chain `{}` of table `{}`{family}",
        text("name"),
        text("table")
    ))
}

#[cfg(test)]
mod tests;
