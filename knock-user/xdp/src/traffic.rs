//! Tells whether an attached program sees the packets of its interface, by comparing the counters
//! of both. Some drivers accept a program and never run it.

use knockd_types::status::Traffic;

/// The number of packets that an interface may receive before its program sees one: those that
/// were under way when it was attached, and those that the driver counts but drops.
const TOLERANCE: u64 = 32;

/// The counters at one time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted {
    /// The packets that the interface has received.
    pub(crate) received: u64,
    /// The packets that the program has seen.
    pub(crate) seen: u64,
}

/// What is known about an attached program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof {
    since: Counted,
    pub(crate) traffic: Traffic,
}

impl Proof {
    /// Nothing is known about a program that was attached when the counters were at `since`.
    pub(crate) fn new(since: Counted) -> Self {
        Self {
            since,
            traffic: Traffic::Awaited,
        }
    }

    /// Compares the counters with those of the last time that the program had seen a packet.
    pub(crate) fn update(&mut self, now: Counted) {
        if now.seen > self.since.seen {
            *self = Self {
                since: now,
                traffic: Traffic::Seen,
            };
        } else if now.received.saturating_sub(self.since.received) > TOLERANCE {
            self.traffic = Traffic::Missed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(counters: &[(u64, u64)]) -> Traffic {
        let mut proof = Proof::new(Counted {
            received: 1000,
            seen: 5,
        });
        for &(received, seen) in counters {
            proof.update(Counted { received, seen });
        }
        proof.traffic
    }

    #[test]
    fn one_seen_packet_is_proof_and_none_of_many_is_too() {
        assert_eq!(after(&[]), Traffic::Awaited);
        assert_eq!(after(&[(1000, 5)]), Traffic::Awaited);
        assert_eq!(after(&[(1032, 5)]), Traffic::Awaited);
        assert_eq!(after(&[(1033, 5)]), Traffic::Missed);
        assert_eq!(after(&[(1001, 6)]), Traffic::Seen);
        assert_eq!(after(&[(1000, 6)]), Traffic::Seen, "not all drivers count");
    }

    #[test]
    fn a_program_can_stop_seeing_and_start_again() {
        let seen = (1100, 100);
        assert_eq!(after(&[seen, (1132, 100)]), Traffic::Seen);
        assert_eq!(after(&[seen, (1133, 100)]), Traffic::Missed);
        assert_eq!(after(&[seen, (1133, 100), (1133, 101)]), Traffic::Seen);
    }

    #[test]
    fn counters_that_were_reset_prove_nothing() {
        assert_eq!(after(&[(0, 5)]), Traffic::Awaited);
    }
}
