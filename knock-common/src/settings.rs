//! What the daemon tells the XDP program before the kernel loads it.

use core::{
    num::{NonZeroU32, NonZeroU64},
    ptr,
};

use crate::{
    counters::Outcome,
    gate::{MAX_PREFIX_LENS, Mode, PrefixLens, Transport},
    rate::Rate,
    window::Window,
};

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

/// How many log lines each CPU writes of what a gate that only observes would have dropped:
/// enough to see who is meant, too few to fill a disk.
pub const OBSERVED_RATE: Rate = rate(10, 20);

/// What the program has to know of a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// What it does with what it does not let in.
    pub mode: Mode,
    /// Whether a TCP port is protected.
    pub tcp: bool,
    /// Whether a UDP port is protected.
    pub udp: bool,
    /// Whether anybody is trusted.
    pub trusted: bool,
    /// The prefix lengths of IPv6 leases.
    pub prefix_lens: PrefixLens,
    /// How far apart datagrams may be that keep a lease going, in nanoseconds.
    pub udp_idle_ns: NonZeroU64,
}

const fn rate(per_second: u32, burst: u32) -> Rate {
    match (NonZeroU32::new(per_second), NonZeroU32::new(burst)) {
        (Some(per_second), Some(burst)) => Rate::new(per_second, burst),
        _ => panic!("a rate is above zero"),
    }
}

/// The program's settings: its constant `SETTINGS`, which the daemon overrides when it loads
/// the program. So the kernel's verifier knows them, and takes out what they leave unreachable.
///
/// Integers instead of enums: the kernel's side must never meet a bit pattern that its
/// compiler holds to be impossible.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Tokens for events, per source.
    rate: Rate,
    /// How far apart datagrams may be that keep a lease going; 0 without a gate.
    udp_idle_ns: u64,
    /// The outcomes that end with a drop: a bit for each [`Outcome`].
    drops: u32,
    /// The first port of the window.
    window_base: u16,
    /// What the gate looks at: a combination of [`TCP`], [`UDP`], [`TRUSTED`] and [`OBSERVE`].
    /// There is no gate if neither of the first two is in it.
    gate: u8,
    /// [`PrefixLens`].
    prefix_lens: [u8; MAX_PREFIX_LENS],
    /// Zero.
    reserved: [u8; 5],
}

const TCP: u8 = 1;
const UDP: u8 = 2;
const TRUSTED: u8 = 4;
const OBSERVE: u8 = 8;

const fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

/// A bit for each of `outcomes` if `set`.
const fn bits(set: bool, outcomes: &[Outcome]) -> u32 {
    let mut bits = 0;
    let mut index = 0;
    while set && index < outcomes.len() {
        bits |= 1 << outcomes[index] as u32;
        index += 1;
    }
    bits
}

/// Reads `field` where the program runs, and not when it is compiled: by then the daemon has
/// put other settings into its constant than those that the compiler sees there.
#[inline(always)]
fn loaded<T: Copy>(field: &T) -> T {
    // SAFETY: it is a reference.
    unsafe { ptr::read_volatile(field) }
}

impl Settings {
    /// Settings for `window`, without a gate.
    #[must_use]
    pub const fn new(window: Window, verdict: Verdict, rate: Rate) -> Self {
        Self {
            rate,
            udp_idle_ns: 0,
            drops: bits(
                matches!(verdict, Verdict::Drop),
                &[Outcome::Knock, Outcome::RateLimited, Outcome::RingFull],
            ),
            window_base: window.base(),
            gate: 0,
            prefix_lens: [0; MAX_PREFIX_LENS],
            reserved: [0; 5],
        }
    }

    /// The same settings with a gate.
    #[must_use]
    pub const fn with_gate(self, gate: &Gate) -> Self {
        Self {
            udp_idle_ns: gate.udp_idle_ns.get(),
            drops: self.drops
                | bits(
                    matches!(gate.mode, Mode::Enforce),
                    &[Outcome::GateRefused, Outcome::GateUnclear],
                ),
            gate: flag(gate.tcp, TCP)
                | flag(gate.udp, UDP)
                | flag(gate.trusted, TRUSTED)
                | flag(matches!(gate.mode, Mode::Observe), OBSERVE),
            prefix_lens: gate.prefix_lens.as_array(),
            ..self
        }
    }

    /// Tokens for events, per source.
    #[must_use]
    #[inline(always)]
    pub fn rate(&self) -> Rate {
        Rate {
            interval_ns: loaded(&self.rate.interval_ns),
            burst_ns: loaded(&self.rate.burst_ns),
        }
    }

    /// Where `port` stands in the window, if it does.
    #[must_use]
    #[inline(always)]
    pub fn offset_of(&self, port: u16) -> Option<u8> {
        u8::try_from(port.wrapping_sub(loaded(&self.window_base))).ok()
    }

    /// Whether a packet that ends with `outcome` is dropped.
    #[must_use]
    #[inline(always)]
    pub fn drops(&self, outcome: Outcome) -> bool {
        loaded(&self.drops) & (1 << outcome as u32) != 0
    }

    /// Whether a port of `transport` is protected.
    #[must_use]
    #[inline(always)]
    pub fn guards(&self, transport: Transport) -> bool {
        let flag = match transport {
            Transport::Tcp => TCP,
            Transport::Udp => UDP,
        };
        loaded(&self.gate) & flag != 0
    }

    /// Whether there is a gate.
    #[must_use]
    #[inline(always)]
    pub fn has_gate(&self) -> bool {
        loaded(&self.gate) & (TCP | UDP) != 0
    }

    /// Whether anybody is trusted.
    #[must_use]
    #[inline(always)]
    pub fn has_trusted(&self) -> bool {
        loaded(&self.gate) & TRUSTED != 0
    }

    /// Whether the gate only observes.
    #[must_use]
    #[inline(always)]
    pub fn observes(&self) -> bool {
        loaded(&self.gate) & OBSERVE != 0
    }

    /// How far apart the datagrams may be that keep a lease for `transport` going.
    #[must_use]
    #[inline(always)]
    pub fn idle_ns(&self, transport: Transport) -> Option<NonZeroU64> {
        match transport {
            Transport::Tcp => None,
            Transport::Udp => NonZeroU64::new(loaded(&self.udp_idle_ns)),
        }
    }

    /// The prefix lengths of IPv6 leases; those behind the first zero are none.
    #[must_use]
    #[inline(always)]
    pub fn prefix_lens(&self) -> [u8; MAX_PREFIX_LENS] {
        loaded(&self.prefix_lens)
    }
}

const _: () = {
    assert!(size_of::<Settings>() == 40);
    assert!(core::mem::offset_of!(Settings, udp_idle_ns) == 16);
    assert!(core::mem::offset_of!(Settings, drops) == 24);
    assert!(core::mem::offset_of!(Settings, window_base) == 28);
    assert!(core::mem::offset_of!(Settings, gate) == 30);
    assert!(core::mem::offset_of!(Settings, prefix_lens) == 31);
    assert!(core::mem::offset_of!(Settings, reserved) == 35);
    assert!(Outcome::COUNT <= u32::BITS);
};

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, `Copy`, only integers and no implicit padding (asserted above: the
// fields' sizes add up to the size of the whole).
unsafe impl aya::Pod for Settings {}
