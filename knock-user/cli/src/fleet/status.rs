//! `knockd fleet status`: the engine and the nodes.

use std::{fmt::Write as _, time::Duration};

use anyhow::{Result, bail};
use knockd_types::status::{FleetStatus, KnocksWithHoles, Status};

use crate::{args::ViewArgs, control};

/// A difference of clocks that is worth a word: leases end wrong by as much.
const CLOCK_WARNING_MS: u64 = 2000;

/// Prints the state of the fleet as text or as one line of JSON.
///
/// # Errors
///
/// Returns an error if no daemon replies, if it is no node of a fleet, or if standard output cannot
/// be written.
pub(crate) fn status(view: &ViewArgs) -> Result<()> {
    let reply = control::query(&view.daemon.socket(), "status")?;
    let status: Status = serde_json::from_str(&reply)?;
    let Some(fleet) = status.fleet else {
        bail!("this daemon is no node of a fleet: its configuration has no [fleet]");
    };
    let json = format!("{}\n", serde_json::to_string(&fleet)?);
    control::print(&json, view.json, |_| Ok(render(&fleet)))
}

fn render(fleet: &FleetStatus) -> String {
    let mut text = format!("{}\n", summary(fleet));
    for client in &fleet.revoked {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "the key of client {client} is revoked");
    }
    let _ = writeln!(text, "\nnodes heard: {}", fleet.nodes.len());
    for node in &fleet.nodes {
        let mut notes = Vec::new();
        if node.clock_offset_ms.unsigned_abs() > CLOCK_WARNING_MS {
            notes.push(format!("ITS CLOCK DIFFERS BY {} MS", node.clock_offset_ms));
        }
        if !node.same_configuration {
            notes.push("ITS CLIENTS, DOORS OR KEYS DIFFER".to_owned());
        }
        let notes = match notes.is_empty() {
            true => String::new(),
            false => format!(": {}", notes.join(", ")),
        };
        let _ = writeln!(
            text,
            "  {} ({}), heard {} s ago{notes}",
            node.node, node.version, node.seconds_ago
        );
    }
    text
}

/// The state in one or more lines, without the last line end.
pub(crate) fn summary(fleet: &FleetStatus) -> String {
    let link = match (&fleet.connected, &fleet.problem) {
        (Some(version), _) => format!("connected to NATS {version}"),
        (None, Some(problem)) => format!("THE ENGINE IS NOT REACHED: {problem}"),
        (None, None) => "the engine is not reached".into(),
    };
    let mut text = format!("node {} of a fleet, {link}", fleet.node);
    if fleet.connected.is_some() && !fleet.current {
        text.push_str("\n  still reading what was claimed before the start");
    }
    if fleet.waiting > 0 {
        let _ = write!(text, "\n  waiting for their claims: {}", fleet.waiting);
    }
    if fleet.unclaimed > 0 {
        let _ = write!(
            text,
            "\n  to be claimed when the engine is reached: {}",
            fleet.unclaimed
        );
    }
    if let Some(KnocksWithHoles { knocks, seconds }) = fleet.knocks_with_holes {
        let time = humantime::format_duration(Duration::from_secs(seconds));
        let _ = write!(
            text,
            "\n  SYN KNOCKS ARRIVE WITH HOLES: {knocks} in the last {time}\n    the balancer has to choose nodes by source address alone, or clients use datagram knocks"
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use knockd_types::status::FleetNode;

    use super::*;

    fn fleet() -> FleetStatus {
        FleetStatus {
            node: "edge1".into(),
            connected: Some("2.15.1".into()),
            problem: None,
            current: true,
            waiting: 0,
            unclaimed: 0,
            revoked: Vec::new(),
            knocks_with_holes: None,
            nodes: vec![FleetNode {
                node: "edge2".into(),
                seconds_ago: 7,
                clock_offset_ms: -3,
                same_configuration: true,
                version: "0.1.0".into(),
            }],
        }
    }

    #[test]
    fn what_is_well_is_short() {
        let text = render(&fleet());
        let expected = "node edge1 of a fleet, connected to NATS 2.15.1\n\nnodes heard: 1\n  edge2 (0.1.0), heard 7 s ago\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn what_is_wrong_stands_out() {
        let mut fleet = fleet();
        fleet.connected = None;
        fleet.problem = Some("no route to host".into());
        fleet.unclaimed = 2;
        fleet.knocks_with_holes = Some(KnocksWithHoles {
            knocks: 12,
            seconds: 400,
        });
        fleet.revoked.push("laptop".into());
        fleet.nodes[0].clock_offset_ms = -2500;
        fleet.nodes[0].same_configuration = false;
        let text = render(&fleet);
        for part in [
            "NOT REACHED: no route to host",
            "to be claimed when the engine is reached: 2",
            "SYN KNOCKS ARRIVE WITH HOLES: 12 in the last 6m 40s",
            "choose nodes by source address alone",
            "the key of client laptop is revoked",
            "ITS CLOCK DIFFERS BY -2500 MS, ITS CLIENTS, DOORS OR KEYS DIFFER",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
