//! The settings that the daemon gives to the XDP program at load time.

use core::{
    num::{NonZeroU16, NonZeroU32, NonZeroU64},
    ptr,
};

use crate::{
    counters::Outcome,
    datagram::Mac1Key,
    gate::{MAX_PREFIX_LENS, Mode, PrefixLens, Transport},
    rate::Rate,
    window::Window,
};

/// What happens to a SYN to the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// It is dropped without an answer; a scanner sees a filtered port.
    #[default]
    Drop,
    /// It is passed to the host's stack, which usually answers with a reset.
    Pass,
}

/// To which packets the window and the gate apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Destinations {
    /// To those that the host does not forward to another host.
    #[default]
    Local,
    /// To those to a network in the map `ADDRESSES`.
    Listed,
    /// To all.
    All,
}

/// The default rate of events of one source: 64 per second with a burst of 128, which is eight
/// copies of a knock.
pub const DEFAULT_EVENT_RATE: Rate = rate(64, 128);

/// The rate per CPU at which sources become known: the first SYN of each is an event at once. In a
/// flood of forged sources a source has to send more SYNs first. A host that is scanned from all
/// sides sees fewer new sources.
pub const NEW_SOURCES_RATE: Rate = rate(16, 64);

/// The default rate of different knock datagrams of one source: 16 per second with a burst of 32. A
/// client needs one per door, and its copies cost nothing. Many clients may share the address of a
/// NAT. For the daemon a datagram is the work of some dozens of SYNs.
pub const DEFAULT_DATAGRAM_RATE: Rate = rate(16, 32);

/// The rate of log lines per CPU about knocks while there are `tail` subscribers: more than a
/// person can read, but cheap for the daemon to process.
pub const LOG_RATE: Rate = rate(1000, 1000);

/// The rate of log lines per CPU about packets that an observing gate would have dropped: enough
/// to identify the sources, too few to fill a disk.
pub const OBSERVED_RATE: Rate = rate(10, 20);

/// The gate settings that the XDP program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gate {
    /// What happens to packets that the gate refuses.
    pub mode: Mode,
    /// Whether any TCP port is protected.
    pub tcp: bool,
    /// Whether any UDP port is protected.
    pub udp: bool,
    /// Whether there are trusted networks.
    pub trusted: bool,
    /// To which packets the gate and the window apply.
    pub destinations: Destinations,
    /// The prefix lengths of IPv4 leases, each in IPv4-mapped form.
    pub ipv4_prefix_lens: PrefixLens,
    /// The prefix lengths of IPv6 leases.
    pub prefix_lens: PrefixLens,
    /// The longest gap between datagrams that keeps a lease alive, in nanoseconds.
    pub udp_idle_ns: NonZeroU64,
}

/// The settings of knock datagrams that the XDP program needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The UDP port.
    pub port: NonZeroU16,
    /// The key of `mac1`.
    pub mac1: Mac1Key,
    /// The token bucket rate of events, per source.
    pub rate: Rate,
}

const fn rate(per_second: u32, burst: u32) -> Rate {
    match (NonZeroU32::new(per_second), NonZeroU32::new(burst)) {
        (Some(per_second), Some(burst)) => Rate::new(per_second, burst),
        _ => panic!("a rate must be above zero"),
    }
}

/// The program's settings: the constant `SETTINGS`, which the daemon sets when it loads the
/// program. The verifier knows their values and removes the code that they make unreachable.
///
/// Integers instead of enums, because the program must never read a value that is invalid for
/// its type.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The token bucket rate of events, per source.
    rate: Rate,
    /// The longest gap between datagrams that keeps a lease alive; 0 without a gate.
    udp_idle_ns: u64,
    /// The key of `mac1`; any value without knock datagrams.
    mac1: Mac1Key,
    /// The token bucket rate of knock datagrams, per source.
    datagram_rate: Rate,
    /// The token bucket rate of sources that become known with their first SYN, per CPU.
    new_sources_rate: Rate,
    /// The outcomes that drop the packet: one bit for each [`Outcome`].
    drops: u32,
    /// The first port of the window.
    window_base: u16,
    /// The UDP port of knock datagrams; 0 if there are none.
    datagram_port: u16,
    /// What the gate checks: a combination of [`TCP`], [`UDP`], [`TRUSTED`], [`OBSERVE`],
    /// [`LISTED`] and [`ALL`]. Without [`TCP`] and [`UDP`] there is no gate.
    gate: u8,
    /// The lengths of IPv6 leases in [`PrefixLens`].
    prefix_lens: [u8; MAX_PREFIX_LENS],
    /// The same of IPv4 leases.
    ipv4_prefix_lens: [u8; MAX_PREFIX_LENS],
    /// Always zero.
    reserved: [u8; 7],
}

