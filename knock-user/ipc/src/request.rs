//! What the listener may ask of the keeper: to open or close a door of the configuration to
//! an address for some time, and a few words without arguments.
//!
//! ```text
//! byte  0      the word
//!       1      0 or 1: a word's yes or no
//!       2..4   zero
//!       4..8   the number of the question, which the answer has too
//!       8..12  the door's number
//!      12..16  the client's number
//!      16..32  the address, IPv4 as IPv4-mapped IPv6
//!      32..40  seconds
//!      40..48  when the knock's last SYN came, in nanoseconds of CLOCK_MONOTONIC
//! ```
//!
//! Little-endian. What a word has no use for is zero. The numbers are checked against the
//! configuration by whoever acts on them.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use thiserror::Error;

use knockd_types::names::{MAX_LEASE, is_unicast};

/// Bytes of an order.
pub const REQUEST_LEN: usize = 48;

/// The door's number that stands for all.
const EVERY_DOOR: u32 = u32::MAX;

/// Something that the listener asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// It is ready: from here on it reads what comes.
    Ready,
    /// Somebody has knocked, or an administrator wants a door open.
    Open {
        /// Which question this is, if somebody waits for the answer; 0 if nobody does.
        question: u32,
        /// The door's number.
        door: u32,
        /// The client's number.
        client: u32,
        /// To whom.
        source: IpAddr,
        /// For how long, in whole seconds.
        lease: Duration,
        /// When the knock's last SYN came.
        at: Duration,
    },
    /// An administrator wants doors closed.
    Close {
        /// Which question this is.
        question: u32,
        /// The door's number; every door without one.
        door: Option<u32>,
        /// To whom.
        source: IpAddr,
    },
    /// An administrator wants the configuration read again.
    Reload {
        /// Which question this is.
        question: u32,
    },
    /// How is it going?
    Report {
        /// Which question this is.
        question: u32,
        /// Whether the kernel's leases are to be counted, which may take a while.
        count_leases: bool,
    },
    /// Whether the kernel is to write a line per knock, because somebody follows.
    Follow(bool),
    /// Whether notices are wanted, because somebody reads them.
    Notify(bool),
    /// What has the kernel logged so far?
    Flush,
    /// The lines have come to their end.
    Ended,
    /// It is there, since it was asked.
    Alive,
}

/// Why a message is no order. Nobody but a broken listener, or one that somebody else has
/// taken over, sends such a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidRequest {
    /// It is longer or shorter than every order.
    #[error("it has {0} bytes, or more, instead of {REQUEST_LEN}")]
    Length(usize),
    /// There is no such word.
    #[error("there is no word {0}")]
    Word(u8),
    /// Something stands where nothing may.
    #[error("something stands where word {0} has nothing")]
    Excess(u8),
    /// No single host has such an address.
    #[error("{0} is no single host's address")]
    Source(IpAddr),
    /// No door is open for so long.
    #[error("a lease of {0} s")]
    Lease(u64),
}

const READY: u8 = 1;
const OPEN: u8 = 2;
const CLOSE: u8 = 3;
const RELOAD: u8 = 4;
const REPORT: u8 = 5;
const FOLLOW: u8 = 6;
const FLUSH: u8 = 7;
const ENDED: u8 = 8;
const ALIVE: u8 = 9;
const NOTIFY: u8 = 10;

/// An order's fields, as they lie in its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fields {
    word: u8,
    flag: u8,
    zero: [u8; 2],
    question: u32,
    door: u32,
    client: u32,
    source: [u8; 16],
    seconds: u64,
    at: u64,
}

