//! What the daemon tells the XDP program, before it attaches and while it runs.

use core::num::NonZeroU32;

use crate::{rate::Rate, window::Window};

/// What happens to a SYN that hits the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It is dropped: nothing answers, and a scanner sees a filtered port.
    #[default]
    Drop,
    /// The host's stack gets it, and usually answers with a reset.
    Pass,
}

/// How many events one source may put on the ring: 64 a second, 128 at once, which is a
/// knock in eight copies.
pub const DEFAULT_EVENT_RATE: Rate = rate(64, 128);

/// How many log lines each CPU writes while somebody tails: more than a person can read,
/// and little enough to be read in passing.
pub const LOG_RATE: Rate = rate(1000, 1000);

const fn rate(per_second: u32, burst: u32) -> Rate {
    match (NonZeroU32::new(per_second), NonZeroU32::new(burst)) {
        (Some(per_second), Some(burst)) => Rate::new(per_second, burst),
        _ => panic!("a rate is above zero"),
    }
}

/// The program's settings, the only value of the map `SETTINGS`.
///
/// Integers instead of enums: the kernel's side must never meet a bit pattern that its
/// compiler holds to be impossible.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Tokens for events, per source.
    pub rate: Rate,
    /// The first port of the window.
    pub window_base: u16,
    /// Whether SYNs to the window are dropped: 1 or 0.
    pub drop_knocks: u8,
    /// Whether every knock writes an aya-log line: 1 or 0.
    pub log: u8,
    /// Zero.
    pub reserved: u32,
}

impl Settings {
    /// Settings for `window`, with logging off.
    #[must_use]
    pub const fn new(window: Window, verdict: Verdict, rate: Rate) -> Self {
        Self {
            rate,
            window_base: window.base(),
            drop_knocks: matches!(verdict, Verdict::Drop) as u8,
            log: 0,
            reserved: 0,
        }
    }

    /// The same settings with the kernel's log lines on or off.
    #[must_use]
    pub const fn with_log(self, log: bool) -> Self {
        Self {
            log: log as u8,
            ..self
        }
    }
}

const _: () = {
    assert!(size_of::<Settings>() == 24);
    assert!(core::mem::offset_of!(Settings, window_base) == 16);
    assert!(core::mem::offset_of!(Settings, drop_knocks) == 18);
    assert!(core::mem::offset_of!(Settings, log) == 19);
};

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, `Copy`, only integers and no implicit padding (asserted above: the
// fields' sizes add up to the size of the whole).
unsafe impl aya::Pod for Settings {}
