//! Creates SYN knocks. Each one is fresh, because a block is single-use.

use std::{fmt, net::IpAddr};

use knock_common::{
    protocol::{
        door::{DoorTag, ShortTag},
        lease::ShortLease,
        syn::{Binding, Request, SynKey, Time40},
    },
    window::Window,
};

use crate::{knock::Knock, moment::Moment};

/// Creates the SYN knocks of a client for one door.
pub struct SynKnocks {
    key: SynKey,
    door: ShortTag,
    window: Window,
}

impl SynKnocks {
    /// Knocks that are enciphered under `key` and request the door with this name.
    #[must_use]
    pub fn new(key: SynKey, door: &str, window: Window) -> Self {
        Self {
            key,
            door: DoorTag::of(door),
            window,
        }
    }

    /// The knock of this `moment` with this lease, bound to `source` or else unbound.
    #[must_use]
    pub fn knock(&self, source: Option<IpAddr>, lease: ShortLease, moment: Moment) -> Knock {
        let request = Request {
            door: self.door,
            time: Time40::from_unix_ms(moment.unix_ms),
            binding: source.map_or(Binding::Unbound, |source| Binding::to(source, &self.key)),
            lease,
            random: moment.random,
        };
        Knock::syn(&self.key, &request, self.window)
    }
}

impl fmt::Debug for SynKnocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SynKnocks")
            .field("door", &self.door)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use knock_common::protocol::{
        block::Block,
        identity::{KeyPair, PrivateKey, PublicKey},
        lease::RequestedLease,
        syn::{SYN_SECRET_LEN, SynSecret},
    };
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;
    use crate::{clock::Clock, testing::hex};

    #[derive(Deserialize)]
    struct Vectors {
        syn: Vec<Vector>,
    }

    #[derive(Deserialize)]
    struct Vector {
        client_private: String,
        server_public: String,
        passphrase: Option<String>,
        client: Option<String>,
        door: String,
        unix_ms: u64,
        source: Option<IpAddr>,
        lease_seconds: u16,
        random: u8,
        base: u16,
        ports: Vec<u16>,
    }

    impl Vector {
        fn key(&self) -> SynKey {
            let server = PublicKey(hex(&self.server_public));
            let private = match (&self.passphrase, &self.client) {
                (Some(passphrase), Some(client)) => {
                    PrivateKey::from_passphrase(passphrase.as_bytes(), &server, client).unwrap()
                }
                _ => PrivateKey::new(hex(&self.client_private)),
            };
            SynKey::new(&SynSecret::of_client(&KeyPair::from(private), &server).unwrap())
        }
    }

    fn lease(seconds: u16) -> ShortLease {
        match seconds {
            0 => ShortLease::DOORS_DEFAULT,
            u16::MAX => ShortLease::CLOSE,
            seconds => {
                let lease = RequestedLease::of(Duration::from_secs(seconds.into())).unwrap();
                lease.try_into().unwrap()
            }
        }
    }

    #[test]
    fn knocks_on_the_ports_of_every_vector() {
        let vectors = include_str!("../../../knock-common/src/protocol/vectors.json");
        let vectors: Vectors = serde_json::from_str(vectors).unwrap();
        assert_eq!(vectors.syn.len(), 5);
        for vector in vectors.syn {
            let window = Window::new(vector.base).unwrap();
            let knocks = SynKnocks::new(vector.key(), &vector.door, window);
            let moment = Moment {
                unix_ms: vector.unix_ms,
                random: vector.random,
            };
            let knock = knocks.knock(vector.source, lease(vector.lease_seconds), moment);
            assert_eq!(knock.ports().as_slice(), vector.ports);
        }
    }

    fn key() -> SynKey {
        SynKey::new(&SynSecret::new([7; SYN_SECRET_LEN]))
    }

    fn knocks() -> SynKnocks {
        SynKnocks::new(key(), "ssh", Window::DEFAULT)
    }

    fn opened(knock: &Knock) -> Request {
        let offsets = knock
            .ports()
            .map(|port| knock.window().offset_of(port).unwrap());
        Request::open(&key(), &Block(offsets)).unwrap()
    }

    #[test]
    fn moment_now_reads_the_clock() {
        let moment = Moment::now(&Clock::SYSTEM).unwrap();
        let knock = knocks().knock(None, ShortLease::CLOSE, moment);
        let request = opened(&knock);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = u64::try_from(now.as_millis()).unwrap();
        assert_eq!(request.check_time(now, Duration::from_secs(5)), Ok(()));
        assert_eq!(request.random, moment.random);
        assert_eq!(request.lease, ShortLease::CLOSE);
        assert_eq!(request.binding, Binding::Unbound);
    }

    #[test]
    fn debug_shows_no_key() {
        let shown = format!("{:?}", knocks());
        assert!(shown.contains("door") && !shown.contains("key"), "{shown}");
    }

    proptest! {
        #[test]
        fn a_bound_knock_is_valid_from_its_source_alone(source: IpAddr, other: IpAddr) {
            let moment = Moment { unix_ms: 0, random: 0 };
            let knock = knocks().knock(Some(source), ShortLease::DOORS_DEFAULT, moment);
            let binding = opened(&knock).binding;
            prop_assert!(binding.allows(source, &key()));
            let same = source.to_canonical() == other.to_canonical();
            prop_assert_eq!(binding.allows(other, &key()), same);
        }
    }
}
