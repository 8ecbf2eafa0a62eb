//! The name of the server and its addresses.

use std::time::Duration;

use anyhow::Result;

use super::{report::Report, subject::Subject};
use crate::server::{Address, LookupError, Server};

/// How long the resolver may take. One that works answers within a second; a knock waits longer, until
/// a second name server was asked.
const LIMIT: Duration = Duration::from_secs(5);

/// Resolves the name. Returns the addresses to knock on.
pub(super) fn examine(subject: &Subject, report: &mut Report<'_, '_>) -> Result<Vec<Address>> {
    let server = &subject.server;
    report.console.wait(&format!("looking up {server}"));
    let found = server.all_addresses(LIMIT);
    report.console.quiet();
    let found = match found {
        Err(LookupError::Silent { .. }) => {
            report.problem(
                "name",
                &format!(
                    "the resolver of this host has not answered for {server} within {} s",
                    LIMIT.as_secs()
                ),
                "this host has no network, or its DNS server does not answer (/etc/resolv.conf); \
                 knock on the address instead of the name",
            )?;
            return Ok(Vec::new());
        }
        Err(error) => {
            let next = match error {
                LookupError::Unresolved { .. } => {
                    "check how it is spelt, and whether this host has a network; knock on the \
                     address instead of the name"
                }
                _ => "name a profile, a host or an IP address",
            };
            report.problem("name", &format!("{:#}", anyhow::Error::from(error)), next)?;
            return Ok(Vec::new());
        }
        Ok(found) => found,
    };
    match server.chosen(&found, subject.families) {
        Ok(chosen) => {
            resolved(server, &found, &chosen, report)?;
            Ok(chosen)
        }
        Err(error) => {
            let next = "allow the other family: omit -4, -6 and --source-ip";
            report.problem("name", &error.to_string(), next)?;
            Ok(Vec::new())
        }
    }
}

fn resolved(
    server: &Server,
    found: &[Address],
    chosen: &[Address],
    report: &mut Report<'_, '_>,
) -> Result<()> {
    let listed = |addresses: &[Address]| {
        let addresses: Vec<_> = addresses.iter().map(Address::to_string).collect();
        addresses.join(" and ")
    };
    let used = listed(chosen);
    let message = if used == server.as_str() {
        format!("{used} is an address")
    } else {
        format!("{server} is {used}")
    };
    if chosen
        .iter()
        .any(|one| one.ip().is_loopback() || one.ip().is_unspecified())
    {
        return report.warning(
            "name",
            &format!("{message}, which is this host itself"),
            "knock from another host; for another server, look at its entry in /etc/hosts and the DNS",
        );
    }
    let same = |one: &&Address| {
        !chosen.contains(one) && chosen.iter().any(|it| it.is_ipv6() == one.is_ipv6())
    };
    let others: Vec<_> = found.iter().filter(same).copied().collect();
    if others.is_empty() {
        return report.ok("name", &message);
    }
    report.warning(
        "name",
        &format!(
            "{message}, and also {}, on which `knock` does not knock",
            listed(&others)
        ),
        "if these are several servers, give the address of the one that you connect to",
    )
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::doctor::{report::Level, tests::findings};

    fn addresses(texts: &[&str]) -> Vec<Address> {
        let ip = |text: &&str| Address::from(text.parse::<IpAddr>().unwrap());
        texts.iter().map(ip).collect()
    }

    #[test]
    fn what_a_name_stands_for_is_shown() {
        for (name, found, level, expected) in [
            (
                "a.example",
                &["192.0.2.1"][..],
                Level::Ok,
                "a.example is 192.0.2.1",
            ),
            (
                "192.0.2.1",
                &["192.0.2.1"],
                Level::Ok,
                "192.0.2.1 is an address",
            ),
            (
                "a.example",
                &["2001:db8::1", "192.0.2.1"],
                Level::Ok,
                "a.example is 192.0.2.1 and 2001:db8::1",
            ),
            (
                "a.example",
                &["192.0.2.1", "192.0.2.2"],
                Level::Warning,
                "and also 192.0.2.2, on which",
            ),
            (
                "a.example",
                &["127.0.0.1"],
                Level::Warning,
                "this host itself",
            ),
        ] {
            let server: Server = name.parse().unwrap();
            let found = addresses(found);
            let chosen = server
                .chosen(&found, crate::server::Families::Both)
                .unwrap();
            let findings = findings(|report| resolved(&server, &found, &chosen, report));
            assert_eq!(findings[0].level, level, "{findings:?}");
            assert!(findings[0].message.contains(expected), "{findings:?}");
        }
    }
}
