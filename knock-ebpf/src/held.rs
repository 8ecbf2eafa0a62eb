//! Holds back the first SYNs of a new source while there is a flood, so that a SYN with a forged source
//! does not become an event: whoever forges sources at random uses each of them once.

use knock_common::address::Address;

use crate::maps::{HELD, HOLD, Held, Syn};

/// The SYNs of a source that has sent enough.
pub(crate) struct Earlier(*mut Held);

impl Earlier {
    /// The SYN with this number, below [`HOLD`].
    #[inline(always)]
    pub(crate) fn syn(&self, number: usize) -> Syn {
        // SAFETY: the pointer is to a map value, which stays allocated while the program runs. All of
        // its bit patterns are valid, also if another CPU writes it.
        unsafe { (&raw const (*self.0).syns[number]).read() }
    }
}

/// Holds `syn` back. If `source` has sent enough, returns those before it; [`release`] ends that.
#[inline(always)]
pub(crate) fn hold(source: Address, syn: Syn) -> Option<Earlier> {
    let Some(held) = HELD.get_ptr_mut(source) else {
        let held = Held {
            count: 1,
            syns: [syn; HOLD],
        };
        // If the map is full, the SYN is lost. The kernel makes room in an LRU map, so this is rare.
        let _ = HELD.insert(source, held, 0);
        return None;
    };
    // SAFETY: the pointer is to a map value, which stays allocated while the program runs. It is
    // accessed through the pointer only, since another CPU may do the same.
    unsafe {
        let count = (&raw const (*held).count).read();
        match count {
            1 => (&raw mut (*held).syns[1]).write(syn),
            2 => (&raw mut (*held).syns[2]).write(syn),
            _ => return Some(Earlier(held)),
        }
        (&raw mut (*held).count).write(count + 1);
    }
    None
}

/// Holds nothing of `source` any longer.
#[inline(always)]
pub(crate) fn release(source: Address) {
    // It fails if another CPU was faster.
    let _ = HELD.remove(source);
}
