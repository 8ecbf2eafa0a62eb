//! What the daemon tells the XDP program, before it attaches and while it runs.

use core::num::{NonZeroU32, NonZeroU64};

use crate::{
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

/// The program's settings, the only value of the map `SETTINGS`.
///
/// Integers instead of enums: the kernel's side must never meet a bit pattern that its
/// compiler holds to be impossible.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Tokens for events, per source.
    pub rate: Rate,
    /// How far apart datagrams may be that keep a lease going; 0 without a gate.
    udp_idle_ns: u64,
    /// The first port of the window.
    pub window_base: u16,
    /// Whether SYNs to the window are dropped: 1 or 0.
    pub drop_knocks: u8,
    /// Whether every knock writes an aya-log line: 1 or 0.
    pub log: u8,
    /// What the gate looks at: a combination of [`TCP`], [`UDP`], [`TRUSTED`] and [`OBSERVE`].
    /// There is no gate if neither of the first two is in it.
    gate: u8,
    /// [`PrefixLens`].
    prefix_lens: [u8; MAX_PREFIX_LENS],
    /// Zero.
    reserved: [u8; 7],
}

const TCP: u8 = 1;
const UDP: u8 = 2;
const TRUSTED: u8 = 4;
const OBSERVE: u8 = 8;

const fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

impl Settings {
    /// Settings for `window`, with logging off and without a gate.
    #[must_use]
    pub const fn new(window: Window, verdict: Verdict, rate: Rate) -> Self {
        Self {
            rate,
            udp_idle_ns: 0,
            window_base: window.base(),
            drop_knocks: matches!(verdict, Verdict::Drop) as u8,
            log: 0,
            gate: 0,
            prefix_lens: [0; MAX_PREFIX_LENS],
            reserved: [0; 7],
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

    /// The same settings with a gate.
    #[must_use]
    pub const fn with_gate(self, gate: &Gate) -> Self {
        Self {
            udp_idle_ns: gate.udp_idle_ns.get(),
            gate: flag(gate.tcp, TCP)
                | flag(gate.udp, UDP)
                | flag(gate.trusted, TRUSTED)
                | flag(matches!(gate.mode, Mode::Observe), OBSERVE),
            prefix_lens: gate.prefix_lens.as_array(),
            ..self
        }
    }

    /// Whether a port of `transport` is protected.
    #[must_use]
    #[inline(always)]
    pub const fn guards(&self, transport: Transport) -> bool {
        let flag = match transport {
            Transport::Tcp => TCP,
            Transport::Udp => UDP,
        };
        self.gate & flag != 0
    }

    /// Whether there is a gate.
    #[must_use]
    #[inline(always)]
    pub const fn has_gate(&self) -> bool {
        self.gate & (TCP | UDP) != 0
    }

    /// Whether anybody is trusted.
    #[must_use]
    #[inline(always)]
    pub const fn has_trusted(&self) -> bool {
        self.gate & TRUSTED != 0
    }

    /// Whether the gate only observes.
    #[must_use]
    #[inline(always)]
    pub const fn observes(&self) -> bool {
        self.gate & OBSERVE != 0
    }

    /// How far apart the datagrams may be that keep a lease for `transport` going.
    #[must_use]
    #[inline(always)]
    pub const fn idle_ns(&self, transport: Transport) -> Option<NonZeroU64> {
        match transport {
            Transport::Tcp => None,
            Transport::Udp => NonZeroU64::new(self.udp_idle_ns),
        }
    }

    /// The prefix lengths of IPv6 leases; those behind the first zero are none.
    #[must_use]
    #[inline(always)]
    pub const fn prefix_lens(&self) -> [u8; MAX_PREFIX_LENS] {
        self.prefix_lens
    }
}

const _: () = {
    assert!(size_of::<Settings>() == 40);
    assert!(core::mem::offset_of!(Settings, udp_idle_ns) == 16);
    assert!(core::mem::offset_of!(Settings, window_base) == 24);
    assert!(core::mem::offset_of!(Settings, gate) == 28);
    assert!(core::mem::offset_of!(Settings, prefix_lens) == 29);
    assert!(core::mem::offset_of!(Settings, reserved) == 33);
};

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, `Copy`, only integers and no implicit padding (asserted above: the
// fields' sizes add up to the size of the whole).
unsafe impl aya::Pod for Settings {}
