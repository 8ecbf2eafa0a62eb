//! A 40-bit timestamp.

/// The number of bits of a [`Time40`].
const BITS: u32 = 40;

/// Unix milliseconds modulo 2^40 (docs/protocol.md, "Plaintext").
///
/// It wraps around about every 35 years (next in 2039), so two values have a distance but no
/// order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Time40(u64);

impl Time40 {
    /// The timestamp of `unix_ms`, milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_unix_ms(unix_ms: u64) -> Self {
        Self(unix_ms & ((1 << BITS) - 1))
    }

    /// Milliseconds from `earlier` to this time, by the shorter way around: from -2^39 to
    /// 2^39 - 1, and negative if `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        // Shifted to the top of the word, the 40 bits wrap and carry their sign as the word does.
        let spare = u64::BITS - BITS;
        (self.0.wrapping_sub(earlier.0) << spare).cast_signed() >> spare
    }

    /// The Unix time in milliseconds closest to `now` that has this timestamp.
    ///
    /// Saturates at 0 and at `u64::MAX`.
    #[must_use]
    pub const fn nearest_unix_ms(self, now: u64) -> u64 {
        now.saturating_add_signed(self.since(Self::from_unix_ms(now)))
    }

    pub(super) const fn to_bytes(self) -> [u8; 5] {
        let [_, _, _, bytes @ ..] = self.0.to_be_bytes();
        bytes
    }

    pub(super) const fn from_bytes([a, b, c, d, e]: [u8; 5]) -> Self {
        Self(u64::from_be_bytes([0, 0, 0, a, b, c, d, e]))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WRAP: u64 = 1 << BITS;
    const HALF: i64 = 1 << (BITS - 1);

    #[test]
    fn distances_at_the_edges() {
        for (later, earlier, distance) in [
            (0, 0, 0),
            (1, 0, 1),
            (0, 1, -1),
            (WRAP, WRAP - 1, 1),
            (WRAP - 1, WRAP, -1),
            (WRAP + 5, 5, 0),
            (0, WRAP - 1, 1),
            (WRAP - 1, 0, -1),
            (WRAP / 2 - 1, 0, HALF - 1),
            (WRAP / 2, 0, -HALF),
            (0, WRAP / 2, -HALF),
            (WRAP / 2 + 1, 0, 1 - HALF),
        ] {
            let since = Time40::from_unix_ms(later).since(Time40::from_unix_ms(earlier));
            assert_eq!(since, distance, "{later} since {earlier}");
        }
    }

    #[test]
    fn nearest_saturates() {
        let last = Time40::from_unix_ms(WRAP - 1);
        assert_eq!(last.nearest_unix_ms(0), 0);
        assert_eq!(last.nearest_unix_ms(WRAP), WRAP - 1);
        assert_eq!(Time40::from_unix_ms(0).nearest_unix_ms(u64::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn bytes_and_back(unix_ms: u64) {
            let time = Time40::from_unix_ms(unix_ms);
            prop_assert_eq!(Time40::from_bytes(time.to_bytes()), time);
        }

        #[test]
        fn every_five_bytes_are_a_time(bytes: [u8; 5]) {
            prop_assert_eq!(Time40::from_bytes(bytes).to_bytes(), bytes);
        }

        #[test]
        fn distance_is_that_of_the_clocks(
            now in 0..u64::MAX / 2,
            distance in -HALF..HALF,
            rounds in 0..1_u64 << 20,
        ) {
            let Some(then) = now.checked_add_signed(-distance) else {
                return Ok(());
            };
            let now40 = Time40::from_unix_ms(now);
            let since = now40.since(Time40::from_unix_ms(then));
            prop_assert_eq!(since, distance);
            // Whole rounds cancel out.
            prop_assert_eq!(now40.since(Time40::from_unix_ms(then + rounds * WRAP)), distance);
        }

        #[test]
        fn distance_crosses_the_wrap(
            wraps in 1..1_u64 << 20,
            before in 1..1_u64 << 38,
            after in 0..1_u64 << 38,
        ) {
            let earlier = Time40::from_unix_ms(wraps * WRAP - before);
            let later = Time40::from_unix_ms(wraps * WRAP + after);
            prop_assert_eq!(later.since(earlier), (before + after).cast_signed());
            prop_assert_eq!(earlier.since(later), -(before + after).cast_signed());
        }

        #[test]
        fn nearest_finds_the_unix_time(now in 0..u64::MAX / 2, distance in -HALF + 1..=HALF) {
            if let Some(then) = now.checked_add_signed(-distance) {
                prop_assert_eq!(Time40::from_unix_ms(then).nearest_unix_ms(now), then);
            }
        }
    }
}
