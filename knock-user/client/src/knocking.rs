//! Runs one knock: plans it, sends it, and optionally verifies that the door's port answers.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context as _, Result, anyhow};
use knock_common::protocol::lease::RequestedLease;

use self::{knocks::Knocks, report::done, verifying::verify_port};
use crate::{
    cli::KnockArgs,
    console::Console,
    datagram::{Datagram, send_datagrams},
    plan::{Plan, Protocol},
    profile::Profiles,
    send,
    server::Address,
};

mod knocks;
mod report;
mod verifying;

#[cfg(test)]
mod tests;

/// Knocks as `args` and `profiles` define.
pub(super) fn run(args: &KnockArgs, profiles: &Profiles, console: &mut Console<'_>) -> Result<()> {
    let plan = Plan::new(args, profiles)?;
    if args.dry_run {
        return dry_run(&plan, console);
    }
    // First, so that a mistyped server name is reported before the passphrase prompt.
    let addresses = plan.addresses()?;
    let mut session = Session {
        knocks: Knocks::new(&plan)?,
        plan: &plan,
        addresses,
        reached: Vec::new(),
        noted: Vec::new(),
        console,
    };
    match plan.verify {
        None => {
            session.knock(plan.lease())?;
            let done = done(&session.reached, 1, &plan);
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
    let mut knocks = Knocks::new(plan)?;
    let source = knocks.source(to);
    let parcel = knocks.parcel(source, plan.lease())?;
    if let (Some(datagram), Some(port)) = (parcel.datagram, plan.udp()) {
        let hex: String = datagram.iter().map(|byte| format!("{byte:02x}")).collect();
        console.print(&format!("udp/{port} {hex}"))?;
    }
    parcel
        .syns
        .map_or(Ok(()), |knock| console.print(&knock.to_string()))
}

/// The state of a plan in execution.
struct Session<'a, 'c> {
    plan: &'a Plan,
    addresses: Vec<Address>,
    knocks: Knocks,
    /// The addresses that at least one knock was sent to.
    reached: Vec<Address>,
    /// The notes already printed; a repeated failure is reported once.
    noted: Vec<String>,
    console: &'a mut Console<'c>,
}

impl Session<'_, '_> {
    /// Knocks once on every address, with the datagrams first, because they take less time. Returns
    /// an error if no knock was sent.
    fn knock(&mut self, lease: RequestedLease) -> Result<()> {
        let mut datagrams = Vec::new();
        let mut syns = Vec::new();
        for address in self.addresses.clone() {
            // Two addresses never get the same knock: the daemon would accept the first and reject
            // the second as a replay.
            let source = self.knocks.source(address);
            let parcel = self.knocks.parcel(source, lease)?;
            datagrams.extend(parcel.datagram.map(|datagram| (address, datagram)));
            syns.extend(parcel.syns.map(|knock| (address, knock)));
        }
        let mut failures = Vec::new();
        let mut left = self.send_datagrams(&datagrams, &mut failures);
        for (address, knock) in syns {
            match send(&knock, address, self.plan.syns) {
                Ok(sent) => {
                    left = true;
                    self.reached(address);
                    if let Some(note) = sent.note() {
                        self.note(format!("{address}: {note}"))?;
                    }
                }
                Err(error) => failures.push(anyhow!(error)),
            }
        }
        // This host may have only one of the server's address families.
        let fatal = if left { None } else { failures.pop() };
        for failure in failures {
            self.note(format!("{failure:#}"))?;
        }
        fatal.map_or(Ok(()), Err)
    }

    /// Sends the datagrams. Returns whether at least one was sent.
    fn send_datagrams(
        &mut self,
        datagrams: &[(Address, Datagram)],
        failures: &mut Vec<anyhow::Error>,
    ) -> bool {
        let Some(port) = self.plan.udp() else {
            return false;
        };
        let targets: Vec<_> = datagrams
            .iter()
            .map(|(address, datagram)| (address.with_port(port.get()), *datagram))
            .collect();
        let mut left = false;
        let results = send_datagrams(&targets, self.plan.datagrams);
        for ((address, _), result) in datagrams.iter().zip(results) {
            match result.with_context(|| format!("cannot send a datagram to {address}")) {
                Ok(_) => {
                    left = true;
                    self.reached(*address);
                }
                Err(error) => failures.push(error),
            }
        }
        left
    }

    fn reached(&mut self, address: Address) {
        if !self.reached.contains(&address) {
            self.reached.push(address);
        }
    }

    fn note(&mut self, line: String) -> Result<()> {
        if !self.noted.contains(&line) {
            self.console.note(&line)?;
            self.noted.push(line);
        }
        Ok(())
    }
}
