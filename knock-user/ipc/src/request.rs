//! The requests of the listener: open or close a door of the configuration for an address, and a
//! few requests about the daemon itself.
//!
//! ```text
//! byte  0      kind
//!       1      0 or 1: the flag of a kind that has one
//!       2..4   zero
//!       4..8   query number, repeated in the answer; 0 if no answer is expected
//!       8..12  door number
//!      12..16  client number
//!      16..32  source address, IPv4 as IPv4-mapped IPv6
//!      32..40  lease in seconds
//!      40..48  arrival of the knock's last packet, in nanoseconds of CLOCK_MONOTONIC
//!      48..64  address that the knock came from, in the form of the source
//! ```
//!
//! Little-endian. Fields that a kind does not use are zero. The supervisor checks the numbers
//! against the configuration.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use knockd_types::names::{MAX_LEASE, is_unicast};
use thiserror::Error;

use crate::{kind::RequestKind, phase::Phase};

/// The length of a request in bytes.
pub const REQUEST_LEN: usize = 64;

/// The door number that stands for all doors.
const EVERY_DOOR: u32 = u32::MAX;

/// A request of the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The listener is ready and starts to read input.
    Ready,
    /// Open a door, for an accepted knock or for the administrator.
    Open(OpenDoor),
    /// Close a door, for an accepted knock that asks for it.
    Withdraw(WithdrawDoor),
    /// Open a door that a knock at another node of the fleet has opened.
    Mirror(MirrorDoor),
    /// Close everything that a client has open, because the fleet has revoked its key.
    Expel(ExpelClient),
    /// Close doors, for the administrator.
    Close(CloseDoors),
    /// Reload the configuration.
    Reload(ReloadConfig),
    /// Report the supervisor's state.
    Report(GetReport),
    /// Whether the eBPF program writes a log line per packet, for a `tail` subscriber.
    Follow(bool),
    /// Whether to send notices, for a subscriber.
    Notify(bool),
    /// Forward the pending log lines of the eBPF program.
    Flush,
    /// The input of `--lines` has ended.
    Ended,
    /// The answer to a ping.
    Alive,
}

/// Opens a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenDoor {
    /// The number of the query that waits for the answer; 0 if none does.
    pub query: u32,
    /// The door's number.
    pub door: u32,
    /// The client's number.
    pub client: u32,
    /// The address that the door is opened for.
    pub source: IpAddr,
    /// The lease, in whole seconds.
    pub lease: Duration,
    /// The arrival of the knock's last packet, on `CLOCK_MONOTONIC`.
    pub at: Duration,
    /// The address that the knock came from, for the history. Nothing depends on it.
    pub sender: IpAddr,
    /// Whether the knock was a datagram, for the history.
    pub is_datagram: bool,
}

/// Closes a door that a knock of the same client has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WithdrawDoor {
    /// The door's number.
    pub door: u32,
    /// The client's number.
    pub client: u32,
    /// The address that the door is open for.
    pub source: IpAddr,
}

/// Opens a door that a knock at another node of the fleet has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MirrorDoor {
    /// The door's number.
    pub door: u32,
    /// The client's number.
    pub client: u32,
    /// The address that the door is opened for.
    pub source: IpAddr,
    /// What is left of the lease, in whole seconds.
    pub lease: Duration,
    /// The address that the knock came from.
    pub sender: IpAddr,
}

/// Closes everything that a client has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpelClient {
    /// The client's number.
    pub client: u32,
}

/// Closes doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloseDoors {
    /// The number of the query that waits for the answer.
    pub query: u32,
    /// The door's number. `None`: every door.
    pub door: Option<u32>,
    /// The source address that the doors are open for.
    pub source: IpAddr,
}

/// Reloads the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReloadConfig {
    /// The number of the query that waits for the answer.
    pub query: u32,
}

/// Requests the supervisor's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetReport {
    /// The number of the query that waits for the answer.
    pub query: u32,
    /// Whether to count the kernel's leases, which may take a while.
    pub count_leases: bool,
}

