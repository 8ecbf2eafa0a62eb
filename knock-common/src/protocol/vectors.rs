//! Tests the codec in both directions against `vectors.json`, the test vectors of the protocol.

use core::{net::IpAddr, time::Duration};
use std::{
    string::{String, ToString as _},
    vec::Vec,
};

use serde::Deserialize;

use super::{
    block::{Block, Plaintext},
    classic::{ClassicKey, Sequence},
    datagram::{self, Beneficiary, mac1_key, replay_id},
    door::{LongTag, ShortTag},
    identity::{KeyPair, Owner, PrivateKey, PublicKey},
    lease::{RequestedLease, ShortLease},
    syn::{Binding, Request, SynKey, SynSecret, Time40},
};
use crate::{
    datagram::{DATAGRAM_LEN, Mac1Key},
    window::Window,
};

#[derive(Deserialize)]
struct Vectors {
    classic: Vec<Classic>,
    syn: Vec<Syn>,
    datagram: Vec<Datagram>,
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

/// The key pairs of a client and a server.
#[derive(Deserialize)]
struct Keys {
    client_private: String,
    client_public: String,
    server_private: String,
    server_public: String,
}

#[derive(Deserialize)]
#[cfg_attr(
    not(feature = "passphrase"),
    expect(dead_code, reason = "two fields are used only to derive keys")
)]
struct Syn {
    #[serde(flatten)]
    keys: Keys,
    passphrase: Option<String>,
    client: Option<String>,
    key_file: Option<String>,
    server_key_file: Option<String>,
    client_public_text: Option<String>,
    server_public_text: Option<String>,
    syn_key: String,
    bind_key: String,
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

#[derive(Deserialize)]
struct Datagram {
    #[serde(flatten)]
    keys: Keys,
    ephemeral_private: String,
    door: String,
    unix_ms: u64,
    address: Option<IpAddr>,
    for_other: bool,
    lease_seconds: u32,
    mac1_key: String,
    datagram: String,
    replay_id: String,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("vectors.json")).unwrap()
}

fn hex<const LEN: usize>(digits: &str) -> [u8; LEN] {
    assert_eq!(digits.len(), 2 * LEN);
    core::array::from_fn(|index| u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).unwrap())
}

impl Keys {
    fn client(&self) -> KeyPair {
        let pair = KeyPair::from(PrivateKey::new(hex(&self.client_private)));
        assert_eq!(pair.public(), PublicKey(hex(&self.client_public)));
        pair
    }

    fn server(&self) -> KeyPair {
        let pair = KeyPair::from(PrivateKey::new(hex(&self.server_private)));
        assert_eq!(pair.public(), PublicKey(hex(&self.server_public)));
        pair
    }
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

impl Syn {
    fn secret(&self) -> SynSecret {
        let (client, server) = (self.keys.client(), self.keys.server());
        let secret = SynSecret::of_server(&server, &client.public()).unwrap();
        let of_client = SynSecret::of_client(&client, &server.public()).unwrap();
        assert_eq!(of_client.expose(), secret.expose());
        secret
    }

    fn lease(&self) -> ShortLease {
        match self.lease_seconds {
            0 => ShortLease::DOORS_DEFAULT,
            u16::MAX => ShortLease::CLOSE,
            seconds => {
                let lease = RequestedLease::of(Duration::from_secs(seconds.into())).unwrap();
                lease.try_into().unwrap()
            }
        }
    }

    fn request(&self, key: &SynKey) -> Request {
        Request {
            door: ShortTag::of(&self.door),
            time: Time40::from_unix_ms(self.unix_ms),
            binding: self
                .source
                .map_or(Binding::Unbound, |source| Binding::to(source, key)),
            lease: self.lease(),
            random: self.random,
        }
    }
}

#[test]
fn syn_vectors_hold_both_ways() {
    let vectors = vectors().syn;
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        let secret = vector.secret();
        let (syn, bind): ([u8; 32], [u8; 32]) = (hex(&vector.syn_key), hex(&vector.bind_key));
        assert_eq!(secret.expose().as_slice(), [syn, bind].as_flattened());

        let key = SynKey::new(&secret);
        let request = vector.request(&key);
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
            assert!(opened.binding.allows(source, &key));
        }
    }
}

impl Datagram {
    fn request(&self) -> datagram::Request {
        datagram::Request {
            door: LongTag::of(&self.door),
            unix_ms: self.unix_ms,
            beneficiary: match self.address {
                None => Beneficiary::Sender,
                Some(address) if self.for_other => Beneficiary::Other(address),
                Some(address) => Beneficiary::Bound(address),
            },
            lease: match self.lease_seconds {
                0 => RequestedLease::DOORS_DEFAULT,
                u32::MAX => RequestedLease::CLOSE,
                seconds => RequestedLease::of(Duration::from_secs(seconds.into())).unwrap(),
            },
        }
    }
}

#[test]
fn datagram_vectors_hold_both_ways() {
    let vectors = vectors().datagram;
    assert_eq!(vectors.len(), 5);
    for vector in vectors {
        let (client, server) = (vector.keys.client(), vector.keys.server());
        let datagram: [u8; DATAGRAM_LEN] = hex(&vector.datagram);
        let request = vector.request();
        let ephemeral = PrivateKey::new(hex(&vector.ephemeral_private));
        let sealed = request.seal(&client, &server.public(), ephemeral);
        assert_eq!(sealed, Ok(datagram));
        let opened = datagram::Request::open(&server, &datagram);
        assert_eq!(opened, Ok((client.public(), request)));
        assert_eq!(replay_id(&datagram), hex(&vector.replay_id));
        assert_eq!(
            mac1_key(&server.public()),
            Mac1Key::from_bytes(hex(&vector.mac1_key))
        );
    }
}

#[test]
fn key_texts_hold_both_ways() {
    let mut seen = 0;
    for vector in vectors().syn {
        let Some(key_file) = &vector.key_file else {
            continue;
        };
        seen += 1;
        let (client, server) = (vector.keys.client(), vector.keys.server());
        let server_file = vector.server_key_file.as_ref().unwrap();
        for (owner, pair, text) in [
            (Owner::Client, &client, key_file),
            (Owner::Server, &server, server_file),
        ] {
            assert_eq!(pair.private().key_file_text(owner).to_string(), *text);
            let parsed = PrivateKey::from_key_file(owner, text.as_bytes()).unwrap();
            assert_eq!(&parsed, pair.private());
        }
        for (pair, text) in [
            (&client, vector.client_public_text.unwrap()),
            (&server, vector.server_public_text.unwrap()),
        ] {
            assert_eq!(pair.public().to_string(), text);
            assert_eq!(text.parse(), Ok(pair.public()));
        }
    }
    assert_eq!(seen, 1);
}

#[cfg(feature = "passphrase")]
#[test]
fn passphrases_yield_their_keys() {
    let mut derived = 0;
    for vector in vectors().syn {
        let Some(passphrase) = &vector.passphrase else {
            assert_eq!(vector.client, None);
            continue;
        };
        let client = vector.client.as_ref().unwrap();
        let server = vector.keys.server().public();
        let key = PrivateKey::from_passphrase(passphrase.as_bytes(), &server, client);
        assert_eq!(key.as_ref(), Ok(vector.keys.client().private()));
        derived += 1;
    }
    assert_eq!(derived, 1);
}
