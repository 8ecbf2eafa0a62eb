//! The doors that claims have opened and that are not at their end: what a node opens after a start.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use knockd_ipc::fleet::ClaimId;

use super::{keys::Tag, record::Claim};

/// The most doors and claims that are kept.
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
    /// The length at which those at their end are removed.
    prune_at: usize,
}

impl Live {
    /// Whether the claim `id`, whose lease ends at `until`, is read for the first time. After the end
    /// of its lease it opens nothing anyway.
    pub(super) fn is_new(&mut self, id: ClaimId, until: u64, now: u64) -> bool {
        if self.read.len() >= self.prune_at.max(1024) {
            self.read.retain(|_, until| *until > now);
            self.leases.retain(|_, lease| lease.until > now);
            self.prune_at = self.read.len().saturating_mul(2).min(MAX);
        }
        if self.read.len() >= MAX {
            // Rather an engine that may send some of them again than a door that stays closed.
            self.read.clear();
        }
        self.read.insert(id, until).is_none()
    }

    /// Adds what `claim` opens. As at a door, it does not end earlier than before.
    pub(super) fn open(&mut self, claim: &Claim) {
        let place = (claim.door, claim.source);
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