impl Request {
    /// Its bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; REQUEST_LEN] {
        let only = |word| Fields {
            word,
            ..Fields::default()
        };
        let fields = match *self {
            Self::Ready => only(READY),
            Self::Open {
                question,
                door,
                client,
                source,
                lease,
                at,
            } => Fields {
                question,
                door,
                client,
                source: octets(source),
                seconds: lease.as_secs(),
                at: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
                ..only(OPEN)
            },
            Self::Close {
                question,
                door,
                source,
            } => Fields {
                question,
                door: door.unwrap_or(EVERY_DOOR),
                source: octets(source),
                ..only(CLOSE)
            },
            Self::Reload { question } => Fields {
                question,
                ..only(RELOAD)
            },
            Self::Report {
                question,
                count_leases,
            } => Fields {
                question,
                flag: count_leases.into(),
                ..only(REPORT)
            },
            Self::Follow(follow) => Fields {
                flag: follow.into(),
                ..only(FOLLOW)
            },
            Self::Notify(notify) => Fields {
                flag: notify.into(),
                ..only(NOTIFY)
            },
            Self::Flush => only(FLUSH),
            Self::Ended => only(ENDED),
            Self::Alive => only(ALIVE),
        };
        fields.to_bytes()
    }

    /// The order of these bytes.
    ///
    /// # Errors
    ///
    /// [`InvalidRequest`]: they are not exactly what [`Request::to_bytes`] makes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidRequest> {
        let bytes: &[u8; REQUEST_LEN] = bytes
            .try_into()
            .map_err(|_| InvalidRequest::Length(bytes.len()))?;
        let fields = Fields::from_bytes(bytes);
        let Fields { word, question, .. } = fields;
        let order = match word {
            READY => Self::Ready,
            OPEN => Self::Open {
                question,
                door: fields.door,
                client: fields.client,
                source: fields.source()?,
                lease: fields.lease()?,
                at: Duration::from_nanos(fields.at),
            },
            CLOSE => Self::Close {
                question,
                door: (fields.door != EVERY_DOOR).then_some(fields.door),
                source: fields.source()?,
            },
            RELOAD => Self::Reload { question },
            REPORT => Self::Report {
                question,
                count_leases: fields.flag == 1,
            },
            FOLLOW => Self::Follow(fields.flag == 1),
            NOTIFY => Self::Notify(fields.flag == 1),
            FLUSH => Self::Flush,
            ENDED => Self::Ended,
            ALIVE => Self::Alive,
            other => return Err(InvalidRequest::Word(other)),
        };
        // One form for each order, and nothing beside it.
        if order.to_bytes() != *bytes {
            return Err(InvalidRequest::Excess(word));
        }
        Ok(order)
    }
}

impl Fields {
    fn source(&self) -> Result<IpAddr, InvalidRequest> {
        let source = Ipv6Addr::from(self.source).to_canonical();
        if is_unicast(source) {
            Ok(source)
        } else {
            Err(InvalidRequest::Source(source))
        }
    }

    fn lease(&self) -> Result<Duration, InvalidRequest> {
        let lease = Duration::from_secs(self.seconds);
        if lease.is_zero() || lease > MAX_LEASE {
            return Err(InvalidRequest::Lease(self.seconds));
        }
        Ok(lease)
    }

    fn to_bytes(self) -> [u8; REQUEST_LEN] {
        let mut bytes = [0; REQUEST_LEN];
        bytes[0] = self.word;
        bytes[1] = self.flag;
        bytes[2..4].copy_from_slice(&self.zero);
        bytes[4..8].copy_from_slice(&self.question.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.door.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.client.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.source);
        bytes[32..40].copy_from_slice(&self.seconds.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.at.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8; REQUEST_LEN]) -> Self {
        Self {
            word: bytes[0],
            flag: bytes[1],
            zero: field(bytes, 2),
            question: u32::from_le_bytes(field(bytes, 4)),
            door: u32::from_le_bytes(field(bytes, 8)),
            client: u32::from_le_bytes(field(bytes, 12)),
            source: field(bytes, 16),
            seconds: u64::from_le_bytes(field(bytes, 32)),
            at: u64::from_le_bytes(field(bytes, 40)),
        }
    }
}