/// The reason that a packet is not a request that the supervisor handles. Only a broken listener,
/// or one that an attacker controls, sends such a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidRequest {
    /// The length is not [`REQUEST_LEN`].
    #[error("a request has {REQUEST_LEN} bytes, and this one has {0} or more")]
    Length(usize),
    /// There is no such kind.
    #[error("there is no request of kind {0}")]
    Kind(u8),
    /// A field that the kind does not use is not zero, or the encoding is not the canonical one.
    #[error("a request of kind {0} has an unused field that is not zero")]
    Excess(RequestKind),
    /// A door cannot be opened for this address.
    #[error("{0} is not the address of a single host")]
    Source(IpAddr),
    /// The lease is out of range.
    #[error("a lease of {0} s is out of range")]
    Lease(u64),
    /// The kind is not allowed in the listener's phase.
    #[error("a request of kind {kind} is not allowed while the listener is {phase}")]
    Phase {
        /// The kind of the request.
        kind: RequestKind,
        /// The phase in which it was received.
        phase: Phase,
    },
}

/// The fields of a request, in the order of its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Fields {
    kind: u8,
    flag: u8,
    zero: [u8; 2],
    query: u32,
    door: u32,
    client: u32,
    source: [u8; 16],
    seconds: u64,
    at: u64,
    sender: [u8; 16],
}

impl Request {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> RequestKind {
        match self {
            Self::Ready => RequestKind::Ready,
            Self::Open(_) => RequestKind::Open,
            Self::Withdraw(_) => RequestKind::Withdraw,
            Self::Mirror(_) => RequestKind::Mirror,
            Self::Expel(_) => RequestKind::Expel,
            Self::Close(_) => RequestKind::Close,
            Self::Reload(_) => RequestKind::Reload,
            Self::Report(_) => RequestKind::Report,
            Self::Follow(_) => RequestKind::Follow,
            Self::Notify(_) => RequestKind::Notify,
            Self::Flush => RequestKind::Flush,
            Self::Ended => RequestKind::Ended,
            Self::Alive => RequestKind::Alive,
        }
    }

