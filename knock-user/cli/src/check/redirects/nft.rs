//! The JSON of nft (libnftables-json(5)).

use std::net::IpAddr;

use serde_json::Value;

use super::{
    super::ruleset::{ports, transport},
    redirect::Redirect,
};

/// The redirections in a ruleset.
pub(super) fn read(ruleset: &Value) -> Vec<Redirect> {
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
