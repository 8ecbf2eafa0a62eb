//! Tests the codec in both directions against `vectors.json`, the test vectors of the protocol.

use core::{net::IpAddr, time::Duration};
use std::{
    string::{String, ToString as _},
    vec::Vec,
};

use serde::Deserialize;

use super::{
    block::{Block, Plaintext},
    classic::Sequence,
    key::{ClassicKey, SealedKey, SecretKey},
    sealed::{Binding, DoorTag, Request, RequestedLease, Time40},
};
use crate::window::Window;

#[derive(Deserialize)]
struct Vectors {
    classic: Vec<Classic>,
    sealed: Vec<Sealed>,
}

#[derive(Deserialize)]
struct Classic {
    passphrase: String,
    sequence: Vec<u8>,
    base: u16,
    plaintext: String,
    block: String,
    ports: Vec<u16>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(
    not(feature = "passphrase"),
    expect(dead_code, reason = "two fields are used only to derive keys")
)]
struct Sealed {
    passphrase: Option<String>,
    client: Option<String>,
    key: String,
    key_file: String,
    door: String,
    unix_ms: u64,
    source: Option<IpAddr>,
    lease_seconds: u16,
    random: u8,
    base: u16,
    plaintext: String,
    block: String,
    ports: Vec<u16>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn hex(digits: &str) -> [u8; 16] {
    u128::from_str_radix(digits, 16).unwrap().to_be_bytes()
}

fn received(ports: &[u16], window: Window) -> Block {
    let offsets: Vec<u8> = ports.iter().filter_map(|p| window.offset_of(*p)).collect();
    Block(offsets.try_into().unwrap())
}

#[test]
fn classic_vectors_hold_both_ways() {
    let vectors = vectors().classic;
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        let key = ClassicKey::from_passphrase(vector.passphrase.as_bytes());
        let sequence = Sequence::new(&vector.sequence).unwrap();
        let window = Window::new(vector.base).unwrap();
        let block = Block(hex(&vector.block));
        assert_eq!(sequence.plaintext().as_bytes(), &hex(&vector.plaintext));
        assert_eq!(key.encipher(sequence.plaintext()), block);
        assert_eq!(block.ports(window).as_slice(), vector.ports);

        let received = received(&vector.ports, window);
        assert_eq!(key.decipher(&received), Ok(sequence.plaintext().clone()));
    }
}

impl Sealed {
    fn secret(&self) -> SecretKey {
        let (high, low) = self.key.split_at(32);
        SecretKey::new([hex(high), hex(low)].concat().try_into().unwrap())
    }

    fn request(&self) -> Request {
        Request {
            door: DoorTag::of(&self.door),
            time: Time40::from_unix_ms(self.unix_ms),
            binding: self
                .source
                .map_or(Binding::Unbound, |source| Binding::to(source).unwrap()),
            lease: match self.lease_seconds {
                0 => RequestedLease::DoorsDefault,
                seconds => RequestedLease::of(Duration::from_secs(seconds.into())).unwrap(),
            },
            random: self.random,
        }
    }
}

#[test]
fn sealed_vectors_hold_both_ways() {
    let vectors = vectors().sealed;
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        let key = SealedKey::new(&vector.secret());
        let request = vector.request();
        let window = Window::new(vector.base).unwrap();
        let block = Block(hex(&vector.block));
        assert_eq!(request.plaintext().as_bytes(), &hex(&vector.plaintext));
        assert_eq!(request.seal(&key), block);
        assert_eq!(block.ports(window).as_slice(), vector.ports);

        let opened = Request::open(&key, &received(&vector.ports, window)).unwrap();
        assert_eq!(opened, request);
        let plaintext = Plaintext::checked(hex(&vector.plaintext)).unwrap();
        assert_eq!(Request::from_plaintext(&plaintext), Ok(request));
        assert_eq!(opened.time.nearest_unix_ms(vector.unix_ms), vector.unix_ms);
        assert_eq!(opened.check_time(vector.unix_ms, Duration::ZERO), Ok(()));
        assert_eq!(opened.binding.is_bound(), vector.source.is_some());
        if let Some(source) = vector.source {
            assert!(opened.binding.allows(source));
        }
    }
}

#[test]
fn key_files_hold_both_ways() {
    for vector in vectors().sealed {
        let secret = vector.secret();
        assert_eq!(secret.key_file_text().to_string(), vector.key_file);
        let parsed = SecretKey::from_key_file(vector.key_file.as_bytes());
        assert_eq!(parsed, Ok(secret));
    }
}

#[cfg(feature = "passphrase")]
#[test]
fn passphrases_yield_their_keys() {
    let mut derived = 0;
    for vector in vectors().sealed {
        let Some(passphrase) = &vector.passphrase else {
            assert_eq!(vector.client, None);
            continue;
        };
        let client = vector.client.as_ref().unwrap();
        let secret = SecretKey::from_passphrase(passphrase.as_bytes(), client);
        assert_eq!(secret, Ok(vector.secret()));
        derived += 1;
    }
    assert_eq!(derived, 1);
}