    /// The canonical encoding.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; REQUEST_LEN] {
        let none = Fields {
            kind: self.kind().to_byte(),
            ..Fields::default()
        };
        let fields = match *self {
            Self::Ready | Self::Flush | Self::Ended | Self::Alive => none,
            Self::Open(open) => Fields {
                flag: open.is_datagram.into(),
                query: open.query,
                door: open.door,
                client: open.client,
                source: octets(open.source),
                seconds: open.lease.as_secs(),
                at: u64::try_from(open.at.as_nanos()).unwrap_or(u64::MAX),
                sender: octets(open.sender),
                ..none
            },
            Self::Withdraw(withdraw) => Fields {
                door: withdraw.door,
                client: withdraw.client,
                source: octets(withdraw.source),
                ..none
            },
            Self::Mirror(mirror) => Fields {
                door: mirror.door,
                client: mirror.client,
                source: octets(mirror.source),
                seconds: mirror.lease.as_secs(),
                sender: octets(mirror.sender),
                ..none
            },
            Self::Expel(expel) => Fields {
                client: expel.client,
                ..none
            },
            Self::Close(close) => Fields {
                query: close.query,
                door: close.door.unwrap_or(EVERY_DOOR),
                source: octets(close.source),
                ..none
            },
            Self::Reload(reload) => Fields {
                query: reload.query,
                ..none
            },
            Self::Report(report) => Fields {
                query: report.query,
                flag: report.count_leases.into(),
                ..none
            },
            Self::Follow(flag) | Self::Notify(flag) => Fields {
                flag: flag.into(),
                ..none
            },
        };
        fields.to_bytes()
    }

    /// Decodes a packet.
    ///
    /// # Errors
    ///
    /// Returns an error if `bytes` is not the canonical encoding of a request, which
    /// [`Request::to_bytes`] returns.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidRequest> {
        let bytes: &[u8; REQUEST_LEN] = bytes
            .try_into()
            .map_err(|_| InvalidRequest::Length(bytes.len()))?;
        let fields = Fields::from_bytes(bytes);
        let kind = RequestKind::from_byte(fields.kind).ok_or(InvalidRequest::Kind(fields.kind))?;
        let Fields { query, door, .. } = fields;
        let request = match kind {
            RequestKind::Ready => Self::Ready,
            RequestKind::Open => Self::Open(OpenDoor {
                query,
                door,
                client: fields.client,
                source: host(fields.source)?,
                lease: fields.lease()?,
                at: Duration::from_nanos(fields.at),
                sender: host(fields.sender)?,
                is_datagram: fields.flag == 1,
            }),
            RequestKind::Withdraw => Self::Withdraw(WithdrawDoor {
                door,
                client: fields.client,
                source: host(fields.source)?,
            }),
            RequestKind::Mirror => Self::Mirror(MirrorDoor {
                door,
                client: fields.client,
                source: host(fields.source)?,
                lease: fields.lease()?,
                sender: host(fields.sender)?,
            }),
            RequestKind::Expel => Self::Expel(ExpelClient {
                client: fields.client,
            }),
            RequestKind::Close => Self::Close(CloseDoors {
                query,
                door: (door != EVERY_DOOR).then_some(door),
                source: host(fields.source)?,
            }),
            RequestKind::Reload => Self::Reload(ReloadConfig { query }),
            RequestKind::Report => Self::Report(GetReport {
                query,
                count_leases: fields.flag == 1,
            }),
            RequestKind::Follow => Self::Follow(fields.flag == 1),
            RequestKind::Notify => Self::Notify(fields.flag == 1),
            RequestKind::Flush => Self::Flush,
            RequestKind::Ended => Self::Ended,
            RequestKind::Alive => Self::Alive,
        };
        // One encoding per request, so that nothing can hide in unused bytes.
        if request.to_bytes() != *bytes {
            return Err(InvalidRequest::Excess(kind));
        }
        Ok(request)
    }
}

impl Fields {
    fn lease(&self) -> Result<Duration, InvalidRequest> {
        let lease = Duration::from_secs(self.seconds);
        if lease.is_zero() || lease > MAX_LEASE {
            return Err(InvalidRequest::Lease(self.seconds));
        }
        Ok(lease)
    }

    fn to_bytes(self) -> [u8; REQUEST_LEN] {
        let mut bytes = [0; REQUEST_LEN];
        bytes[0] = self.kind;
        bytes[1] = self.flag;
        bytes[2..4].copy_from_slice(&self.zero);
        bytes[4..8].copy_from_slice(&self.query.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.door.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.client.to_le_bytes());
        bytes[16..32].copy_from_slice(&self.source);
        bytes[32..40].copy_from_slice(&self.seconds.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.at.to_le_bytes());
        bytes[48..64].copy_from_slice(&self.sender);
        bytes
    }

    fn from_bytes(bytes: &[u8; REQUEST_LEN]) -> Self {
        Self {
            kind: bytes[0],
            flag: bytes[1],
            zero: field(bytes, 2),
            query: u32::from_le_bytes(field(bytes, 4)),
            door: u32::from_le_bytes(field(bytes, 8)),
            client: u32::from_le_bytes(field(bytes, 12)),
            source: field(bytes, 16),
            seconds: u64::from_le_bytes(field(bytes, 32)),
            at: u64::from_le_bytes(field(bytes, 40)),
            sender: field(bytes, 48),
        }
    }
}

/// The host whose address has these octets.
fn host(octets: [u8; 16]) -> Result<IpAddr, InvalidRequest> {
    let address = Ipv6Addr::from(octets).to_canonical();
    if is_unicast(address) {
        Ok(address)
    } else {
        Err(InvalidRequest::Source(address))
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
mod tests;
