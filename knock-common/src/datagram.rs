//! The datagram knock as far as the kernel checks it: its length, and `mac1` (docs/protocol.md, "The
//! datagram knock").
//!
//! `mac1` is SipHash-2-4 under a key that everybody can derive who knows the server's public key. The
//! XDP program and the host compute it with the same rounds.

/// The length of the datagram's payload, in bytes.
pub const DATAGRAM_LEN: usize = 144;

/// The place of `mac1` in the payload. It covers all bytes before it.
pub const MAC1_AT: usize = 136;

/// The length of what `mac1` covers, in words of eight bytes.
const WORDS: usize = MAC1_AT / size_of::<u64>();

/// The last block of SipHash: the length modulo 256 in the highest byte, because no byte is left over
/// after the last word.
const LENGTH: u64 = (MAC1_AT as u64 % 256) << 56;

/// The key of `mac1`: two words of eight bytes, so that the program loads it without shifts.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac1Key {
    pub(crate) first: u64,
    pub(crate) second: u64,
}

impl Mac1Key {
    /// The key with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
        Self {
            first: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            second: u64::from_le_bytes(rest),
        }
    }

    /// `mac1` as a little-endian word. `word` returns the word of this index of the payload, also
    /// little-endian.
    #[must_use]
    #[inline(always)]
    pub fn mac1_of(self, word: impl Fn(usize) -> u64) -> u64 {
        let mut hash = SipHash::new(self);
        for index in 0..WORDS {
            hash.absorb(word(index));
        }
        hash.absorb(LENGTH);
        hash.finish()
    }
}

/// `mac1` of a datagram whose first bytes are `covered`.
#[must_use]
pub fn mac1(key: Mac1Key, covered: &[u8; MAC1_AT]) -> [u8; 8] {
    let (words, _) = covered.as_chunks();
    key.mac1_of(|index| u64::from_le_bytes(words[index]))
        .to_le_bytes()
}

/// The state of SipHash-2-4 (Aumasson and Bernstein, 2012).
struct SipHash {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl SipHash {
    #[inline(always)]
    fn new(key: Mac1Key) -> Self {
        // "somepseudorandomlygeneratedbytes" in four words.
        Self {
            v0: key.first ^ 0x736f_6d65_7073_6575,
            v1: key.second ^ 0x646f_7261_6e64_6f6d,
            v2: key.first ^ 0x6c79_6765_6e65_7261,
            v3: key.second ^ 0x7465_6462_7974_6573,
        }
    }

    #[inline(always)]
    fn absorb(&mut self, word: u64) {
        self.v3 ^= word;
        self.round();
        self.round();
        self.v0 ^= word;
    }

    #[inline(always)]
    fn finish(mut self) -> u64 {
        self.v2 ^= 0xff;
        self.round();
        self.round();
        self.round();
        self.round();
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }

    #[inline(always)]
    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v0;
        self.v0 = self.v0.rotate_left(32);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(16) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(21) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(17) ^ self.v2;
        self.v2 = self.v2.rotate_left(32);
    }
}

const _: () = {
    assert!(MAC1_AT + size_of::<u64>() == DATAGRAM_LEN && MAC1_AT.is_multiple_of(8));
    assert!(size_of::<Mac1Key>() == 16);
};

#[cfg(test)]
mod tests;
