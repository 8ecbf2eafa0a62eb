//! The payload of a datagram that is as long as a knock, and its `mac1`.

use core::mem::transmute;

use knock_common::datagram::{DATAGRAM_LEN, MAC1_AT, Mac1Key};

use crate::packet::Header;

const WORDS: usize = DATAGRAM_LEN / size_of::<u64>();

/// The payload, at an even address.
#[repr(C, packed(2))]
pub(crate) struct Body {
    words: [u64; WORDS],
}

impl Body {
    /// The `mac1` of the payload.
    #[inline(always)]
    pub(crate) fn mac1(&self) -> u64 {
        u64::from_le(self.words[MAC1_AT / size_of::<u64>()])
    }

    /// Whether the `mac1` is right.
    #[inline(always)]
    pub(crate) fn is_authentic(&self, key: Mac1Key) -> bool {
        self.right_mac1(key) == self.mac1()
    }

    /// All bytes.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> [u8; DATAGRAM_LEN] {
        // SAFETY: both are arrays of as many bytes, and every bit pattern is valid.
        unsafe { transmute(self.words) }
    }
}

// SAFETY: only integers, and `packed` makes the alignment 2: every bit pattern is valid.
unsafe impl Header for Body {}

const _: () = assert!(size_of::<Body>() == DATAGRAM_LEN && align_of::<Body>() == 2);

#[cfg(not(target_arch = "bpf"))]
impl Body {
    fn right_mac1(&self, key: Mac1Key) -> u64 {
        use knock_common::datagram::mac1;

        let bytes = self.bytes();
        let covered = bytes.first_chunk().expect("the payload is longer");
        u64::from_le_bytes(mac1(key, covered))
    }
}

#[cfg(target_arch = "bpf")]
// `tests/fuzz` includes this file, and then a path is relative to it.
#[path = "body/siphash.rs"]
mod siphash;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::tests::over;

    #[test]
    fn a_body_is_its_bytes() {
        let bytes: [u8; DATAGRAM_LEN] = core::array::from_fn(|at| u8::try_from(at).unwrap());
        over(&bytes, |mut cursor| {
            let body = cursor.take::<Body>().unwrap();
            assert_eq!(body.bytes(), bytes);
            assert_eq!(body.mac1().to_le_bytes(), bytes[MAC1_AT..]);
        });
    }
}
