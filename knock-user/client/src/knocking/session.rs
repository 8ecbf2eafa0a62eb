//! A plan in execution.

use anyhow::{Result, anyhow};
use knock_common::protocol::lease::RequestedLease;

use super::knocks::Knocks;
use crate::{console::Console, keyed::Sources, plan::Plan, server::Address, source_ip::Bound};

/// The addresses that a knock to `to` is bound to, and a note if one could not be learnt.
pub(super) fn sources_of(plan: &Plan, to: Address) -> (Sources, Option<String>) {
    let (mut asked, mut note) = (None, None);
    let mut source = |bound| match bound {
        Bound::To(source) => Some(source),
        Bound::Nowhere => None,
        Bound::Unknown => *asked.get_or_insert_with(|| {
            plan.resolve_ip().address(to).unwrap_or_else(|error| {
                // Not an error: `auto` binds where it can, and an unbound knock is better than none.
                note = Some(format!("{:#}", anyhow!(error)));
                None
            })
        }),
    };
    let transport = plan.transport();
    let sources = Sources {
        syns: transport
            .has_syns()
            .then(|| source(plan.syns_bound(to)))
            .flatten(),
        datagram: source(plan.datagram_bound(to)),
    };
    (sources, note)
}

/// The state of a plan in execution.
pub(super) struct Session<'a, 'c> {
    pub(super) plan: &'a Plan,
    pub(super) addresses: Vec<Address>,
    pub(super) knocks: Knocks,
    /// The addresses that knocks are bound to, as far as they have been looked up.
    bound: Vec<(Address, Sources)>,
    /// The addresses that at least one knock was sent to.
    pub(super) reached: Vec<Address>,
    /// The notes already printed; a repeated failure is reported once.
    noted: Vec<String>,
    pub(super) console: &'a mut Console<'c>,
}

impl<'a, 'c> Session<'a, 'c> {
    /// Resolves the server's name and reads the key, in this order, so that a mistyped name is
    /// reported before the passphrase prompt.
    pub(super) fn start(plan: &'a Plan, console: &'a mut Console<'c>) -> Result<Self> {
        let addresses = plan.addresses()?;
        Ok(Self {
            knocks: Knocks::new(plan)?,
            plan,
            addresses,
            bound: Vec::new(),
            reached: Vec::new(),
            noted: Vec::new(),
            console,
        })
    }

    /// Knocks once on every address. Returns an error if no knock was sent.
    pub(super) fn knock(&mut self, lease: RequestedLease) -> Result<()> {
        let mut parcels = Vec::new();
        for address in self.addresses.clone() {
            // Two addresses never get the same knock: the daemon would accept the first and reject
            // the second as a replay.
            let sources = self.sources(address)?;
            parcels.push((address, self.knocks.parcel(sources, lease)?));
        }
        let mut delivery = self.plan.sending().deliver(&parcels);
        // This host may have only one of the server's address families.
        let fatal = if delivery.reached.is_empty() {
            delivery.failures.pop()
        } else {
            None
        };
        for address in delivery.reached {
            self.reached(address);
        }
        for note in delivery.notes {
            self.note(note)?;
        }
        for failure in delivery.failures {
            self.note(format!("{:#}", anyhow!(failure)))?;
        }
        fatal.map_or(Ok(()), |failure| Err(failure.into()))
    }

    /// The addresses that a knock to `to` is bound to, if any. They are looked up once.
    fn sources(&mut self, to: Address) -> Result<Sources> {
        if let Some((_, sources)) = self.bound.iter().find(|(address, _)| *address == to) {
            return Ok(*sources);
        }
        let (sources, note) = sources_of(self.plan, to);
        if let Some(note) = note {
            self.note(note)?;
        }
        self.bound.push((to, sources));
        Ok(sources)
    }

    /// Looks addresses up again for the next knock: this host may be in another network by now.
    pub(super) fn look_up_again(&mut self) {
        self.bound.clear();
    }

    /// Whether a knock was bound to an address.
    pub(super) fn is_bound(&self) -> bool {
        self.bound.iter().any(|(_, sources)| sources.are_bound())
    }

    fn reached(&mut self, address: Address) {
        if !self.reached.contains(&address) {
            self.reached.push(address);
        }
    }

    /// Prints a note, unless it was printed before.
    pub(super) fn note(&mut self, line: String) -> Result<()> {
        if !self.noted.contains(&line) {
            self.console.note(&line)?;
            self.noted.push(line);
        }
        Ok(())
    }
}
