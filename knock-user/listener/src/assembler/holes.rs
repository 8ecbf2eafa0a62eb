//! Recognises a SYN knock of which only a part has arrived, as at a node of a fleet whose balancer
//! chooses by ports: a knock comes from 16 consecutive source ports, and each node gets some of them.
//!
//! Nothing of this is authentic. Whoever wants to can send such SYNs.

use knock_common::protocol::block::BLOCK_LEN;

use crate::assembler::queue::Event;

/// The fewest SYNs that are recognised. A scanner that uses 16 source ports at random, as masscan
/// does, sends four in a way that looks like this with a chance of 2 %, and three with 10 %.
const FEWEST: usize = 4;

/// The fewest source ports that are missing between those that have arrived. The network rarely loses
/// so many: of knocks without copies on a network that loses 10 %, one in a hundred; of those with
/// the three copies that the client sends, fewer on a network that loses 40 %. Of two nodes that
/// are chosen by ports, either lacks so many of three knocks in four.
const MISSING: usize = 5;

/// The number of knocks with holes among the events of a source.
pub(super) fn count(events: &[Event]) -> u64 {
    if events.len() < FEWEST {
        return 0;
    }
    let runs = events.chunk_by(|before, after| is_next(*before, *after));
    let holed = runs.filter(|run| has_holes(run) && is_alone(run, events));
    holed.count() as u64
}

/// Whether both may be of one knock, whose SYNs arrive in the order of their source ports.
fn is_next(before: Event, after: Event) -> bool {
    let ports = port(&before).zip(port(&after));
    ports.is_some_and(|(before, after)| before < after && after < before + BLOCK_LEN)
}

/// Whether the source ports of `run` are of one knock, and enough of them are missing.
fn has_holes(run: &[Event]) -> bool {
    ends(run).is_some_and(|(first, last)| {
        let ports = last - first + 1;
        ports <= BLOCK_LEN && ports - run.len() >= MISSING && has_different_ports(run)
    })
}

/// Whether `run` has SYNs to enough different ports of the window. A client that tries one port
/// again and again, as for a service that is not there, does not.
fn has_different_ports(run: &[Event]) -> bool {
    let new = run
        .iter()
        .enumerate()
        .filter(|(place, event)| run[..*place].iter().all(|it| it.offset != event.offset));
    new.count() >= FEWEST
}

/// Whether no other event comes from a source port near those of `run`. A scanner has more SYNs
/// there, and so has a host that takes one source port after the other.
fn is_alone(run: &[Event], events: &[Event]) -> bool {
    ends(run).is_some_and(|(first, last)| {
        let near = first.saturating_sub(BLOCK_LEN - 1)..last + BLOCK_LEN;
        let ports = events.iter().filter_map(port);
        ports.filter(|port| near.contains(port)).count() == run.len()
    })
}

/// The first and the last source port of `run`.
fn ends(run: &[Event]) -> Option<(usize, usize)> {
    port(run.first()?).zip(port(run.last()?))
}

fn port(event: &Event) -> Option<usize> {
    event.source_port().map(usize::from)
}

#[cfg(test)]
mod tests;
