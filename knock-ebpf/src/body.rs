//! The payload of a datagram that is as long as a knock.

use core::mem::transmute;

use knock_common::datagram::{DATAGRAM_LEN, MAC1_AT};

use crate::packet::Header;

const WORDS: usize = DATAGRAM_LEN / size_of::<u64>();

/// The payload, at an even address.
#[repr(C, packed(2))]
pub(crate) struct Body {
    words: [u64; WORDS],
}

impl Body {
    /// The word of this index, in little-endian order.
    #[inline(always)]
    pub(crate) fn word(&self, index: usize) -> u64 {
        u64::from_le(load(&raw const self.words[index]))
    }

    /// The word of `mac1`.
    #[inline(always)]
    pub(crate) fn mac1(&self) -> u64 {
        self.word(MAC1_AT / size_of::<u64>())
    }

    /// All bytes.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> [u8; DATAGRAM_LEN] {
        // SAFETY: both are arrays of as many bytes.
        unsafe { transmute(self.words) }
    }
}

/// Loads a word with one instruction. The compiler would load it in four parts, because it has no
/// processor to ask whether there are unaligned loads; this program is loaded only where there are
/// (see [`crate::frame`]).
#[cfg(target_arch = "bpf")]
#[inline(always)]
fn load(at: *const u64) -> u64 {
    let word;
    // SAFETY: `at` comes from a reference to a `Body`, whose bytes stay readable and unchanged. The
    // instruction only reads them.
    unsafe {
        core::arch::asm!(
            "{word} = *(u64 *)({at} + 0)",
            at = in(reg) at,
            word = lateout(reg) word,
            options(pure, readonly, nostack, preserves_flags)
        );
    }
    word
}

#[cfg(not(target_arch = "bpf"))]
#[inline(always)]
fn load(at: *const u64) -> u64 {
    // SAFETY: as above.
    unsafe { at.read_unaligned() }
}

// SAFETY: only integers, and `packed` makes the alignment 2: every bit pattern is valid.
unsafe impl Header for Body {}

const _: () = assert!(size_of::<Body>() == DATAGRAM_LEN && align_of::<Body>() == 2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::over;

    #[test]
    fn a_body_is_its_bytes_and_its_words() {
        let bytes: [u8; DATAGRAM_LEN] = core::array::from_fn(|at| u8::try_from(at).unwrap());
        over(&bytes, |mut cursor| {
            let body = cursor.take::<Body>().unwrap();
            assert_eq!(body.bytes(), bytes);
            assert_eq!(body.word(1), 0x0f0e_0d0c_0b0a_0908);
            assert_eq!(body.mac1().to_le_bytes(), bytes[MAC1_AT..]);
        });
    }
}
