//! The lease that a request asks for.

use core::{fmt, time::Duration};

/// The lease that a request asks for, in the four bytes of a datagram (docs/protocol.md, "Request"):
/// 0 stands for the door's default, and the highest value for "close this door now". Every value is
/// valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestedLease(u32);

/// A duration that cannot be requested: not a whole number of seconds, or too short or too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseOutOfRange {
    /// The duration.
    pub asked: Duration,
    /// The longest lease that can be requested, in seconds.
    pub max_seconds: u32,
}

impl fmt::Display for LeaseOutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { asked, max_seconds } = self;
        write!(
            f,
            "a knock can ask for 1 to {max_seconds} whole seconds, not for {asked:?}"
        )
    }
}

impl core::error::Error for LeaseOutOfRange {}

impl RequestedLease {
    /// The door's default duration.
    pub const DOORS_DEFAULT: Self = Self(0);

    /// No lease: the door is to be closed now.
    pub const CLOSE: Self = Self(u32::MAX);

    /// The longest lease that can be requested, in seconds.
    pub const MAX_SECONDS: u32 = u32::MAX - 1;

    /// A request for a lease of `duration`.
    ///
    /// # Errors
    ///
    /// Returns [`LeaseOutOfRange`] unless `duration` is a whole number of seconds from 1 to
    /// [`RequestedLease::MAX_SECONDS`]. It is not rounded, because the user would get a different
    /// lease than requested.
    pub fn of(duration: Duration) -> Result<Self, LeaseOutOfRange> {
        u32::try_from(duration.as_secs())
            .ok()
            .filter(|seconds| (1..=Self::MAX_SECONDS).contains(seconds))
            .filter(|_| duration.subsec_nanos() == 0)
            .map(Self)
            .ok_or(LeaseOutOfRange {
                asked: duration,
                max_seconds: Self::MAX_SECONDS,
            })
    }

    /// The lease that this number stands for: 0 for the door's default, `u32::MAX` for "close this
    /// door now", and else the seconds.
    #[must_use]
    pub const fn from_seconds(seconds: u32) -> Self {
        Self(seconds)
    }

    /// The duration that a door with these settings grants: `default`, or what was requested but
    /// not more than `max`. `None` if the door is to be closed.
    #[must_use]
    pub fn granted(self, default: Duration, max: Duration) -> Option<Duration> {
        match self {
            Self::DOORS_DEFAULT => Some(default),
            Self::CLOSE => None,
            Self(seconds) => Some(Duration::from_secs(seconds.into()).min(max)),
        }
    }

    #[cfg(feature = "protocol")]
    pub(super) const fn to_bytes(self) -> [u8; 4] {
        self.0.to_be_bytes()
    }

    #[cfg(feature = "protocol")]
    pub(super) const fn from_bytes(bytes: [u8; 4]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }
}

/// A [`RequestedLease`] in the two bytes of a SYN knock (docs/protocol.md, "Plaintext").
/// Every value is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ShortLease(u16);

impl ShortLease {
    /// The door's default duration.
    pub const DOORS_DEFAULT: Self = Self(0);

    /// No lease: the door is to be closed now.
    pub const CLOSE: Self = Self(u16::MAX);

    /// The longest lease that a SYN knock can ask for: 18 h 12 min 14 s.
    pub const MAX_SECONDS: u16 = u16::MAX - 1;

    pub(super) const fn to_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }

    pub(super) const fn from_bytes(bytes: [u8; 2]) -> Self {
        Self(u16::from_be_bytes(bytes))
    }
}

impl From<ShortLease> for RequestedLease {
    fn from(lease: ShortLease) -> Self {
        match lease {
            ShortLease::CLOSE => Self::CLOSE,
            ShortLease(seconds) => Self(seconds.into()),
        }
    }
}

impl TryFrom<RequestedLease> for ShortLease {
    type Error = LeaseOutOfRange;

    fn try_from(lease: RequestedLease) -> Result<Self, LeaseOutOfRange> {
        match lease {
            RequestedLease::CLOSE => Ok(Self::CLOSE),
            RequestedLease(seconds) => u16::try_from(seconds)
                .ok()
                .filter(|seconds| *seconds <= Self::MAX_SECONDS)
                .map(Self)
                .ok_or(LeaseOutOfRange {
                    asked: Duration::from_secs(seconds.into()),
                    max_seconds: Self::MAX_SECONDS.into(),
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::string::ToString as _;

    use proptest::prelude::*;

    use super::*;

    const DEFAULT: Duration = Duration::from_secs(30);

    #[test]
    fn whole_seconds_in_range_can_be_requested() {
        for (duration, asked) in [
            (Duration::ZERO, None),
            (Duration::from_millis(999), None),
            (Duration::from_secs(1), Some([0, 0, 0, 1])),
            (Duration::from_millis(1500), None),
            (Duration::from_secs(600), Some([0, 0, 2, 88])),
            (
                Duration::from_secs((1 << 32) - 2),
                Some([255, 255, 255, 254]),
            ),
            (Duration::from_secs((1 << 32) - 1), None),
            (Duration::from_secs(1 << 32 | 1), None),
            (Duration::MAX, None),
        ] {
            let lease = RequestedLease::of(duration);
            assert_eq!(lease.ok().map(RequestedLease::to_bytes), asked);
        }
    }

    #[test]
    fn a_syn_knock_asks_for_less_than_a_datagram() {
        let longest = RequestedLease::of(Duration::from_secs(65_534)).unwrap();
        assert_eq!(
            ShortLease::try_from(longest).map(ShortLease::to_bytes),
            Ok([255, 254])
        );
        for seconds in [65_535, 65_536, u64::from(u32::MAX - 1)] {
            let lease = RequestedLease::of(Duration::from_secs(seconds)).unwrap();
            let error = ShortLease::try_from(lease).unwrap_err().to_string();
            assert!(error.contains("1 to 65534 whole seconds"), "{error}");
        }
    }

    #[test]
    fn the_door_caps_what_is_asked_for_and_not_its_own_default() {
        let granted = |lease: RequestedLease, max| lease.granted(DEFAULT, Duration::from_secs(max));
        let ten = RequestedLease::of(Duration::from_secs(10)).unwrap();
        assert_eq!(granted(ten, 3600), Some(Duration::from_secs(10)));
        assert_eq!(granted(ten, 10), Some(Duration::from_secs(10)));
        assert_eq!(granted(ten, 5), Some(Duration::from_secs(5)));
        assert_eq!(granted(RequestedLease::DOORS_DEFAULT, 5), Some(DEFAULT));
        assert_eq!(granted(RequestedLease::CLOSE, 5), None);
    }

    #[test]
    fn every_two_bytes_are_a_lease() {
        for bytes in (0..=u16::MAX).map(u16::to_be_bytes) {
            let lease = ShortLease::from_bytes(bytes);
            assert_eq!(lease.to_bytes(), bytes);
            assert_eq!(ShortLease::try_from(RequestedLease::from(lease)), Ok(lease));
        }
        assert_eq!(
            RequestedLease::from(ShortLease::DOORS_DEFAULT),
            RequestedLease::DOORS_DEFAULT
        );
        assert_eq!(
            RequestedLease::from(ShortLease::from_bytes([255, 255])),
            RequestedLease::CLOSE
        );
    }

    proptest! {
        #[test]
        fn every_four_bytes_are_a_lease(bytes: [u8; 4]) {
            prop_assert_eq!(RequestedLease::from_bytes(bytes).to_bytes(), bytes);
        }
    }
}
