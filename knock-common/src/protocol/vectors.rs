//! The codec against every classic vector of `vectors.json`, the project's copy of the
//! protocol's test vectors. Its sealed vectors wait for the sealed protocol.

use std::{string::String, vec::Vec};

use serde::Deserialize;

use super::{block::Block, classic::Sequence, key::ClassicKey};
use crate::window::Window;

#[derive(Deserialize)]
struct Vectors {
    classic: Vec<Classic>,
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

fn hex(digits: &str) -> [u8; 16] {
    u128::from_str_radix(digits, 16).unwrap().to_be_bytes()
}

#[test]
fn classic_vectors_hold_both_ways() {
    let vectors: Vectors = serde_json::from_str(include_str!("vectors.json")).unwrap();
    assert_eq!(vectors.classic.len(), 5);
    for vector in vectors.classic {
        let key = ClassicKey::from_passphrase(vector.passphrase.as_bytes());
        let sequence = Sequence::new(&vector.sequence).unwrap();
        let window = Window::new(vector.base).unwrap();
        let block = Block(hex(&vector.block));
        assert_eq!(sequence.plaintext().as_bytes(), &hex(&vector.plaintext));
        assert_eq!(key.encipher(sequence.plaintext()), block);
        assert_eq!(block.ports(window).as_slice(), vector.ports);

        let offsets: Vec<u8> = vector
            .ports
            .iter()
            .filter_map(|p| window.offset_of(*p))
            .collect();
        let received = Block(offsets.try_into().unwrap());
        assert_eq!(key.decipher(&received), Ok(sequence.plaintext().clone()));
    }
}
