//! The rules of the firewall as its own programs print them.

use std::{ops::RangeInclusive, process::Command};

use knock_common::gate::Transport;
use knockd_supervisor::exec;
use serde_json::Value;
use tracing::debug;

/// The ruleset of nftables (libnftables-json(5)); null if it cannot be read.
pub(super) fn read() -> Value {
    let text = listing("nft", &["--json", "--terse", "list", "ruleset"]);
    let ruleset = text.map(|text| serde_json::from_str(&text));
    ruleset.and_then(Result::ok).unwrap_or_default()
}

/// What `program` prints; `None` if it fails.
pub(super) fn listing(program: &str, arguments: &[&str]) -> Option<String> {
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

/// The transport protocol of this name.
pub(super) fn transport(name: &Value) -> Option<Transport> {
    match name.as_str()? {
        "tcp" => Some(Transport::Tcp),
        "udp" => Some(Transport::Udp),
        _ => None,
    }
}

/// The ports that an expression stands for: a number, a range, a set of both, or the data of a map.
pub(super) fn ports(expression: &Value) -> Vec<RangeInclusive<u16>> {
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