const TCP: u8 = 1;
const UDP: u8 = 2;
const TRUSTED: u8 = 4;
const OBSERVE: u8 = 8;
const LISTED: u8 = 16;
const ALL: u8 = 32;

const fn flag(set: bool, flag: u8) -> u8 {
    if set { flag } else { 0 }
}

/// One bit for each of `outcomes` if `set`, else zero.
const fn bits(set: bool, outcomes: &[Outcome]) -> u32 {
    let mut bits = 0;
    let mut index = 0;
    while set && index < outcomes.len() {
        bits |= 1 << outcomes[index] as u32;
        index += 1;
    }
    bits
}

/// Reads `field` at run time. The compiler must not fold its value, because the daemon replaces
/// the constant when it loads the program.
#[inline(always)]
fn loaded<T: Copy>(field: &T) -> T {
    // SAFETY: `field` is a reference.
    unsafe { ptr::read_volatile(field) }
}

#[inline(always)]
fn loaded_rate(rate: &Rate) -> Rate {
    Rate {
        interval_ns: loaded(&rate.interval_ns),
        burst_ns: loaded(&rate.burst_ns),
    }
}

impl Settings {
    /// The settings for `window`, without a gate.
    #[must_use]
    pub const fn new(window: Window, verdict: Verdict, rate: Rate) -> Self {
        Self {
            rate,
            udp_idle_ns: 0,
            mac1: Mac1Key::from_bytes([0; 16]),
            datagram_rate: DEFAULT_DATAGRAM_RATE,
            new_sources_rate: NEW_SOURCES_RATE,
            drops: bits(
                matches!(verdict, Verdict::Drop),
                &[
                    Outcome::Knock,
                    Outcome::RateLimited,
                    Outcome::Held,
                    Outcome::RingFull,
                    Outcome::Martian,
                ],
            ),
            window_base: window.base(),
            datagram_port: 0,
            gate: 0,
            prefix_lens: [0; MAX_PREFIX_LENS],
            ipv4_prefix_lens: [0; MAX_PREFIX_LENS],
            reserved: [0; 7],
        }
    }

    /// The same settings with another rate of sources that become known with their first SYN.
    #[must_use]
    pub const fn with_new_sources_rate(self, rate: Rate) -> Self {
        Self {
            new_sources_rate: rate,
            ..self
        }
    }

    /// The same settings with knock datagrams. The service that may share the port has no use for
    /// them, so they are dropped also if SYNs to the window pass.
    #[must_use]
    pub const fn with_datagram(self, datagram: &Datagram) -> Self {
        Self {
            mac1: datagram.mac1,
            datagram_rate: datagram.rate,
            datagram_port: datagram.port.get(),
            drops: self.drops
                | bits(
                    true,
                    &[
                        Outcome::Datagram,
                        Outcome::DatagramCopy,
                        Outcome::DatagramLimited,
                        Outcome::DatagramRingFull,
                    ],
                ),
            ..self
        }
    }

