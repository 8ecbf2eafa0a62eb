//! The doors that claims have opened and that are not at their end: what a node opens after a start.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use knockd_ipc::fleet::ClaimId;

use super::{keys::Tag, record::Claim};

/// The most doors, and the most claims, that are kept.
const MAX: usize = 1 << 17;

/// A door that a claim has opened for an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) client: Tag,
    /// The node that has received the knock.
    pub(super) node: Tag,
    /// The address that the knock came from.
    pub(super) sender: IpAddr,
    /// In Unix milliseconds.
    pub(super) until: u64,
    pub(super) everywhere: bool,
}

/// A door and the address that it is open for.
pub(super) type Place = (Tag, IpAddr);

/// The doors that are open by the claims that were read, in the order of the stream.
#[derive(Debug, Default)]
pub(super) struct Live {
    leases: BTreeMap<Place, Lease>,
    /// The claims that were read, with the ends of their leases, in Unix milliseconds.
    read: HashMap<ClaimId, u64>,
    /// Those that claims have closed, until the stream was read to its end.
    closed: BTreeSet<Place>,
    is_current: bool,
    /// The claims that were read since those at their end were removed.
    fresh: usize,
}

impl Live {
    /// Whether the claim `id`, whose lease ends at `until`, is read for the first time. After the end
    /// of its lease it opens nothing anyway.
    pub(super) fn is_new(&mut self, id: ClaimId, until: u64, now: u64) -> bool {
        self.fresh += 1;
        // Not for each claim, since all of them are looked at.
        if self.fresh >= (self.read.len() / 2).max(1024) {
            self.read.retain(|_, until| *until > now);
            self.leases.retain(|_, lease| lease.until > now);
            self.fresh = 0;
        }
        if self.read.len() >= MAX {
            // Rather an engine that may send some of them again than a door that stays closed.
            self.read.clear();
        }
        self.read.insert(id, until).is_none()
    }

    /// Adds what `claim` opens. As at a door, it does not end earlier than before. Beyond the most doors
    /// it is not added: it opens now, and not again after a start.
    pub(super) fn open(&mut self, claim: &Claim) {
        let place = (claim.door, claim.source);
        if self.leases.len() >= MAX && !self.leases.contains_key(&place) {
            return;
        }
        let before = self.leases.get(&place).map_or(0, |lease| lease.until);
        let lease = Lease {
            client: claim.client,
            node: claim.node,
            sender: claim.sender,
            until: claim.until().max(before),
            everywhere: claim.everywhere,
        };
        self.leases.insert(place, lease);
        self.closed.remove(&place);
    }

    /// Removes what the client of `claim` has opened for its address.
    pub(super) fn withdraw(&mut self, claim: &Claim) {
        let place = (claim.door, claim.source);
        self.remove(|of, lease| *of == place && lease.client == claim.client);
    }

    /// Removes a door of an address, or all of its doors.
    pub(super) fn close(&mut self, source: IpAddr, door: Option<Tag>) {
        self.remove(|(of, to), _| *to == source && door.is_none_or(|door| door == *of));
    }

    /// Removes everything that a client has open.
    pub(super) fn expel(&mut self, client: Tag) {
        self.remove(|_, lease| lease.client == client);
    }

    fn remove(&mut self, ends: impl Fn(&Place, &Lease) -> bool) {
        let Self {
            leases,
            closed,
            is_current,
            ..
        } = self;
        leases.retain(|place, lease| {
            let ends = ends(place, lease);
            if ends && !*is_current {
                closed.insert(*place);
            }
            !ends
        });
    }

    /// The doors that claims have closed so far and that are not open again. From now on the stream is
    /// followed as it grows.
    pub(super) fn reach_end(&mut self) -> BTreeSet<Place> {
        self.is_current = true;
        std::mem::take(&mut self.closed)
    }

    /// Those that are open at `now`, in Unix milliseconds.
    pub(super) fn open_at(&self, now: u64) -> impl Iterator<Item = (&Place, &Lease)> {
        self.leases
            .iter()
            .filter(move |(_, lease)| lease.until > now)
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::Duration};

    use knockd_ipc::fleet::Hex;

    use super::*;
    use crate::fleet::record::Kind;

    const LEASE_MS: u64 = 60_000;

    fn claim(address: u32, accepted_at: u64) -> Claim {
        let source = Ipv4Addr::from_bits(address).into();
        Claim {
            kind: Kind::Open,
            everywhere: true,
            lease: Duration::from_millis(LEASE_MS),
            accepted_at,
            made_at: accepted_at,
            door: Tag::default(),
            client: Tag::default(),
            source,
            sender: source,
            block: [0; 16],
            node: Tag::default(),
        }
    }

    fn read(live: &mut Live, number: u32, at: u64) {
        let claim = claim(number, at);
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        assert!(live.is_new(Hex(id), claim.until(), at));
        live.open(&claim);
    }

    #[test]
    fn doors_and_claims_are_bounded_and_make_room_when_they_end() {
        let most = u32::try_from(MAX).unwrap();
        let mut live = Live::default();
        for number in 0..most + 5000 {
            read(&mut live, number, 1000);
            assert!(live.leases.len() <= MAX && live.read.len() <= MAX);
        }
        assert_eq!(live.open_at(1000).count(), MAX);
        // One that is open is extended nevertheless.
        live.open(&claim(7, 2000));
        let place = (Tag::default(), Ipv4Addr::from_bits(7).into());
        assert_eq!(live.leases[&place].until, 2000 + LEASE_MS);
        let later = 3000 + LEASE_MS;
        for number in 0..10_000 {
            read(&mut live, most + 5000 + number, later);
        }
        assert!(live.leases.len() <= 10_000);
        assert!(live.open_at(later).count() > 4000);
    }
}
