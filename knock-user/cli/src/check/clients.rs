//! Clients whose knocks are never accepted.

use ipnet::IpNet;
use knockd_config::{Client, Config};

/// How many clients or networks a warning names.
const SHOWN: usize = 10;

/// Blocks of addresses that no other host can have (RFC 6890): unspecified, multicast and reserved.
const UNUSED: [&str; 4] = ["0.0.0.0/8", "224.0.0.0/3", "::/128", "ff00::/8"];

/// Addresses of the loopback interface.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// Warnings about the clients of `config` that have expired at `now`, in Unix milliseconds, and about
/// networks from which no knock can come.
pub(crate) fn warnings(config: &Config, now: u64) -> Vec<String> {
    let clients = config.clients.iter();
    let expired = clients.filter(|client| client.conditions.has_expired(now));
    let expired: Vec<_> = expired.map(|client| format!("{:?}", client.name)).collect();
    let expired = (!expired.is_empty()).then(|| {
        format!(
            "no knock of these clients is accepted, since they have expired: {}. \
             `knockd client expire NAME WHEN` prolongs one, `knockd client remove NAME` removes it",
            shown(&expired)
        )
    });
    let unused = unused(config);
    let clients = config.clients.iter();
    let unmatched: Vec<_> = clients
        .flat_map(|client| unmatched(client, &unused))
        .collect();
    let unmatched = (!unmatched.is_empty()).then(|| {
        format!(
            "`from` contains networks from which no packet of another host can come: {}",
            shown(&unmatched)
        )
    });
    expired.into_iter().chain(unmatched).collect()
}

/// The blocks from which no knock can come to the interfaces of `config`.
fn unused(config: &Config) -> Vec<IpNet> {
    let blocks = UNUSED.iter();
    let has_loopback = config.interfaces.names().any(|name| name == "lo");
    let loopback = LOOPBACK.iter().filter(|_| !has_loopback);
    blocks
        .chain(loopback)
        .filter_map(|block| block.parse().ok())
        .collect()
}

/// The networks of `client` that are in one of the `unused` blocks, each with the client's name.
fn unmatched(client: &Client, unused: &[IpNet]) -> impl Iterator<Item = String> {
    let networks = client.conditions.from.iter();
    let is_unused = |network: &&IpNet| unused.iter().any(|block| block.contains(*network));
    networks
        .filter(is_unused)
        .map(|network| format!("{network} of client {:?}", client.name))
}

/// The first of `all`, and how many there are beside them.
fn shown(all: &[String]) -> String {
    let first = &all[..all.len().min(SHOWN)];
    match all.len() - first.len() {
        0 => first.join(", "),
        more => format!("{}, and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::{fmt::Write as _, fs};

    use super::*;

    /// A configuration with `top` in front of its clients.
    fn config(top: &str, clients: &[&str]) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let mut text =
            format!("{top}\n[[door]]\nname = \"ssh\"\nrun = [\"true\"]\nsequence = [1]\n");
        for (index, keys) in clients.iter().enumerate() {
            let secret = folder.path().join(format!("{index}"));
            fs::write(&secret, format!("open sesame {index}")).unwrap();
            fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600))
                .unwrap();
            write!(
                text,
                "[[client]]\nname = \"c{index}\"\nprotocol = \"classic\"\npassphrase_file = \"{index}\"\n{keys}\n"
            )
            .unwrap();
        }
        Config::parse(&text, &folder.path().join("knockd.toml")).unwrap()
    }

    #[test]
    fn expired_clients_are_named_up_to_a_limit() {
        let expired = "expires = 2020-01-01T00:00:00Z";
        let at = 1_577_836_800_000;
        let two = config("", &[expired, "", expired]);
        assert_eq!(warnings(&two, at - 1), [""; 0]);
        let [warning] = &warnings(&two, at)[..] else {
            panic!("one warning")
        };
        assert!(warning.contains("expired: \"c0\", \"c2\". "), "{warning}");
        let many = config("", &[expired; SHOWN + 3]);
        let [warning] = &warnings(&many, at)[..] else {
            panic!("one warning")
        };
        assert!(warning.contains("\"c9\", and 3 more. "), "{warning}");
    }

    #[test]
    fn networks_that_no_packet_comes_from_are_named() {
        let networks = |list: &str| format!("from = [{list}]");
        let unmatched = |top: &str, list: &str| {
            let found = warnings(&config(top, &[&networks(list)]), 0);
            found
                .first()
                .map(|warning| warning.rsplit_once("come: ").unwrap().1.to_owned())
        };
        assert_eq!(unmatched("", "\"192.0.2.0/24\", \"fe80::/10\""), None);
        assert_eq!(unmatched("", "\"0.0.0.0/0\""), None);
        let found = unmatched("", "\"192.0.2.0/24\", \"239.1.0.0/16\", \"ff02::1\"");
        assert_eq!(
            found.as_deref(),
            Some("239.1.0.0/16 of client \"c0\", ff02::1/128 of client \"c0\"")
        );
        let loopback = "\"127.0.0.1\"";
        assert!(unmatched("interfaces = [\"eth0\"]", loopback).is_some());
        assert_eq!(unmatched("interfaces = [\"eth0\", \"lo\"]", loopback), None);
    }
}
