//! The rules of iptables and ip6tables as iptables-save(8) prints them.

use std::{net::IpAddr, ops::RangeInclusive};

use knock_common::gate::Transport;

use super::redirect::Redirect;

/// The redirections in the rules of a table.
pub(super) fn read(text: &str) -> Vec<Redirect> {
    text.lines()
        .filter(|line| line.starts_with("-A ") && !line.starts_with("-A OUTPUT "))
        .filter_map(redirect)
        .collect()
}

/// The redirection of a rule, if it has one.
fn redirect(rule: &str) -> Option<Redirect> {
    let words: Vec<_> = rule.split_ascii_whitespace().collect();
    // The value of an option, unless a `!` before it negates it.
    let option = |name: &str| {
        // The last one: a comment before it may contain anything.
        let at = words.iter().rposition(|word| *word == name)?;
        let is_negated = at > 0 && words[at - 1] == "!";
        words.get(at + 1).filter(|_| !is_negated).copied()
    };
    let to = match option("-j")? {
        "REDIRECT" => option("--to-ports")?,
        "DNAT" => local_port(option("--to-destination")?)?,
        _ => return None,
    };
    let from = option("--dport").or_else(|| option("--dports"));
    Some(Redirect {
        transport: match option("-p") {
            Some("tcp") => Some(Transport::Tcp),
            Some("udp") => Some(Transport::Udp),
            _ => None,
        },
        from: from.map_or_else(Vec::new, |list| ports(list, ':')),
        to: ports(to, '-'),
    })
}

/// The ports of a destination on this host: `:22`, `127.0.0.1:22` or `[::1]:22`.
fn local_port(destination: &str) -> Option<&str> {
    let (address, port) = destination.rsplit_once(':')?;
    if address.is_empty() {
        return Some(port);
    }
    let address: IpAddr = address.trim_matches(['[', ']']).parse().ok()?;
    address.is_loopback().then_some(port)
}

/// The ports in a list of numbers and ranges, whose ends `to` separates.
fn ports(list: &str, to: char) -> Vec<RangeInclusive<u16>> {
    let range = |item: &str| {
        let (first, last) = item.split_once(to).unwrap_or((item, item));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(range).collect()
}
