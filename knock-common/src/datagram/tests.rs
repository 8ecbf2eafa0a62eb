use core::hash::Hasher as _;

use proptest::prelude::*;
use siphasher::sip::SipHasher24;

use super::*;

/// The key of the protocol's vectors, and two of their datagrams.
const KEY: [u8; 16] = 0x3f54375485e5e0b5cf142c1022957ed5_u128.to_be_bytes();
const DATAGRAMS: [&str; 2] = [
    "1abd837630950772b6f7f80b9abd251af1683121f34a106846ee7f986c04e81b58e903777c84eba72c516948f158a8521cec11ff138adae0c65f9b56236718d1d5980365f58b7d5de0b22f42aee1444acd2730ece413017aad897db591440f81d366d7290ca8ae00af4bb1763aafc89a4e2887de9e70789201ecd88b98cb93cec08934281bb3f5ef2848a82c55b98ebb",
    "599a7277f37bdcf4b3f403679eff60c9decc1a2eac52633a41302d6baaa08e5f15c2b0626d671b902bfa150302cd918561a14c9f700e414dc603970f6a49bc64b88b4a0d4f56fb23f80fc13418bdf962892d25a9f4322c2c97d8f41b47929a08eb3fbd86cd87b01fd2727725d744ac8e3eb20f1ee123148457089e8084a7de5aebdb38480724202bbce6063732798c7b",
];

fn bytes<const N: usize>(hex: &str) -> [u8; N] {
    assert_eq!(hex.len(), 2 * N);
    core::array::from_fn(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
}

fn sealed(datagram: &[u8; DATAGRAM_LEN]) -> ([u8; MAC1_AT], [u8; 8]) {
    let (covered, mac1) = datagram.split_first_chunk().unwrap();
    (*covered, mac1.try_into().unwrap())
}

#[test]
fn the_vector_of_the_reference() {
    let key = Mac1Key::from_bytes(core::array::from_fn(|at| u8::try_from(at).unwrap()));
    let covered = core::array::from_fn(|at| u8::try_from(at).unwrap());
    assert_eq!(mac1(key, &covered), bytes("8b444aba7fac3dd4"));
}

#[test]
fn the_datagrams_of_the_protocol() {
    for datagram in DATAGRAMS {
        let (covered, expected) = sealed(&bytes(datagram));
        assert_eq!(mac1(Mac1Key::from_bytes(KEY), &covered), expected);
    }
}

proptest! {
    #[test]
    fn it_is_siphash(key: [u8; 16], covered in prop::collection::vec(any::<u8>(), MAC1_AT)) {
        let mut reference = SipHasher24::new_with_key(&key);
        reference.write(&covered);
        let covered = covered.try_into().unwrap();
        let found = mac1(Mac1Key::from_bytes(key), &covered);
        prop_assert_eq!(found, reference.finish().to_le_bytes());
    }
}
