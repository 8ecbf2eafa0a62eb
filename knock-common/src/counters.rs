//! How a packet can end, and the kernel's count of each end.

/// Declares [`Outcome`] with its names and explanations in one place.
macro_rules! outcomes {
    ($($variant:ident, $name:literal, $what:literal;)+) => {
        /// How the XDP program was done with a packet. Every packet ends in exactly one of
        /// these, and the map `COUNTERS` counts them by this enum's discriminant, per CPU.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Outcome {
            $(#[doc = $what] $variant,)+
        }

        impl Outcome {
            /// Every outcome, in the order of the counters.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// How many outcomes there are.
            #[expect(clippy::cast_possible_truncation, reason = "there are not 2^32 lines above")]
            pub const COUNT: u32 = Self::ALL.len() as u32;

            /// The counter's name in `status`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// What the counter counts, for a person.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self { $(Self::$variant => $what,)+ }
            }
        }
    };
}

outcomes! {
    Knock, "knock", "SYNs to the window that became an event";
    RateLimited, "rate_limited", "SYNs to the window beyond what one source may send";
    RingFull, "ring_full", "SYNs to the window that found the ring buffer full";
    GateLeased, "gate_leased", "connections and datagrams to protected ports that a lease let in";
    GateTrusted, "gate_trusted", "connections and datagrams to protected ports from trusted sources";
    GateRefused, "gate_refused", "connections and datagrams that the gate refused";
    GateUnclear, "gate_unclear", "packets that could hide a connection from the gate, which refused them";
    NotSyn, "not_syn", "TCP packets to the window that open no connection";
    OutsideWindow, "outside_window", "TCP packets to other ports";
    NotTcp, "not_tcp", "IP packets that are not TCP, nor a datagram to a protected port";
    NotIp, "not_ip", "frames that are not IP";
    Fragment, "fragment", "IP fragments, which are never a knock";
    TooDeep, "too_deep", "packets with more VLAN tags or IPv6 extension headers than are followed";
    Malformed, "malformed", "truncated or inconsistent packets";
}

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
