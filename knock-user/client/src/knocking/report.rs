//! What is said about a knock afterwards.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::{
    plan::{Plan, Protocol},
    server::Address,
    utc::utc,
    verify::TcpPort,
};

/// What was sent, and where to.
pub(super) fn done(reached: &[Address], knocks: u32, plan: &Plan) -> String {
    let copies = |copies: u8| match copies {
        1 => "1 copy".to_owned(),
        copies => format!("{copies} copies"),
    };
    let mut sent = Vec::new();
    if plan.transport().has_datagram() {
        sent.push(format!(
            "1 datagram, {}",
            copies(plan.datagrams.copies.get())
        ));
    }
    if plan.transport().has_syns() {
        sent.push(format!("16 SYNs, {}", copies(plan.syns.copies.get())));
    }
    let times = match knocks {
        1 => String::new(),
        knocks => format!("{knocks} times, "),
    };
    let each = if reached.len() > 1 { " each" } else { "" };
    let reached: Vec<String> = reached.iter().map(Address::to_string).collect();
    format!(
        "knocked on {} ({times}{}{each})",
        reached.join(" and "),
        sent.join("; ")
    )
}

/// The likely causes of a knock that opened nothing. The server gives no answer.
pub(crate) fn causes(plan: &Plan, port: TcpPort, bound: bool, now: SystemTime) -> String {
    let window = plan.window;
    let mut knock_ports = Vec::new();
    if plan.transport().has_syns() {
        let last = window.port(u8::MAX);
        knock_ports.push(format!("TCP ports {}-{last}", window.base()));
    }
    let scattered = if plan.transport().has_datagram() {
        ""
    } else {
        "; a NAT gives each connection another address (--udp knocks with one datagram)"
    };
    if let Some(udp) = plan.udp() {
        knock_ports.push(format!(
            "UDP port {udp}, or the server accepts no datagrams there"
        ));
    }
    let filtered = format!(
        "a firewall on the way drops {port} or {}",
        knock_ports.join(" or ")
    );
    let why = match &plan.protocol {
        Protocol::Classic { .. } => format!(
            "the passphrase or the sequence is wrong; the door does not open {port}; {filtered}"
        ),
        Protocol::Keyed(keyed) => {
            let door = &keyed.door;
            let binding = if bound {
                "the server sees this host under another address than the knock is bound to (--source-ip none)"
            } else {
                "the door requires a knock that is bound to an address (--source-ip ADDR)"
            };
            format!(
                "a clock is wrong: check this host's clock, it shows {} (--time-offset corrects it for knocks); the server does not have the public key of this client's key (`knock pubkey FILE` prints it), or the server's public key is another one; the server has no door `{door}` for this client, or it does not open {port}; {filtered}; {binding}{scattered}",
                utc(now.duration_since(UNIX_EPOCH).unwrap_or_default())
            )
        }
    };
    format!("A knock is never answered, but the server's log shows the reason. Likely: {why}.")
}
