//! Creates sealed knocks. Each one is fresh, because a sealed block is single-use.

use std::{
    fmt, io,
    time::{SystemTime, UNIX_EPOCH},
};

use knock_common::{
    protocol::{
        key::SealedKey,
        sealed::{Binding, DoorTag, Request, RequestedLease, Time40},
    },
    window::Window,
};
use thiserror::Error;

use crate::knock::Knock;

/// The time of a knock and a random number, which together make its block unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The time on this host's clock, in Unix milliseconds.
    pub unix_ms: u64,
    /// Distinguishes knocks of different processes in the same millisecond.
    pub random: u8,
}

/// Why no fresh knock can be created.
#[derive(Debug, Error)]
pub enum MomentError {
    /// The clock is before 1970.
    #[error("this host's clock is wrong: it is before 1970")]
    Clock,
    /// The system provides no random numbers.
    #[error("the system provides no random numbers: {0}")]
    Random(io::Error),
}

impl Moment {
    /// The current time and a random byte from the system.
    ///
    /// # Errors
    ///
    /// Returns [`MomentError`] if the clock is before 1970 or there are no random numbers.
    pub fn now() -> Result<Self, MomentError> {
        let since_1970 = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(|_| MomentError::Clock)?;
        let mut random = [0];
        getrandom::fill(&mut random)
            .map_err(|error| MomentError::Random(io::Error::other(error)))?;
        let [random] = random;
        Ok(Self {
            unix_ms: u64::try_from(since_1970.as_millis()).map_err(|_| MomentError::Clock)?,
            random,
        })
    }
}

/// Creates the sealed knocks of a client for one door.
pub struct SealedKnocks {
    key: SealedKey,
    door: DoorTag,
    lease: RequestedLease,
    window: Window,
    last: Option<Moment>,
}

impl SealedKnocks {
    /// Knocks that are enciphered under `key` and request the door with this name.
    #[must_use]
    pub fn new(key: SealedKey, door: &str, lease: RequestedLease, window: Window) -> Self {
        Self {
            key,
            door: DoorTag::of(door),
            lease,
            window,
            last: None,
        }
    }

    /// A fresh knock with this time and `binding`.
    ///
    /// Knocks of the same millisecond always differ, even if the random bytes are equal. Otherwise
    /// the daemon would reject the second one as a replay.
    pub fn knock(&mut self, binding: Binding, mut moment: Moment) -> Knock {
        if let Some(last) = self.last.filter(|last| last.unix_ms == moment.unix_ms) {
            moment.random = last.random.wrapping_add(1);
        }
        self.last = Some(moment);
        let request = Request {
            door: self.door,
            time: Time40::from_unix_ms(moment.unix_ms),
            binding,
            lease: self.lease,
            random: moment.random,
        };
        Knock::sealed(&self.key, &request, self.window)
    }
}

impl fmt::Debug for SealedKnocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealedKnocks")
            .field("door", &self.door)
            .field("lease", &self.lease)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, net::IpAddr, time::Duration};

    use knock_common::protocol::{block::Block, key::SecretKey};
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::source_ip::SourceIp;

    #[derive(Deserialize)]
    struct Vectors {
        sealed: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        key_file: String,
        door: String,
        unix_ms: u64,
        source: Option<IpAddr>,
        lease_seconds: u64,
        random: u8,
        base: u16,
        ports: Vec<u16>,
    }

    #[test]
    fn knocks_on_the_ports_of_every_vector() {
        let vectors = include_str!("../../../knock-common/src/protocol/vectors.json");
        let vectors: Vectors = serde_json::from_str(vectors).unwrap();
        assert_eq!(vectors.sealed.len(), 5);
        for vector in vectors.sealed {
            let secret = SecretKey::from_key_file(vector.key_file.as_bytes()).unwrap();
            let lease = Duration::from_secs(vector.lease_seconds);
            let mut knocks = SealedKnocks::new(
                SealedKey::new(&secret),
                &vector.door,
                RequestedLease::of(lease).unwrap_or(RequestedLease::DoorsDefault),
                Window::new(vector.base).unwrap(),
            );
            let source_ip: SourceIp = match vector.source {
                Some(source) => source.to_string().parse().unwrap(),
                None => SourceIp::None,
            };
            let binding = source_ip.binding(IpAddr::from([127, 0, 0, 1]).into());
            let moment = Moment {
                unix_ms: vector.unix_ms,
                random: vector.random,
            };
            let knock = knocks.knock(binding, moment);
            assert_eq!(knock.ports().as_slice(), vector.ports);
        }
    }

    fn knocks() -> SealedKnocks {
        SealedKnocks::new(
            SealedKey::new(&SecretKey::new([7; 32])),
            "ssh",
            RequestedLease::DoorsDefault,
            Window::DEFAULT,
        )
    }

    fn opened(knock: &Knock) -> Request {
        let offsets = knock
            .ports()
            .map(|port| knock.window().offset_of(port).unwrap());
        Request::open(&SealedKey::new(&SecretKey::new([7; 32])), &Block(offsets)).unwrap()
    }

    #[test]
    fn moment_now_reads_the_clock() {
        let moment = Moment::now().unwrap();
        let request = opened(&knocks().knock(Binding::Unbound, moment));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = u64::try_from(now.as_millis()).unwrap();
        assert_eq!(request.check_time(now, Duration::from_secs(5)), Ok(()));
        assert_eq!(request.random, moment.random);
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", knocks());
        assert!(shown.contains("door") && !shown.contains("key"), "{shown}");
    }

    proptest! {
        #[test]
        fn knocks_of_one_millisecond_differ(
            unix_ms in 0..u64::MAX,
            randoms in prop::collection::vec(any::<u8>(), 1..=256),
        ) {
            let mut knocks = knocks();
            let mut seen = HashSet::new();
            for random in randoms {
                let knock = knocks.knock(Binding::Unbound, Moment { unix_ms, random });
                prop_assert!(seen.insert(knock.ports()));
            }
            let later = Moment { unix_ms: unix_ms + 1, random: 3 };
            let knock = knocks.knock(Binding::Unbound, later);
            prop_assert_eq!(opened(&knock).random, 3);
        }
    }
}