fn field<const N: usize>(bytes: &[u8; REQUEST_LEN], at: usize) -> [u8; N] {
    std::array::from_fn(|index| bytes[at + index])
}

fn octets(source: IpAddr) -> [u8; 16] {
    match source {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn orders() -> impl Strategy<Value = Request> {
        let source = any::<IpAddr>()
            .prop_map(|source| source.to_canonical())
            .prop_filter("no single host has it", |source| is_unicast(*source));
        let lease = (1..=MAX_LEASE.as_secs()).prop_map(Duration::from_secs);
        let at = any::<u64>().prop_map(Duration::from_nanos);
        let door = any::<u32>().prop_filter("stands for all", |door| *door != EVERY_DOOR);
        prop_oneof![
            Just(Request::Ready),
            Just(Request::Flush),
            Just(Request::Ended),
            Just(Request::Alive),
            any::<bool>().prop_map(Request::Follow),
            any::<bool>().prop_map(Request::Notify),
            any::<u32>().prop_map(|question| Request::Reload { question }),
            (any::<u32>(), any::<bool>()).prop_map(|(question, count_leases)| Request::Report {
                question,
                count_leases
            }),
            (any::<u32>(), proptest::option::of(door), source.clone()).prop_map(
                |(question, door, source)| Request::Close {
                    question,
                    door,
                    source
                }
            ),
            (any::<[u32; 3]>(), source, lease, at).prop_map(
                |([question, door, client], source, lease, at)| Request::Open {
                    question,
                    door,
                    client,
                    source,
                    lease,
                    at
                }
            ),
        ]
    }

    proptest! {
        #[test]
        fn an_order_survives_the_channel(order in orders()) {
            prop_assert_eq!(Request::from_bytes(&order.to_bytes()), Ok(order));
        }

        #[test]
        fn any_bytes_are_one_order_in_its_only_form_or_garbled(bytes: [u8; REQUEST_LEN], word in 0..12_u8) {
            let mut bytes = bytes;
            bytes[0] = word;
            if let Ok(order) = Request::from_bytes(&bytes) {
                prop_assert_eq!(order.to_bytes(), bytes);
            }
        }

        #[test]
        fn a_byte_too_many_or_too_few_is_garbled(order in orders(), len in 0..64_usize) {
            let mut bytes = order.to_bytes().to_vec();
            bytes.resize(len, 0);
            prop_assert_eq!(Request::from_bytes(&bytes).is_ok(), len == REQUEST_LEN);
        }

        #[test]
        fn a_word_without_arguments_has_none(at in 1..REQUEST_LEN, byte in 1..=u8::MAX) {
            for order in [Request::Ready, Request::Flush, Request::Ended, Request::Alive] {
                let mut bytes = order.to_bytes();
                bytes[at] = byte;
                prop_assert_eq!(Request::from_bytes(&bytes), Err(InvalidRequest::Excess(bytes[0])));
            }
        }
    }

    #[test]
    fn what_no_door_is_opened_for_is_garbled() {
        let open = |source: &str, seconds| {
            let order = Request::Open {
                question: 0,
                door: 0,
                client: 1,
                source: source.parse().unwrap(),
                lease: Duration::from_secs(seconds),
                at: Duration::ZERO,
            };
            Request::from_bytes(&order.to_bytes())
        };
        assert!(open("192.0.2.7", 1).is_ok());
        for source in ["0.0.0.0", "255.255.255.255", "224.0.0.1", "::", "ff02::1"] {
            let garbled = InvalidRequest::Source(source.parse().unwrap());
            assert_eq!(open(source, 1), Err(garbled));
        }
        for seconds in [0, MAX_LEASE.as_secs() + 1, u64::MAX] {
            assert_eq!(
                open("192.0.2.7", seconds),
                Err(InvalidRequest::Lease(seconds))
            );
        }
    }
}
