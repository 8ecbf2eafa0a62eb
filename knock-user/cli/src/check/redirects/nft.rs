//! The JSON of nft (libnftables-json(5)).

use std::{net::IpAddr, ops::RangeInclusive};

use knock_common::gate::Transport;
use serde_json::Value;

use super::redirect::Redirect;

/// The redirections in a ruleset.
pub(super) fn read(text: &str) -> Vec<Redirect> {
    let ruleset: Value = serde_json::from_str(text).unwrap_or_default();
    let Some(objects) = ruleset["nftables"].as_array() else {
        return Vec::new();
    };
    let of_own_traffic = |rule: &Value| {
        objects.iter().any(|object| {
            let chain = &object["chain"];
            chain["hook"] == "output"
                && chain["name"] == rule["chain"]
                && chain["table"] == rule["table"]
                && chain["family"] == rule["family"]
        })
    };
    objects
        .iter()
        .map(|object| &object["rule"])
        .filter(|rule| !of_own_traffic(rule))
        .filter_map(|rule| redirect(rule["expr"].as_array()?))
        .collect()
}

/// The redirection of a rule with these statements, if it has one.
fn redirect(statements: &[Value]) -> Option<Redirect> {
    let to = statements.iter().find_map(target)?;
    let mut redirect = Redirect {
        to: ports(&to),
        ..Redirect::default()
    };
    for statement in statements {
        let test = &statement["match"];
        let (left, right) = (&test["left"], &test["right"]);
        if left["payload"]["field"] == "dport" {
            redirect.transport = transport(&left["payload"]["protocol"]);
            if test["op"] == "==" {
                redirect.from = ports(right);
            }
        } else if left["meta"]["key"] == "l4proto" {
            redirect.transport = redirect.transport.or_else(|| transport(right));
        }
    }
    Some(redirect)
}

/// The expression of the ports that a statement redirects to.
fn target(statement: &Value) -> Option<Value> {
    let dnat = &statement["dnat"];
    let port = if statement.get("redirect").is_some() {
        &statement["redirect"]["port"]
    } else if is_local(&dnat["addr"]) {
        &dnat["port"]
    } else {
        return None;
    };
    // Without a port it stays the same.
    (!port.is_null()).then(|| port.clone())
}

/// Whether an address is this host's: it is kept, or that of the loopback interface.
fn is_local(address: &Value) -> bool {
    let parsed = address.as_str().map(str::parse::<IpAddr>);
    address.is_null() || parsed.is_some_and(|parsed| parsed.is_ok_and(|ip| ip.is_loopback()))
}

fn transport(name: &Value) -> Option<Transport> {
    match name.as_str()? {
        "tcp" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        _ => None,
    }
}

/// The ports that an expression stands for: a number, a range, a set of both, or the data of a map.
fn ports(expression: &Value) -> Vec<RangeInclusive<u16>> {
    let number = |value: &Value| u16::try_from(value.as_u64()?).ok();
    if let Some(port) = number(expression) {
        return vec![port..=port];
    }
    let range = &expression["range"];
    if let (Some(first), Some(last)) = (number(&range[0]), number(&range[1])) {
        return vec![first..=last];
    }
    if let Some(elements) = expression["set"].as_array() {
        return elements.iter().flat_map(ports).collect();
    }
    if let Some(pairs) = expression["map"]["data"]["set"].as_array() {
        return pairs.iter().flat_map(|pair| ports(&pair[1])).collect();
    }
    Vec::new()
}
