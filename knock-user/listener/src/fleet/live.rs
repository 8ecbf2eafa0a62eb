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

    use super::{
        super::{keys::tag, record::Kind},
        *,
    };

    /// A claim of `client` that opens `door` for 30 s, from second 1000 on.
    fn claim(door: &str, client: &str, last: u8) -> Claim {
        let source = Ipv4Addr::new(192, 0, 2, last).into();
        Claim {
            kind: Kind::Open,
            everywhere: true,
            lease: Duration::from_secs(30),
            accepted_at: 1_000_000,
            made_at: 1_000_000,
            door: tag(door),
            client: tag(client),
            source,
            sender: source,
            block: [0; 16],
            node: tag("edge1"),
        }
    }

    fn place(door: &str, last: u8) -> Place {
        let Claim { door, source, .. } = claim(door, "", last);
        (door, source)
    }

    /// Four doors, of which the laptop has opened three.
    fn open() -> (Live, BTreeSet<Place>) {
        let mut live = Live::default();
        let all = [
            ("ssh", "laptop", 1),
            ("web", "laptop", 1),
            ("ssh", "laptop", 2),
            ("web", "phone", 2),
        ];
        for (door, client, last) in all {
            live.open(&claim(door, client, last));
        }
        (live, all.map(|(door, _, last)| place(door, last)).into())
    }

    fn places(live: &Live, now: u64) -> BTreeSet<Place> {
        live.open_at(now).map(|(place, _)| *place).collect()
    }

    fn id(number: u64) -> ClaimId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_le_bytes());
        Hex(id)
    }

    #[test]
    fn what_a_claim_closes_is_closed_and_nothing_else() {
        type Change = fn(&mut Live);
        let changes: [(Change, &[Place]); 6] = [
            (
                |live| live.withdraw(&claim("ssh", "laptop", 1)),
                &[place("ssh", 1)],
            ),
            (|live| live.withdraw(&claim("ssh", "phone", 1)), &[]),
            (
                |live| live.close(place("ssh", 1).1, Some(tag("ssh"))),
                &[place("ssh", 1)],
            ),
            (
                |live| live.close(place("ssh", 1).1, None),
                &[place("ssh", 1), place("web", 1)],
            ),
            (|live| live.close(place("ssh", 3).1, None), &[]),
            (
                |live| live.expel(tag("laptop")),
                &[place("ssh", 1), place("web", 1), place("ssh", 2)],
            ),
        ];
        for (change, closed) in changes {
            let closed = BTreeSet::from_iter(closed.iter().copied());
            let (mut live, all) = open();
            change(&mut live);
            assert_eq!(places(&live, 0), &all - &closed);
            // Until the stream was read to its end they are kept.
            assert_eq!(live.reach_end(), closed);
            assert!(live.reach_end().is_empty());
            let (mut live, all) = open();
            assert!(live.reach_end().is_empty());
            change(&mut live);
            assert_eq!(places(&live, 0), &all - &closed);
            assert!(live.reach_end().is_empty());
        }
    }

    #[test]
    fn what_is_opened_again_was_not_closed_and_nothing_is_open_at_its_end() {
        let (mut live, all) = open();
        live.close(place("ssh", 1).1, None);
        live.open(&claim("ssh", "phone", 1));
        assert_eq!(live.reach_end(), BTreeSet::from([place("web", 1)]));
        let still = &all - &BTreeSet::from([place("web", 1)]);
        assert_eq!(places(&live, 1_029_999), still);
        assert_eq!(places(&live, 1_030_000), BTreeSet::new());
    }

    #[test]
    fn a_claim_is_new_once_until_the_end_of_its_lease_however_many_there_are() {
        let (mut live, all) = open();
        for number in 0..5000 {
            assert!(live.is_new(id(number), 1_030_000, 1_000_000));
            assert!(!live.is_new(id(number), 1_030_000, 1_029_999));
        }
        for number in 0..5000 {
            assert!(!live.is_new(id(number), 1_030_000, 1_029_999));
        }
        assert_eq!(places(&live, 1_029_999), all);
        // All of these have ended when the next claims are read.
        for number in 5000..20_000 {
            assert!(live.is_new(id(number), 2_000_000, 1_030_000));
        }
        assert!(live.is_new(id(0), 1_030_000, 1_030_000));
        assert!(live.read.len() <= 15_001 + 1024, "{}", live.read.len());
        assert_eq!(live.leases.len(), 0);
    }

    const LEASE_MS: u64 = 30_000;

    /// A claim that opens a door for another address with each number.
    fn numbered(number: u32, accepted_at: u64) -> Claim {
        let source = Ipv4Addr::from_bits(number).into();
        Claim {
            source,
            sender: source,
            accepted_at,
            ..claim("ssh", "laptop", 1)
        }
    }

    fn read(live: &mut Live, number: u32, at: u64) {
        let claim = numbered(number, at);
        assert!(live.is_new(id(number.into()), claim.until(), at));
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
        live.open(&numbered(7, 2000));
        let place = (tag("ssh"), Ipv4Addr::from_bits(7).into());
        assert_eq!(live.leases[&place].until, 2000 + LEASE_MS);
        let later = 3000 + LEASE_MS;
        for number in 0..10_000 {
            read(&mut live, most + 5000 + number, later);
        }
        assert!(live.leases.len() <= 10_000);
        assert!(live.open_at(later).count() > 4000);
    }
}
