//! Blocks that are deciphered together.

use core::fmt;

use aes::cipher::{Array, BlockCipherDecrypt, consts::U16};
use zeroize::Zeroize as _;

use crate::protocol::block::{BLOCK_LEN, Block, Plaintext};

/// The most blocks in a [`Tile`].
pub const TILE_LEN: usize = 64;

/// Fewer blocks than this are deciphered one by one. For more, it is faster to decipher a whole tile,
/// since a processor with vector instructions works at 64 blocks at once, and at no fewer. On one
/// without AES instructions this takes up to twice as long.
const FEW: usize = 32;

/// Up to [`TILE_LEN`] blocks that are deciphered under one key after another. With many keys, their
/// schedules do not fit in the processor's cache: a tile loads each of them once for all its blocks,
/// and the processor deciphers several blocks at the same time.
pub struct Tile {
    blocks: [[u8; BLOCK_LEN]; TILE_LEN],
    /// Wiped when dropped.
    deciphered: [[u8; BLOCK_LEN]; TILE_LEN],
    len: usize,
}

impl Tile {
    /// A tile with the first [`TILE_LEN`] of `blocks`.
    #[must_use]
    pub fn new(blocks: impl IntoIterator<Item = Block>) -> Self {
        let mut tile = Self {
            blocks: [[0; BLOCK_LEN]; TILE_LEN],
            deciphered: [[0; BLOCK_LEN]; TILE_LEN],
            len: 0,
        };
        for (place, block) in tile.blocks.iter_mut().zip(blocks) {
            *place = block.0;
            tile.len += 1;
        }
        tile
    }

    /// Calls `found` for each block with valid parity under the key of `cipher`, with its place and its
    /// plaintext. A block that was enciphered under another key has it with a probability of 1/256.
    pub(super) fn decipher(
        &mut self,
        cipher: &impl BlockCipherDecrypt<BlockSize = U16>,
        mut found: impl FnMut(usize, Plaintext),
    ) {
        let blocks = Array::cast_slice_from_core(&self.blocks);
        let deciphered = Array::cast_slice_from_core_mut(&mut self.deciphered);
        if self.len < FEW {
            for place in 0..self.len {
                cipher.decrypt_block_b2b(&blocks[place], &mut deciphered[place]);
                let bytes = deciphered[place].0;
                if has_parity(fold(halves(&bytes))) {
                    found_at(place, bytes, &mut found);
                }
            }
            return;
        }
        let Ok(()) = cipher.decrypt_blocks_b2b(blocks, deciphered) else {
            unreachable!("both slices have the same length")
        };
        // Loops without branches, so that the compiler uses vector instructions. Otherwise, they would
        // take longer than the cipher.
        let mut words = [0; TILE_LEN];
        for (word, bytes) in words.iter_mut().zip(&self.deciphered) {
            *word = halves(bytes);
        }
        let mut is_any = 0;
        for word in &mut words {
            *word = fold(*word);
            is_any |= (*word & 0xff).wrapping_sub(1);
        }
        if is_any >> (u64::BITS - 1) == 0 {
            return;
        }
        for (place, word) in words.iter().enumerate().take(self.len) {
            if has_parity(*word) {
                found_at(place, self.deciphered[place], &mut found);
            }
        }
    }
}

/// The XOR of both halves of the bytes.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the halves are taken apart"
)]
#[inline(always)]
fn halves(bytes: &[u8; BLOCK_LEN]) -> u64 {
    let bytes = u128::from_ne_bytes(*bytes);
    bytes as u64 ^ (bytes >> 64) as u64
}

/// The XOR of all bytes of `word`, as the lowest byte of the result.
#[inline(always)]
fn fold(word: u64) -> u64 {
    let word = word ^ word >> 32;
    let word = word ^ word >> 16;
    word ^ word >> 8
}

/// Whether the XOR of all bytes is zero, in the result of [`fold`].
#[inline(always)]
fn has_parity(word: u64) -> bool {
    word & 0xff == 0
}

#[cold]
fn found_at(place: usize, bytes: [u8; BLOCK_LEN], found: &mut impl FnMut(usize, Plaintext)) {
    if let Ok(plaintext) = Plaintext::checked(bytes) {
        found(place, plaintext);
    }
}

impl Drop for Tile {
    fn drop(&mut self) {
        let used = if self.len < FEW { self.len } else { TILE_LEN };
        self.deciphered[..used].as_flattened_mut().zeroize();
    }
}

impl fmt::Debug for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tile(.. {} blocks)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use std::{format, vec::Vec};

    use proptest::prelude::*;

    use super::*;
    use crate::protocol::syn::{SYN_SECRET_LEN, SynKey, SynSecret};

    #[test]
    fn debug_shows_no_plaintext() {
        let tile = Tile::new([Block([65; BLOCK_LEN]); 3]);
        assert_eq!(format!("{tile:?}"), "Tile(.. 3 blocks)");
    }

    proptest! {
        #[test]
        fn finds_the_blocks_that_are_deciphered_one_by_one(
            secret: [u8; SYN_SECRET_LEN],
            bodies in prop::collection::vec(any::<[u8; 15]>(), 0..70),
            others: u64,
        ) {
            let key = SynKey::new(&SynSecret::new(secret));
            // Some are the client's, and the others random.
            let blocks: Vec<_> = bodies.iter().enumerate().map(|(place, body)| {
                let plaintext = Plaintext::new(body);
                if others >> (place % 64) & 1 == 0 {
                    key.encipher(&plaintext)
                } else {
                    Block(*plaintext.as_bytes())
                }
            }).collect();
            let alone: Vec<_> = blocks.iter().take(TILE_LEN).enumerate()
                .filter_map(|(place, block)| Some((place, key.decipher(block).ok()?)))
                .collect();
            let mut tile = Tile::new(blocks);
            // A tile is used again for the next key.
            for _ in 0..2 {
                let mut together = Vec::new();
                key.decipher_all(&mut tile, |place, text| together.push((place, text)));
                prop_assert_eq!(&together, &alone);
            }
        }
    }
}
