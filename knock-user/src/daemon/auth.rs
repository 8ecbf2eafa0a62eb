//! Who may open what: a block is tried against every client's key.

use knock_common::protocol::{
    block::{Block, Plaintext},
    classic::Sequence,
    key::ClassicKey,
};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use super::config::{Client, Door};

/// What an accepted knock asks for, as indices into the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Who knocked.
    pub client: usize,
    /// The door that is opened to him.
    pub door: usize,
}

/// Why a block is no knock, as far as the checks came with any client's key. Never told to
/// the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Refusal {
    /// No key deciphers it: a wrong passphrase, or noise.
    #[error("bad parity: no client's key fits these 16 SYNs")]
    BadParity,
    /// The parity holds, as it does for one noise in 256, but no door has the sequence.
    #[error("no door has this sequence")]
    UnknownSequence,
    /// A client knocked at a door that is not his.
    #[error("this client may not open this door")]
    ClientNotAllowed,
}

/// The keys and the doors that they fit.
#[derive(Debug)]
pub struct Authenticator {
    keys: Vec<ClassicKey>,
    doors: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    sequence: Sequence,
    clients: Vec<usize>,
}

impl Authenticator {
    /// An authenticator for `clients` and `doors`; a [`Grant`] has their indices.
    #[must_use]
    pub fn new(clients: &[Client], doors: &[Door]) -> Self {
        Self {
            keys: clients.iter().map(|client| client.key.clone()).collect(),
            doors: doors
                .iter()
                .map(|door| Rule {
                    sequence: door.sequence.clone(),
                    clients: door.clients.clone(),
                })
                .collect(),
        }
    }

    /// Tries `block` against every key: one block operation each.
    ///
    /// # Errors
    ///
    /// The [`Refusal`] of the client with whose key the checks came furthest.
    pub fn verify(&self, block: &Block) -> Result<Grant, Refusal> {
        let mut furthest = Refusal::BadParity;
        for (client, key) in self.keys.iter().enumerate() {
            let attempt = key
                .decipher(block)
                .map_err(|_| Refusal::BadParity)
                .and_then(|plaintext| self.door(client, &plaintext));
            match attempt {
                Ok(door) => return Ok(Grant { client, door }),
                Err(refusal) => furthest = furthest.max(refusal),
            }
        }
        Err(furthest)
    }

    fn door(&self, client: usize, plaintext: &Plaintext) -> Result<usize, Refusal> {
        let door = self
            .doors
            .iter()
            .position(|rule| rule.sequence.plaintext().ct_eq(plaintext).into())
            .ok_or(Refusal::UnknownSequence)?;
        if self.doors[door].clients.contains(&client) {
            Ok(door)
        } else {
            Err(Refusal::ClientNotAllowed)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(passphrase: &str) -> ClassicKey {
        ClassicKey::from_passphrase(passphrase.as_bytes())
    }

    fn sequence(bytes: &[u8]) -> Sequence {
        Sequence::new(bytes).unwrap()
    }

    fn authenticator() -> Authenticator {
        Authenticator {
            keys: vec![key("laptop's"), key("phone's")],
            doors: vec![
                Rule {
                    sequence: sequence(&[1, 2, 3, 4]),
                    clients: vec![0, 1],
                },
                Rule {
                    sequence: sequence(&[9]),
                    clients: vec![1],
                },
            ],
        }
    }

    fn knock(passphrase: &str, bytes: &[u8]) -> Block {
        key(passphrase).encipher(sequence(bytes).plaintext())
    }

    #[test]
    fn key_and_sequence_open_a_door() {
        let authenticator = authenticator();
        for (client, passphrase) in ["laptop's", "phone's"].iter().enumerate() {
            let block = knock(passphrase, &[1, 2, 3, 4]);
            assert_eq!(authenticator.verify(&block), Ok(Grant { client, door: 0 }));
        }
        let block = knock("phone's", &[9]);
        assert_eq!(
            authenticator.verify(&block),
            Ok(Grant { client: 1, door: 1 })
        );
    }

    #[test]
    fn a_refusal_has_its_reason() {
        let authenticator = authenticator();
        for (block, refusal) in [
            (knock("laptop's", &[9]), Refusal::ClientNotAllowed),
            (knock("laptop's", &[1, 2, 3]), Refusal::UnknownSequence),
            (knock("tablet's", &[1, 2, 3, 4]), Refusal::BadParity),
        ] {
            assert_eq!(authenticator.verify(&block), Err(refusal));
        }
    }

    proptest! {
        #[test]
        fn random_blocks_are_refused(block: [u8; 16]) {
            prop_assert!(authenticator().verify(&Block(block)).is_err());
        }
    }
}
