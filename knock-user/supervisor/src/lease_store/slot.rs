//! A slot of the lease journal: a sector with two halves, of which the one with the higher sequence
//! number is in force. A write that is torn leaves the other half as it was.
//!
//! ```text
//! byte  0..8      sequence number, at least 1
//!       8         1: a record, 2: none
//!       9         whether `run` has succeeded
//!       10, 11    lengths of the names
//!       12..16    zero
//!       16..32    source address, IPv4 as IPv4-mapped IPv6
//!       32..40    lease in seconds
//!       40..48    end of the lease in Unix milliseconds
//!       48..112   name of the door
//!       112..176  name of the client
//!       176..252  zero
//!       252..256  CRC-32 of the bytes before
//! ```
//!
//! Little-endian. A half that was never used is zero.

pub(crate) mod fuzz;

use std::net::{IpAddr, Ipv6Addr};

use crate::lease_record::LeaseRecord;

/// The length of a slot, a sector, in bytes.
pub(super) const SLOT_LEN: usize = 512;

/// The length of half a slot in bytes.
pub(super) const HALF_LEN: usize = SLOT_LEN / 2;

/// The room for a name. The configuration refuses longer ones.
const NAME_LEN: usize = 64;

const DOOR_AT: usize = 48;
const CLIENT_AT: usize = DOOR_AT + NAME_LEN;
const SUM_AT: usize = HALF_LEN - size_of::<u32>();

const RECORD: u8 = 1;
const NONE: u8 = 2;

/// The half of a slot that is in force, by its sequence number. Even numbers are in the first half;
/// 0 stands for a slot that was never used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot(u64);

/// The content of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    Open(LeaseRecord),
    Free,
}

/// Half a slot.
pub(super) struct Half<'a> {
    slot: Slot,
    state: &'a State,
}

impl Slot {
    /// The slot after the next write.
    pub(super) const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The index of the half that is in force: 0 or 1.
    pub(super) const fn half(self) -> usize {
        (self.0 % 2) as usize
    }

    /// The slot in `bytes`, and its content. `None` if it is damaged: at most one half may be torn.
    pub(super) fn from_bytes(bytes: &[u8; SLOT_LEN]) -> Option<(Self, State)> {
        let (halves, _) = bytes.as_chunks::<HALF_LEN>();
        let read = halves.iter().enumerate().filter_map(|(index, half)| {
            let (slot, state) = parse(half)?;
            (slot.half() == index).then_some((slot, state))
        });
        let latest = read.max_by_key(|(slot, _)| slot.0);
        let used = halves.iter().filter(|half| **half != [0; HALF_LEN]);
        match latest {
            Some(latest) => Some(latest),
            // Never used, or the first write was torn.
            None if used.count() <= 1 => Some((Self::default(), State::Free)),
            None => None,
        }
    }
}

impl<'a> Half<'a> {
    pub(super) const fn of(slot: Slot, state: &'a State) -> Self {
        Self { slot, state }
    }

