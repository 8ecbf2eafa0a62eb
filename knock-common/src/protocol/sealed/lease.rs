//! The lease duration of a request.

use core::{fmt, num::NonZeroU16, time::Duration};

/// The lease that a request asks for (docs/protocol.md, "Sealed").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestedLease {
    /// The door's default duration; 0 on the wire.
    DoorsDefault,
    /// This many seconds. The door's `max_for` limits them.
    Seconds(NonZeroU16),
}

/// A duration that cannot be requested: not a whole number of seconds from 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseOutOfRange(pub Duration);

impl fmt::Display for LeaseOutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = u16::MAX;
        write!(
            f,
            "a knock can ask for 1 to {max} whole seconds (18 h 12 min 15 s), not for {:?}",
            self.0
        )
    }
}

impl core::error::Error for LeaseOutOfRange {}

impl RequestedLease {
    /// A request for a lease of `duration`.
    ///
    /// # Errors
    ///
    /// Returns [`LeaseOutOfRange`] unless `duration` is a whole number of seconds from 1 to
    /// 65535. It is not rounded, because the user would get a different lease than requested.
    pub fn of(duration: Duration) -> Result<Self, LeaseOutOfRange> {
        u16::try_from(duration.as_secs())
            .ok()
            .and_then(NonZeroU16::new)
            .filter(|_| duration.subsec_nanos() == 0)
            .map(Self::Seconds)
            .ok_or(LeaseOutOfRange(duration))
    }

    /// The duration that a door with these settings grants: `default`, or what was requested but
    /// not more than `max`.
    #[must_use]
    pub fn granted(self, default: Duration, max: Duration) -> Duration {
        match self {
            Self::DoorsDefault => default,
            Self::Seconds(seconds) => Duration::from_secs(seconds.get().into()).min(max),
        }
    }

    pub(super) const fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::DoorsDefault => [0; 2],
            Self::Seconds(seconds) => seconds.get().to_be_bytes(),
        }
    }

    pub(super) fn from_bytes(bytes: [u8; 2]) -> Self {
        NonZeroU16::new(u16::from_be_bytes(bytes)).map_or(Self::DoorsDefault, Self::Seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Duration = Duration::from_secs(30);

    #[test]
    fn whole_seconds_in_range_can_be_requested() {
        for (duration, asked) in [
            (Duration::ZERO, None),
            (Duration::from_millis(999), None),
            (Duration::from_secs(1), Some([0, 1])),
            (Duration::from_millis(1500), None),
            (Duration::from_secs(600), Some([2, 88])),
            (Duration::from_secs(65_535), Some([255, 255])),
            (Duration::from_secs(65_536), None),
            (Duration::from_secs(1 << 32 | 1), None),
            (Duration::MAX, None),
        ] {
            let lease = RequestedLease::of(duration);
            assert_eq!(lease.ok().map(RequestedLease::to_bytes), asked);
        }
    }

    #[test]
    fn the_door_caps_what_is_asked_for_and_not_its_own_default() {
        let granted = |lease: RequestedLease, max| lease.granted(DEFAULT, Duration::from_secs(max));
        let ten = RequestedLease::of(Duration::from_secs(10)).unwrap();
        assert_eq!(granted(ten, 3600), Duration::from_secs(10));
        assert_eq!(granted(ten, 10), Duration::from_secs(10));
        assert_eq!(granted(ten, 5), Duration::from_secs(5));
        assert_eq!(granted(RequestedLease::DoorsDefault, 5), DEFAULT);
    }

    #[test]
    fn every_two_bytes_are_a_lease() {
        for bytes in (0..=u16::MAX).map(u16::to_be_bytes) {
            assert_eq!(RequestedLease::from_bytes(bytes).to_bytes(), bytes);
        }
        assert_eq!(
            RequestedLease::from_bytes([0; 2]),
            RequestedLease::DoorsDefault
        );
    }
}
