//! The daemon's counters.

use serde::{Deserialize, Serialize};

/// Declares the daemon's counters with their explanations in one place.
macro_rules! counters {
    ($($name:ident: $what:literal;)+) => {
        /// The daemon's counters since its start. The eBPF program's counters are
        /// [`knock_common::counters::Outcome`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Counters {
            $(#[doc = $what] pub $name: u64,)+
        }

        impl Counters {
            /// The sum of these counters and those of the other process.
            #[must_use]
            pub fn with(&self, others: &Self) -> Self {
                Self { $($name: self.$name + others.$name,)+ }
            }

            /// The name, value and explanation of every counter.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> {
                [$((stringify!($name), self.$name, $what),)+].into_iter()
            }
        }
    };
}

counters! {
    events: "SYNs to the window received from the kernel or read as lines";
    not_unicast: "SYNs and datagrams whose source is not a unicast address";
    retransmissions: "retransmitted SYNs";
    sources_evicted: "sources with an incomplete sequence evicted to make room for others";
    knocks_with_holes: "SYN knocks of which only a part has arrived, as behind a balancer that chooses by ports";
    attempts: "blocks of 16 SYNs tried against the keys";
    attempts_limited: "blocks not tried because their source exceeded its rate limit";
    attempts_shed: "blocks not tried because more waited than could be tried";
    refused_bad_parity: "blocks that match no key";
    refused_unknown_sequence: "blocks with a classic key's parity but no door's sequence";
    datagrams: "datagrams with a valid mac1 received from the kernel";
    datagrams_repeated: "datagrams that were decrypted before";
    refused_forged: "datagrams that are not of a known client, or not for this server";
    refused_invalid: "datagrams of a known client with an unknown version or a malformed request";
    refused_unknown_tag: "knocks for a door that does not exist";
    refused_client_not_allowed: "knocks of a client that may not open the door";
    refused_stale: "knocks made too long ago or in the future: check the client's clock";
    refused_expired: "knocks of a client that has expired";
    refused_old_key: "knocks with a client's previous key, whose time is over";
    refused_outside: "knocks from an address that the client may not knock from";
    refused_binding: "knocks that are unbound, bound to another source address, or for another address";
    refused_replayed: "knocks that were accepted before";
    refused_store: "knocks refused because the replay store failed: see the log";
    scattered: "knocks whose SYNs came from several addresses: see the log";
    copies: "further copies of a knock that was just accepted";
    accepted: "accepted knocks";
    accepted_old_key: "accepted knocks that were made with the client's previous key";
    extended: "accepted knocks for a door that was open already";
    refused_unreachable: "knocks refused because the fleet's engine was not reached: see the log";
    refused_revoked: "knocks of a client whose key the fleet has revoked";
    fleet_actions: "doors opened or closed because of another node of the fleet";
    refused_doors_full: "authenticated knocks refused because too many doors are open";
    refused_gate_full: "authenticated knocks refused because the gate has no room for a lease";
    commands_succeeded: "commands that ended with exit status 0";
    commands_failed: "commands that failed, timed out or could not be started";
    closings_given_up: "closing commands abandoned after repeated failures: see the log";
    history_left_out: "accepted knocks that the history leaves out, because their client knocks so often";
    history_lost: "records that could not be written to the history: see the log";
    interfaces_attached: "interfaces attached to since the start";
    interfaces_lost: "interfaces that disappeared or were renamed";
    interfaces_refused: "interfaces that cannot be attached to, each counted once for each reason: see the log";
    reloads: "configurations loaded without a restart";
    reloads_refused: "configurations that are invalid or require a restart: see the log";
    listener_restarts: "restarts of the listener after a failure: see the log";
    lines_skipped: "lines that are not `destination_port source_ip`";
    lines_outside_window: "lines with a port outside the window";
}
