//! The datagram knock as far as the kernel checks it: its length, and `mac1` (docs/protocol.md,
//! "Datagram knock").
//!
//! `mac1` is SipHash-2-4 (Aumasson and Bernstein, 2012). Its key can be derived from the server's
//! public key.

/// The length of the datagram's payload, in bytes.
pub const DATAGRAM_LEN: usize = 144;

/// The place of `mac1` in the payload. It covers all bytes before it.
pub const MAC1_AT: usize = 136;

/// The last word that SipHash absorbs: the length modulo 256 in the highest byte. The other bytes are
/// zero, because none is left over after the last word of the payload.
pub const LAST_WORD: u64 = (MAC1_AT as u64 % 256) << 56;

/// What SipHash adds to `v2` before its last rounds.
pub const FINALISED: u64 = 0xff;

/// The key of `mac1`, as the state that the hash begins with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mac1Key {
    pub(crate) state: [u64; 4],
}

impl Mac1Key {
    /// The key with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
        let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let second = u64::from_le_bytes(rest);
        // "somepseudorandomlygeneratedbytes" in four words.
        let state = [
            first ^ 0x736f_6d65_7073_6575,
            second ^ 0x646f_7261_6e64_6f6d,
            first ^ 0x6c79_6765_6e65_7261,
            second ^ 0x7465_6462_7974_6573,
        ];
        Self { state }
    }

    /// The state `v0` to `v3` before the first word.
    #[must_use]
    #[inline(always)]
    pub const fn state(self) -> [u64; 4] {
        self.state
    }
}

/// `mac1` of a datagram whose first bytes are `covered`. The XDP program has code of its own for it,
/// which is written for the registers of BPF.
#[must_use]
pub fn mac1(key: Mac1Key, covered: &[u8; MAC1_AT]) -> [u8; 8] {
    let mut state = key.state();
    let (words, _) = covered.as_chunks();
    for word in words {
        absorb(&mut state, u64::from_le_bytes(*word));
    }
    absorb(&mut state, LAST_WORD);
    state[2] ^= FINALISED;
    for _ in 0..4 {
        round(&mut state);
    }
    let [v0, v1, v2, v3] = state;
    (v0 ^ v1 ^ v2 ^ v3).to_le_bytes()
}

fn absorb(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    round(state);
    round(state);
    state[0] ^= word;
}

fn round([v0, v1, v2, v3]: &mut [u64; 4]) {
    *v0 = v0.wrapping_add(*v1);
    *v1 = v1.rotate_left(13) ^ *v0;
    *v0 = v0.rotate_left(32);
    *v2 = v2.wrapping_add(*v3);
    *v3 = v3.rotate_left(16) ^ *v2;
    *v0 = v0.wrapping_add(*v3);
    *v3 = v3.rotate_left(21) ^ *v0;
    *v2 = v2.wrapping_add(*v1);
    *v1 = v1.rotate_left(17) ^ *v2;
    *v2 = v2.rotate_left(32);
}

const _: () = {
    assert!(MAC1_AT + size_of::<u64>() == DATAGRAM_LEN && MAC1_AT.is_multiple_of(8));
    assert!(size_of::<Mac1Key>() == 32);
};

#[cfg(test)]
mod tests;
