//! Runs one knock: plans it, sends it, and optionally verifies that the door's port answers.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::Result;
use knock_common::protocol::lease::RequestedLease;

pub(super) use self::report::causes;
use self::{
    hold::hold_open,
    knocks::Knocks,
    report::done,
    session::{Session, sources_of},
    verifying::verify_port,
};
use crate::{
    cli::KnockArgs,
    console::Console,
    plan::{Plan, Protocol},
    profile::Profiles,
    server::Address,
};

mod hold;
mod knocks;
mod report;
mod session;
mod verifying;

#[cfg(test)]
mod tests;

/// Knocks as `args` and `profiles` define. Returns the exit status.
pub(super) fn run(args: &KnockArgs, profiles: &Profiles, console: &mut Console<'_>) -> Result<u8> {
    let plan = Plan::new(args, profiles)?;
    if args.dry_run {
        dry_run(&plan, console)?;
        return Ok(0);
    }
    let session = Session::start(&plan, console)?;
    match &plan.hold {
        Some(hold) => hold_open(session, hold),
        None => once(session).map(|()| 0),
    }
}

/// Knocks once, whatever the plan says about a port or a command. Returns what was sent, and whether it
/// is bound to an address.
pub(super) fn knock_once(plan: &Plan, console: &mut Console<'_>) -> Result<(String, bool)> {
    let mut session = Session::start(plan, console)?;
    session.knock(plan.lease())?;
    Ok((done(&session.reached, 1, plan), session.is_bound()))
}

fn once(mut session: Session<'_, '_>) -> Result<()> {
    let plan = session.plan;
    match plan.verify {
        None => {
            session.knock(plan.lease())?;
            let done = done(&session.reached, 1, plan);
            session.console.print(&match &plan.protocol {
                Protocol::Keyed(keyed) if keyed.lease == RequestedLease::CLOSE => {
                    format!(
                        "{done}, to close `{}`; a knock is never answered",
                        keyed.door
                    )
                }
                _ => format!("{done}; a knock is never answered: try the door now"),
            })
        }
        Some((port, timeout)) => verify_port(session, port, timeout),
    }
}

fn dry_run(plan: &Plan, console: &mut Console<'_>) -> Result<()> {
    // Any address will do where the knock is the same for all: no name has to be resolved then.
    let any = Address::from(IpAddr::from(Ipv4Addr::UNSPECIFIED));
    let to = if plan.needs_address() {
        plan.addresses()?.first().copied().unwrap_or(any)
    } else {
        any
    };
    let knocks = Knocks::new(plan)?;
    let (sources, note) = sources_of(plan, to);
    if let Some(note) = note {
        console.note(&note)?;
    }
    let parcel = knocks.parcel(sources, plan.lease())?;
    if let (Some(datagram), Some(port)) = (parcel.datagram, plan.udp()) {
        let hex: String = datagram.iter().map(|byte| format!("{byte:02x}")).collect();
        console.print(&format!("udp/{port} {hex}"))?;
    }
    parcel
        .syns
        .map_or(Ok(()), |knock| console.print(&knock.to_string()))
}
