//! The way of a knock out of this host, and the address that the server sees.

use std::net::IpAddr;

use anyhow::Result;

use super::{report::Report, subject::Subject};
use crate::{
    resolve_ip::ResolveIp,
    route::Via,
    server::Address,
    source_ip::{Bound, SourceIp},
};

/// Looks for a route to `to`, and at the source address. Returns whether there is a route. A missing
/// one is a problem if this is the only address, which `alone` says.
pub(super) fn examine(
    subject: &Subject,
    to: Address,
    alone: bool,
    report: &mut Report<'_, '_>,
) -> Result<bool> {
    let mut sources: Vec<(Via, IpAddr)> = Vec::new();
    for via in subject.ways() {
        match subject.source(to, via) {
            Ok(source) => sources.push((via, source)),
            Err(error) => {
                no_route(to, alone, &error, report)?;
                return Ok(false);
            }
        }
    }
    let Some(&(via, source)) = sources.first() else {
        return Ok(false);
    };
    let other = sources.iter().find(|(_, other)| *other != source);
    report.ok(
        "route",
        &match other {
            None => format!("to {to} from {source}"),
            Some((_, other)) => {
                format!("to {to} from {source} for SYNs, and {other} for datagrams")
            }
        },
    )?;
    seen(subject, to, subject.bound(to, via), source, report)?;
    Ok(true)
}

fn no_route(
    to: Address,
    alone: bool,
    error: &std::io::Error,
    report: &mut Report<'_, '_>,
) -> Result<()> {
    let message = format!("none to {to}: {error}");
    if alone {
        let next = "connect this host to a network: `ip route` shows the routes";
        return report.problem("route", &message, next);
    }
    // A server with both families, and a client with one: knocks work.
    let next = "the other address is used; ssh may try this one first";
    report.warning("route", &message, next)
}

/// Says under which address the server sees a knock to `to` that leaves from `source`.
fn seen(
    subject: &Subject,
    to: Address,
    bound: Bound,
    source: IpAddr,
    report: &mut Report<'_, '_>,
) -> Result<()> {
    match bound {
        Bound::To(address) if subject.source_ip == SourceIp::Auto || address == source => report
            .ok(
                "source",
                &format!("the server sees {address}, and knocks are bound to it"),
            ),
        Bound::To(address) => report.warning(
            "source",
            &format!("knocks are bound to {address}, but leave this host from {source}"),
            "right if a router translates the one to the other; if the server says `elsewhere`, \
             knock with --source-ip auto or none",
        ),
        Bound::Nowhere => report.ok("source", &unbound(subject.source_ip, to)),
        Bound::Unknown => behind_nat(subject, to, source, report),
    }
}

fn unbound(source_ip: SourceIp, to: Address) -> String {
    let why = match source_ip {
        SourceIp::None => "as --source-ip or the profile says".into(),
        _ => format!("because a router on the way to {to} may translate this host's"),
    };
    format!(
        "knocks are not bound to an address, {why}; a door with require_binding refuses them (then \
         use --source-ip ADDR)"
    )
}

fn behind_nat(
    subject: &Subject,
    to: Address,
    source: IpAddr,
    report: &mut Report<'_, '_>,
) -> Result<()> {
    let asked = &subject.resolve_ip;
    if *asked == ResolveIp::Nobody {
        return not_asked(source, report);
    }
    report
        .console
        .wait(&format!("asking {asked} for this host's address"));
    let told = asked.address(to);
    report.console.quiet();
    match told {
        Ok(Some(address)) => report.ok(
            "source",
            &format!(
                "a router translates {source}: {asked} sees {address}, and knocks are bound to it"
            ),
        ),
        Ok(None) => not_asked(source, report),
        Err(error) => report.warning(
            "source",
            &format!("{:#}", anyhow::Error::from(error)),
            "ask another service with --resolve-ip; only a door with require_binding needs it",
        ),
    }
}

/// Says what a translated address means where nobody is asked for the translation.
fn not_asked(source: IpAddr, report: &mut Report<'_, '_>) -> Result<()> {
    if is_shared(source) {
        return report.warning(
            "source",
            &format!("a carrier's NAT translates {source}; knocks are not bound to an address"),
            "some such NATs give each connection another address, which breaks knocks with SYNs: \
             knock with --udp",
        );
    }
    report.ok(
        "source",
        &format!(
            "a router translates {source}, so knocks are not bound to an address; a door with \
             require_binding refuses them (then use --resolve-ip, or --source-ip ADDR)"
        ),
    )
}

/// Whether the address is one between a carrier's NAT and its customers (RFC 6598).
fn is_shared(ip: IpAddr) -> bool {
    let IpAddr::V4(ip) = ip else {
        return false;
    };
    let [first, second, ..] = ip.octets();
    first == 100 && second & 0xc0 == 64
}
