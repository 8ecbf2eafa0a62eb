//! How the eBPF programs classify packets, and the names of their counters.

/// Declares [`Outcome`] with its names and explanations in one place.
macro_rules! outcomes {
    ($($variant:ident, $name:literal, $what:literal;)+) => {
        /// The result for one packet in an eBPF program. Each packet has exactly one outcome.
        /// The map `COUNTERS` counts outcomes per CPU and interface, indexed by the discriminant of
        /// this enum.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Outcome {
            $(#[doc = $what] $variant,)+
        }

        impl Outcome {
            /// Every outcome, in the order of the counters.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The number of outcomes.
            #[expect(clippy::cast_possible_truncation, reason = "there are not 2^32 lines above")]
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// The counter's name in `status`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What the counter counts, as a phrase for people.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)+ }
            }
        }
    };
}

outcomes! {
    Knock, "knock", "SYNs to the window that became an event";
    RateLimited, "rate_limited", "SYNs to the window above the source's rate limit";
    Held, "held", "SYNs to the window that were held back in a flood, for more of their source";
    RingFull, "ring_full", "SYNs to the window that were lost because the ring buffer was full";
    Martian, "martian", "SYNs to the window and knock datagrams from addresses that no other host has";
    Datagram, "datagram", "knock datagrams that became an event";
    DatagramCopy, "datagram_copy", "copies of a knock datagram that had just become an event";
    DatagramLimited, "datagram_limited", "knock datagrams above the source's rate limit";
    DatagramRingFull, "datagram_ring_full", "knock datagrams that were lost because their ring buffer was full";
    GateLeased, "gate_leased", "connections and datagrams to protected ports, admitted by a lease";
    GateTrusted, "gate_trusted", "connections and datagrams to protected ports, from trusted networks";
    GateRefused, "gate_refused", "connections and datagrams to protected ports, refused by the gate";
    GateUnclear, "gate_unclear", "packets that the gate refused because they could hide a connection";
    Forwarded, "forwarded", "knocks and packets to protected ports that the host forwards to another host";
    NotSyn, "not_syn", "TCP packets to the window that do not open a connection";
    OutsideWindow, "outside_window", "TCP packets to other ports";
    DatagramOther, "datagram_other", "datagrams of the length of a knock to its port, with a wrong mac1";
    NotTcp, "not_tcp", "IP packets other than TCP, not to a protected UDP port";
    NotIp, "not_ip", "frames that are not IP";
    Fragment, "fragment", "IP fragments, which cannot be part of a knock";
    TooDeep, "too_deep", "packets with too many VLAN tags or IPv6 extension headers";
    Malformed, "malformed", "truncated or inconsistent packets";
}

/// The number of slots of the map `COUNTERS`. An interface has the slot `index % SLOTS`, so that
/// interfaces whose indices differ by a multiple of it share one.
pub const SLOTS: u32 = 64;

/// The counters of one slot, indexed by [`Outcome`].
pub type Counts = [u64; Outcome::ALL.len()];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn discriminants_index_the_counters() {
        for (index, outcome) in Outcome::ALL.iter().enumerate() {
            assert_eq!(*outcome as usize, index, "{}", outcome.name());
        }
    }
}
