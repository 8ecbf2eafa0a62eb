//! The datagram knock: the whole request in one encrypted UDP datagram (docs/protocol.md, "Datagram
//! knock").
//!
//! The message is `Noise_X_25519_ChaChaPoly_BLAKE2s` of the Noise Protocol Framework, revision 34.
//! It proves the client's key pair, and only the server can read it.

use core::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use noise_protocol::{DH, HandshakeState, U8Array as _, patterns::noise_x};
use noise_rust_crypto::{Blake2s, ChaCha20Poly1305, sensitive::Sensitive};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::datagram::{DATAGRAM_LEN, MAC1_AT, Mac1Key, mac1};

use super::{
    door::{DoorTag, LongTag},
    identity::{KEY_LEN, KeyPair, LowOrder, PrivateKey, PublicKey},
    lease::RequestedLease,
    stale::{Stale, check_age},
};

/// The protocol version, which is the first byte of the request.
pub const VERSION: u8 = 2;

/// The length of an encoded request, in bytes.
pub const REQUEST_LEN: usize = 40;

/// The length of the encrypted message, in bytes: two public keys, the request, and a tag for
/// each of the encrypted parts.
pub const MESSAGE_LEN: usize = MAC1_AT;

const PROLOGUE: &[u8] = b"knock2";

/// The address flag: the address is set.
const HAS_ADDRESS: u8 = 1;
/// The address flag: the address is not the sender's own.
const FOR_OTHER: u8 = 2;

/// The content of a datagram knock.
///
/// None of the fields is secret, so `Debug` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The door to open.
    pub door: LongTag,
    /// The time on the client's clock, in Unix milliseconds.
    pub unix_ms: u64,
    /// The address to open the door for.
    pub beneficiary: Beneficiary,
    /// How long the door should stay open.
    pub lease: RequestedLease,
}

/// The address that a request opens a door for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Beneficiary {
    /// Whatever address the datagram comes from. A door with `require_binding` refuses it.
    Sender,
    /// The sender, which must have this address.
    Bound(IpAddr),
    /// Another host. Only a door with `allow_other` accepts it.
    Other(IpAddr),
}

/// Why a message contains no valid request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// It was not made for this server, or was changed.
    Forged,
    /// The client proved its key, but the request is of an unknown version or malformed.
    Invalid(PublicKey, InvalidRequest),
}

/// Why 40 bytes are not a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidRequest {
    /// The version is unknown: an incompatible client.
    UnknownVersion(u8),
    /// A flag is unknown, the flags contradict each other, or bytes that must be zero are not.
    Malformed,
}

impl fmt::Display for InvalidRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVersion(version) => write!(f, "unknown version {version}"),
            Self::Malformed => f.write_str("malformed request"),
        }
    }
}

impl core::error::Error for InvalidRequest {}

impl Request {
    /// The datagram with the request of the client `own` for `server`. `ephemeral` must be random,
    /// and is used once.
    ///
    /// # Errors
    ///
    /// Returns [`LowOrder`] if `server` is not the public key of a key pair.
    pub fn seal(
        &self,
        own: &KeyPair,
        server: &PublicKey,
        ephemeral: PrivateKey,
    ) -> Result<[u8; DATAGRAM_LEN], LowOrder> {
        let mut noise: Noise = HandshakeState::new(
            noise_x(),
            true,
            PROLOGUE,
            Some(halves(own)),
            Some(halves(&KeyPair::from(ephemeral))),
            Some(server.0),
            None,
        );
        let mut message = [0; MESSAGE_LEN];
        noise
            .write_message(&*self.encode(), &mut message)
            .map_err(|_| LowOrder)?;
        let mut datagram = [0; DATAGRAM_LEN];
        datagram[..MAC1_AT].copy_from_slice(&message);
        datagram[MAC1_AT..].copy_from_slice(&mac1(mac1_key(server), &message));
        Ok(datagram)
    }

    /// Decrypts the message in a datagram to the server `own`; its `mac1` is not checked again.
    /// Returns the client's public key and the request. Costs one multiplication on the curve for a
    /// message that was not made for this server, else two.
    ///
    /// The result is not yet verified: the caller must check client, door, time, address and
    /// replay.
    ///
    /// # Errors
    ///
    /// Returns [`OpenError`] if the message or the request is invalid.
    pub fn open(
        own: &KeyPair,
        datagram: &[u8; DATAGRAM_LEN],
    ) -> Result<(PublicKey, Self), OpenError> {
        let mut noise: Noise = HandshakeState::new(
            noise_x(),
            false,
            PROLOGUE,
            Some(halves(own)),
            None,
            None,
            None,
        );
        let mut request = Zeroizing::new([0; REQUEST_LEN]);
        noise
            .read_message(message(datagram), request.as_mut_slice())
            .map_err(|_| OpenError::Forged)?;
        let client = PublicKey(noise.get_rs().ok_or(OpenError::Forged)?);
        match Self::decode(&request) {
            Ok(request) => Ok((client, request)),
            Err(invalid) => Err(OpenError::Invalid(client, invalid)),
        }
    }

