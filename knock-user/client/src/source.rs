//! Chooses the 16 source ports for the SYNs of a knock.

use std::{
    hash::{BuildHasher as _, RandomState},
    ops::RangeInclusive,
};

use knock_common::{protocol::block::BLOCK_LEN, window::Window};

/// The difference between the last and the first source port.
const SPAN: u64 = BLOCK_LEN as u64 - 1;

/// The dynamic ports (RFC 6335, section 6), which services should not listen on.
const DYNAMIC: RangeInclusive<u16> = 49152..=u16::MAX;

/// The fallback: all other ports that do not need privileges.
const REGISTERED: RangeInclusive<u16> = 1024..=49151;

/// The number of random ranges to try in each of the two sets of ports. If half of all ports are
/// in use at random, hardly any 16 consecutive ports are free; if 1 in 16 is, every third try
/// succeeds.
const TRIES: u64 = 32;

/// 16 consecutive source ports, none below 1024 (docs/protocol.md, "On the wire").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourcePorts {
    first: u16,
}

impl SourcePorts {
    /// The ports in sending order, from which the daemon restores the order of the SYNs.
    #[must_use]
    pub fn ports(self) -> [u16; BLOCK_LEN] {
        let mut port = self.first;
        [(); BLOCK_LEN].map(|()| {
            let this = port;
            port = port.wrapping_add(1);
            this
        })
    }

    /// The source ports in `range` that the random number `random` selects.
    ///
    /// None of them is in `window`, because a host that knocks on itself could otherwise connect a
    /// socket to itself (RFC 9293, section 3.5, simultaneous open). Returns `None` if the range has
    /// no room.
    #[must_use]
    pub fn choose(range: &RangeInclusive<u16>, window: Window, random: u64) -> Option<Self> {
        let (low, high) = (u64::from(*range.start()), u64::from(*range.end()));
        let base = u64::from(window.base());
        // First ports that leave room for 16 ports before the window, and first ports after it.
        let before = low..(base.min(high + 1)).saturating_sub(SPAN);
        let behind = low.max(base + 256)..(high + 1).saturating_sub(SPAN);
        let (n, m) = (len(&before), len(&behind));
        let place = random.checked_rem(n + m)?;
        let first = if place < n {
            before.start + place
        } else {
            behind.start + place - n
        };
        let first = u16::try_from(first).ok()?;
        Some(Self { first })
    }

    /// Source ports to try in turn, the dynamic ports first.
    ///
    /// `random` returns the random number for each try.
    pub fn candidates(window: Window, random: impl Fn(u64) -> u64) -> impl Iterator<Item = Self> {
        (0..2 * TRIES).filter_map(move |i| {
            let range = if i < TRIES { &DYNAMIC } else { &REGISTERED };
            Self::choose(range, window, random(i))
        })
    }

    /// [`SourcePorts::candidates`] with different random numbers for each call. The numbers need
    /// not be secret, so the random seed of std's hash maps is sufficient.
    pub fn random(window: Window) -> impl Iterator<Item = Self> {
        let state = RandomState::new();
        Self::candidates(window, move |i| state.hash_one(i))
    }
}

fn len(range: &std::ops::Range<u64>) -> u64 {
    range.end.saturating_sub(range.start)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn window(base: u16) -> Window {
        Window::new(base).unwrap()
    }

    fn first(range: RangeInclusive<u16>, base: u16, random: u64) -> Option<u16> {
        SourcePorts::choose(&range, window(base), random).map(|source| source.first)
    }

    #[test]
    fn every_start_with_room_can_be_chosen() {
        let firsts = |range: RangeInclusive<u16>, base| -> HashSet<u16> {
            (0..1000)
                .filter_map(|random| first(range.clone(), base, random))
                .collect()
        };
        assert_eq!(firsts(2000..=2020, 61000), (2000..=2005).collect());
        // 20 ports before the window and 17 after it.
        let around = (2000..=2004).chain(2276..=2277).collect();
        assert_eq!(firsts(2000..=2292, 2020), around);
        assert_eq!(firsts(2000..=2292, 2001), (2257..=2277).collect());
        assert_eq!(firsts(2000..=2292, 1900), (2156..=2277).collect());
        assert_eq!(firsts(65500..=65535, 1), (65500..=65520).collect());
        assert_eq!(firsts(65280..=65535, 65280), HashSet::new());
        assert_eq!(firsts(2000..=2014, 61000), HashSet::new());
    }

    #[test]
    fn dynamic_ports_come_first() {
        let starts: Vec<u16> = SourcePorts::random(Window::DEFAULT)
            .map(|source| source.first)
            .collect();
        let (preferred, fallback) = starts.split_at(32);
        assert!(preferred.iter().all(|start| *start >= 49152));
        assert!(fallback.iter().all(|start| (1024..=49136).contains(start)));
        assert_eq!(fallback.len(), 32);
        assert_ne!(
            starts,
            SourcePorts::random(Window::DEFAULT)
                .map(|source| source.first)
                .collect::<Vec<_>>()
        );
    }

    proptest! {
        #[test]
        fn are_16_unprivileged_ports_in_a_row_outside_the_window(
            base in 1..=Window::MAX_BASE,
            random: u64,
        ) {
            let window = window(base);
            let mut tried = 0;
            for source in SourcePorts::candidates(window, |i| random.wrapping_mul(2 * i + 1)) {
                let ports = source.ports();
                prop_assert!(ports[0] >= 1024 && ports[0] <= 65520);
                for (i, port) in ports.into_iter().enumerate() {
                    prop_assert_eq!(usize::from(port), usize::from(ports[0]) + i);
                    prop_assert_eq!(window.offset_of(port), None);
                }
                tried += 1;
            }
            prop_assert_eq!(tried, 64);
        }
    }
}
