//! SipHash-2-4 in BPF assembler. It has the same steps as `knock_common::datagram`.
//!
//! The compiler's code takes a sixth longer: it keeps a part of the state in memory. It also loads each
//! word in four parts, because it does not know whether the processor has unaligned loads. All that
//! knockd is packaged for have them. On others the verifier rejects the program if there are knock
//! datagrams. BPF has no rotation.

use core::arch::asm;

use knock_common::datagram::{FINALISED, LAST_WORD, Mac1Key};

use super::Body;

/// `value = value.rotate_left(left)`, where `right` is 64 - `left`.
macro_rules! rotate {
    ($value:literal, $left:literal, $right:literal) => {
        concat!(
            "{t} = ",
            $value,
            "\n",
            "{t} >>= ",
            $right,
            "\n",
            $value,
            " <<= ",
            $left,
            "\n",
            $value,
            " |= {t}\n",
        )
    };
}

macro_rules! round {
    () => {
        concat!(
            "{v0} += {v1}\n",
            rotate!("{v1}", 13, 51),
            "{v1} ^= {v0}\n",
            rotate!("{v0}", 32, 32),
            "{v2} += {v3}\n",
            rotate!("{v3}", 16, 48),
            "{v3} ^= {v2}\n",
            "{v0} += {v3}\n",
            rotate!("{v3}", 21, 43),
            "{v3} ^= {v0}\n",
            "{v2} += {v1}\n",
            rotate!("{v1}", 17, 47),
            "{v1} ^= {v2}\n",
            rotate!("{v2}", 32, 32),
        )
    };
}

/// Absorbs the word at `offset` of the payload.
macro_rules! absorb {
    ($offset:literal) => {
        concat!(
            "{word} = *(u64 *)({body} + ",
            $offset,
            ")\n",
            "{v3} ^= {word}\n",
            round!(),
            round!(),
            "{v0} ^= {word}\n",
        )
    };
}

impl Body {
    #[inline(always)]
    pub(super) fn right_mac1(&self, key: Mac1Key) -> u64 {
        let [mut v0, mut v1, mut v2, mut v3] = key.state();
        // SAFETY: the instructions read the first 136 bytes of `self`, and write only the registers
        // that are named.
        unsafe {
            asm!(
                absorb!(0), absorb!(8), absorb!(16), absorb!(24), absorb!(32), absorb!(40),
                absorb!(48), absorb!(56), absorb!(64), absorb!(72), absorb!(80), absorb!(88),
                absorb!(96), absorb!(104), absorb!(112), absorb!(120), absorb!(128),
                body = in(reg) self,
                word = out(reg) _,
                t = out(reg) _,
                v0 = inout(reg) v0,
                v1 = inout(reg) v1,
                v2 = inout(reg) v2,
                v3 = inout(reg) v3,
                options(pure, readonly, nostack, preserves_flags),
            );
        }
        v3 ^= LAST_WORD;
        [v0, v1, v2, v3] = two_rounds([v0, v1, v2, v3]);
        v0 ^= LAST_WORD;
        v2 ^= FINALISED;
        [v0, v1, v2, v3] = two_rounds(two_rounds([v0, v1, v2, v3]));
        v0 ^ v1 ^ v2 ^ v3
    }
}

#[inline(always)]
fn two_rounds([mut v0, mut v1, mut v2, mut v3]: [u64; 4]) -> [u64; 4] {
    // SAFETY: the instructions access only the registers that are named.
    unsafe {
        asm!(
            round!(), round!(),
            t = out(reg) _,
            v0 = inout(reg) v0,
            v1 = inout(reg) v1,
            v2 = inout(reg) v2,
            v3 = inout(reg) v3,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    [v0, v1, v2, v3]
}