    /// The encoded request.
    #[must_use]
    pub fn encode(&self) -> Zeroizing<[u8; REQUEST_LEN]> {
        let (flags, address) = match self.beneficiary {
            Beneficiary::Sender => (0, [0; 16]),
            Beneficiary::Bound(address) => (HAS_ADDRESS, mapped(address)),
            Beneficiary::Other(address) => (HAS_ADDRESS | FOR_OTHER, mapped(address)),
        };
        let mut bytes = Zeroizing::new([0; REQUEST_LEN]);
        bytes[0] = VERSION;
        bytes[1] = flags;
        bytes[2..10].copy_from_slice(&self.door.0);
        bytes[10..18].copy_from_slice(&self.unix_ms.to_be_bytes());
        bytes[18..34].copy_from_slice(&address);
        bytes[34..38].copy_from_slice(&self.lease.to_bytes());
        bytes
    }

    /// Decodes a request. Each request has exactly one encoding.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidRequest`] if the version is unknown or a flag or a byte is not valid.
    pub fn decode(bytes: &[u8; REQUEST_LEN]) -> Result<Self, InvalidRequest> {
        let [version, flags, rest @ ..] = bytes;
        if *version != VERSION {
            return Err(InvalidRequest::UnknownVersion(*version));
        }
        let (door, rest) = split::<8>(rest);
        let (unix_ms, rest) = split::<8>(rest);
        let (address, rest) = split::<16>(rest);
        let (lease, zero) = split::<4>(rest);
        let beneficiary = match *flags {
            0 if address == [0; 16] => Beneficiary::Sender,
            HAS_ADDRESS => Beneficiary::Bound(unmapped(address)),
            flags if flags == HAS_ADDRESS | FOR_OTHER => Beneficiary::Other(unmapped(address)),
            _ => return Err(InvalidRequest::Malformed),
        };
        if zero != [0; 2] {
            return Err(InvalidRequest::Malformed);
        }
        Ok(Self {
            door: DoorTag(door),
            unix_ms: u64::from_be_bytes(unix_ms),
            beneficiary,
            lease: RequestedLease::from_bytes(lease),
        })
    }

    /// Milliseconds from the request's time to `now` (Unix milliseconds); negative if the
    /// request's time is in the future.
    #[must_use]
    pub fn age_ms(&self, now: u64) -> i64 {
        let age = i128::from(now) - i128::from(self.unix_ms);
        i64::try_from(age).unwrap_or(if age < 0 { i64::MIN } else { i64::MAX })
    }

    /// Checks that the request's time differs from `now` (Unix milliseconds) by at most
    /// `max_skew`, in either direction.
    ///
    /// # Errors
    ///
    /// Returns [`Stale`] if it differs by more.
    pub fn check_time(&self, now: u64, max_skew: Duration) -> Result<(), Stale> {
        check_age(self.age_ms(now), max_skew)
    }
}

/// The identity of a datagram in the replay store: the first 16 bytes of its message's SHA-256.
#[must_use]
pub fn replay_id(datagram: &[u8; DATAGRAM_LEN]) -> [u8; 16] {
    first_16(Sha256::digest(message(datagram)).into())
}

/// What `mac1` covers.
fn message(datagram: &[u8; DATAGRAM_LEN]) -> &[u8] {
    &datagram[..MAC1_AT]
}

/// The key of `mac1` in datagrams to `server`: the first 16 bytes of
/// SHA-256(`knock2-mac1` || public key).
#[must_use]
pub fn mac1_key(server: &PublicKey) -> Mac1Key {
    let digest = Sha256::new()
        .chain_update(b"knock2-mac1")
        .chain_update(server.0)
        .finalize();
    Mac1Key::from_bytes(first_16(digest.into()))
}

fn first_16(digest: [u8; 32]) -> [u8; 16] {
    core::array::from_fn(|index| digest[index])
}

/// The first `N` bytes and the rest.
fn split<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    let (first, rest) = bytes.split_at(N);
    (core::array::from_fn(|index| first[index]), rest)
}

fn mapped(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

fn unmapped(address: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(address)).to_canonical()
}

type Noise = HandshakeState<X25519, ChaCha20Poly1305, Blake2s>;

/// The Diffie-Hellman function of the handshake. Its keys include their public half, which the
/// handshake needs several times.
enum X25519 {}

/// The private key and the public key of a pair.
type Halves = Sensitive<[u8; 2 * KEY_LEN]>;

fn halves(pair: &KeyPair) -> Halves {
    let mut halves = Halves::new();
    halves[..KEY_LEN].copy_from_slice(pair.private().expose());
    halves[KEY_LEN..].copy_from_slice(&pair.public().0);
    halves
}

impl DH for X25519 {
    type Key = Halves;
    type Pubkey = [u8; KEY_LEN];
    type Output = Sensitive<[u8; KEY_LEN]>;

    fn name() -> &'static str {
        "25519"
    }

    fn genkey() -> Halves {
        unreachable!("the handshake is given every key that it needs")
    }

    fn pubkey(key: &Halves) -> [u8; KEY_LEN] {
        core::array::from_fn(|index| key[KEY_LEN + index])
    }

    fn dh(key: &Halves, other: &[u8; KEY_LEN]) -> Result<Self::Output, ()> {
        let private = PrivateKey::new(core::array::from_fn(|index| key[index]));
        let shared = private.agree(&PublicKey(*other)).map_err(|_| ())?;
        Ok(Sensitive::from(shared))
    }
}

#[cfg(test)]
mod tests;