    /// The same settings with `gate`.
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
                | flag(matches!(gate.mode, Mode::Observe), OBSERVE)
                | flag(matches!(gate.destinations, Destinations::Listed), LISTED)
                | flag(matches!(gate.destinations, Destinations::All), ALL),
            prefix_lens: gate.prefix_lens.as_array(),
            ipv4_prefix_lens: gate.ipv4_prefix_lens.as_array(),
            ..self
        }
    }

    /// To which packets the window and the gate apply.
    #[must_use]
    #[inline(always)]
    pub fn destinations(&self) -> Destinations {
        let gate = loaded(&self.gate);
        if gate & ALL != 0 {
            Destinations::All
        } else if gate & LISTED != 0 {
            Destinations::Listed
        } else {
            Destinations::Local
        }
    }

    /// The token bucket rate of events, per source.
    #[must_use]
    #[inline(always)]
    pub fn rate(&self) -> Rate {
        loaded_rate(&self.rate)
    }

    /// Whether there are knock datagrams.
    #[must_use]
    #[inline(always)]
    pub fn has_datagrams(&self) -> bool {
        loaded(&self.datagram_port) != 0
    }

    /// Whether `port` is the port of knock datagrams.
    #[must_use]
    #[inline(always)]
    pub fn is_for_datagrams(&self, port: u16) -> bool {
        // No value of `port` may match the 0 of settings without datagrams.
        self.has_datagrams() && port == loaded(&self.datagram_port)
    }

    /// The key of `mac1`.
    #[must_use]
    #[inline(always)]
    pub fn mac1(&self) -> Mac1Key {
        let [a, b, c, d] = &self.mac1.state;
        Mac1Key {
            state: [loaded(a), loaded(b), loaded(c), loaded(d)],
        }
    }

    /// The token bucket rate of knock datagrams, per source.
    #[must_use]
    #[inline(always)]
    pub fn datagram_rate(&self) -> Rate {
        loaded_rate(&self.datagram_rate)
    }

    /// The token bucket rate of sources that become known with their first SYN, per CPU.
    #[must_use]
    #[inline(always)]
    pub fn new_sources_rate(&self) -> Rate {
        loaded_rate(&self.new_sources_rate)
    }

    /// The offset of `port` in the window; `None` if it is outside.
    #[must_use]
    #[inline(always)]
    pub fn offset_of(&self, port: u16) -> Option<u8> {
        u8::try_from(port.wrapping_sub(loaded(&self.window_base))).ok()
    }

    /// Whether a packet with this `outcome` is dropped.
    #[must_use]
    #[inline(always)]
    pub fn drops(&self, outcome: Outcome) -> bool {
        loaded(&self.drops) & (1 << outcome as u32) != 0
    }

    /// Whether any port of `transport` is protected.
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

    /// Whether there are trusted networks.
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

    /// The longest gap between datagrams that keeps a lease alive, in nanoseconds; `None` for TCP.
    #[must_use]
    #[inline(always)]
    pub fn idle_ns(&self, transport: Transport) -> Option<NonZeroU64> {
        match transport {
            Transport::Tcp => None,
            Transport::Udp => NonZeroU64::new(loaded(&self.udp_idle_ns)),
        }
    }

    /// The prefix lengths of IPv6 leases. Unused elements are zero and come last.
    #[must_use]
    #[inline(always)]
    pub fn prefix_lens(&self) -> [u8; MAX_PREFIX_LENS] {
        loaded(&self.prefix_lens)
    }

    /// The prefix lengths of IPv4 leases, in the same form.
    #[must_use]
    #[inline(always)]
    pub fn ipv4_prefix_lens(&self) -> [u8; MAX_PREFIX_LENS] {
        loaded(&self.ipv4_prefix_lens)
    }
}

const _: () = {
    assert!(size_of::<Settings>() == 112);
    assert!(core::mem::offset_of!(Settings, udp_idle_ns) == 16);
    assert!(core::mem::offset_of!(Settings, mac1) == 24);
    assert!(core::mem::offset_of!(Settings, datagram_rate) == 56);
    assert!(core::mem::offset_of!(Settings, new_sources_rate) == 72);
    assert!(core::mem::offset_of!(Settings, drops) == 88);
    assert!(core::mem::offset_of!(Settings, window_base) == 92);
    assert!(core::mem::offset_of!(Settings, datagram_port) == 94);
    assert!(core::mem::offset_of!(Settings, gate) == 96);
    assert!(core::mem::offset_of!(Settings, prefix_lens) == 97);
    assert!(core::mem::offset_of!(Settings, ipv4_prefix_lens) == 101);
    assert!(core::mem::offset_of!(Settings, reserved) == 105);
    assert!(Outcome::COUNT <= u32::BITS);
};

#[cfg(feature = "user")]
// SAFETY: `repr(C)`, `Copy`, only integers and no implicit padding (asserted above: the sizes of
// the fields add up to the size of the struct).
unsafe impl aya::Pod for Settings {}

#[cfg(test)]
mod tests;