    pub(super) fn to_bytes(&self) -> [u8; HALF_LEN] {
        let mut bytes = [0; HALF_LEN];
        bytes[..8].copy_from_slice(&self.slot.0.to_le_bytes());
        match self.state {
            State::Free => bytes[8] = NONE,
            State::Open(record) => {
                bytes[8] = RECORD;
                bytes[9] = record.opened.into();
                bytes[10] = put_name(&mut bytes[DOOR_AT..CLIENT_AT], &record.door);
                let client = &mut bytes[CLIENT_AT..CLIENT_AT + NAME_LEN];
                bytes[11] = put_name(client, &record.client);
                let source = match record.source {
                    IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                    IpAddr::V6(address) => address.octets(),
                };
                bytes[16..32].copy_from_slice(&source);
                bytes[32..40].copy_from_slice(&record.seconds.to_le_bytes());
                bytes[40..48].copy_from_slice(&record.until.to_le_bytes());
            }
        }
        let sum = crc32fast::hash(&bytes[..SUM_AT]);
        bytes[SUM_AT..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }
}

/// Writes `name` to its place, and returns its length.
fn put_name(place: &mut [u8], name: &str) -> u8 {
    let len = name.floor_char_boundary(NAME_LEN);
    place[..len].copy_from_slice(&name.as_bytes()[..len]);
    u8::try_from(len).unwrap_or_default()
}

/// A half that was written as a whole.
fn parse(bytes: &[u8; HALF_LEN]) -> Option<(Slot, State)> {
    let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let name = |at: usize, len: u8| {
        let name = bytes.get(at..at + usize::from(len))?.to_vec();
        String::from_utf8(name).ok()
    };
    let slot = Slot(word(0)?);
    let state = match bytes[8] {
        NONE => State::Free,
        RECORD => {
            let source: [u8; 16] = bytes.get(16..32)?.try_into().ok()?;
            State::Open(LeaseRecord {
                door: name(DOOR_AT, bytes[10])?,
                client: name(CLIENT_AT, bytes[11])?,
                source: Ipv6Addr::from(source).to_canonical(),
                seconds: word(32)?,
                until: word(40)?,
                opened: bytes[9] == 1,
            })
        }
        _ => return None,
    };
    // One encoding per content, with the right checksum, and a number that has a next one.
    ((1..u64::MAX).contains(&slot.0) && Half::of(slot, &state).to_bytes() == *bytes)
        .then_some((slot, state))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(door: String, client: String, source: IpAddr, opened: bool) -> LeaseRecord {
        LeaseRecord {
            door,
            source: source.to_canonical(),
            client,
            seconds: 30,
            until: 1_800_000_000_000,
            opened,
        }
    }

    proptest! {
        #[test]
        fn a_half_is_read_as_it_was_written(
            number in 1..u64::MAX,
            door in "\\PC{1,16}",
            client in "\\PC{1,16}",
            source: IpAddr,
            opened: bool,
            is_free: bool,
        ) {
            let state = if is_free {
                State::Free
            } else {
                State::Open(record(door, client, source, opened))
            };
            let slot = Slot(number);
            let bytes = Half::of(slot, &state).to_bytes();
            prop_assert_eq!(parse(&bytes), Some((slot, state)));
        }

        #[test]
        fn a_changed_half_is_not_valid(at in 0..HALF_LEN, flip in 1_u8..) {
            let source = [192, 0, 2, 7].into();
            let state = State::Open(record("ssh".into(), "laptop".into(), source, true));
            let mut bytes = Half::of(Slot(7), &state).to_bytes();
            bytes[at] ^= flip;
            prop_assert_eq!(parse(&bytes), None);
        }
    }

    /// Only whoever changes the file writes it. The next write would have the number 0, and be lost.
    #[test]
    fn a_half_with_the_last_number_is_not_valid() {
        for (number, is_valid) in [
            (0, false),
            (1, true),
            (u64::MAX - 1, true),
            (u64::MAX, false),
        ] {
            let bytes = Half::of(Slot(number), &State::Free).to_bytes();
            assert_eq!(parse(&bytes).is_some(), is_valid, "{number}");
        }
    }

    #[test]
    fn the_later_half_is_in_force() {
        let source = [192, 0, 2, 7].into();
        let open = State::Open(record("ssh".into(), "laptop".into(), source, true));
        let mut bytes = [0; SLOT_LEN];
        let mut slot = Slot::default();
        for state in [&open, &State::Free, &open] {
            slot = slot.next();
            let at = slot.half() * HALF_LEN;
            bytes[at..at + HALF_LEN].copy_from_slice(&Half::of(slot, state).to_bytes());
            assert_eq!(Slot::from_bytes(&bytes), Some((slot, state.clone())));
        }
        // One torn half leaves the one before it; two are damage.
        let mut torn = bytes;
        torn[slot.half() * HALF_LEN + 20] ^= 1;
        assert_eq!(Slot::from_bytes(&torn), Some((Slot(2), State::Free)));
        torn[(1 - slot.half()) * HALF_LEN + 20] ^= 1;
        assert_eq!(Slot::from_bytes(&torn), None);
        assert_eq!(
            Slot::from_bytes(&[0; SLOT_LEN]),
            Some((Slot(0), State::Free))
        );
    }
}
