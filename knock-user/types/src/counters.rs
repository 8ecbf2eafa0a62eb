//! The daemon's counters.

use serde::{Deserialize, Serialize};

/// Declares the daemon's counters with their explanations in one place.
macro_rules! counters {
    ($($name:ident: $what:literal;)+) => {
        /// What the daemon has counted since it started; the kernel's counters are
        /// [`knock_common::counters::Outcome`].
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Counters {
            $(#[doc = $what] pub $name: u64,)+
        }

        impl Counters {
            /// These and those that the other process has counted.
            #[must_use]
            pub fn with(&self, others: &Self) -> Self {
                Self { $($name: self.$name + others.$name,)+ }
            }

            /// Every counter: name, value, explanation.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64, &'static str)> {
                [$((stringify!($name), self.$name, $what),)+].into_iter()
            }
        }
    };
}

counters! {
    events: "SYNs that came in from the kernel or as lines";
    not_unicast: "SYNs with a source address that no single host has";
    retransmissions: "SYNs that were known already";
    sources_evicted: "sources whose half-finished knock made room for others";
    attempts: "blocks of 16 SYNs tried against the keys";
    attempts_limited: "blocks left untried because their source tried too many";
    refused_bad_parity: "blocks that no key fits";
    refused_unknown_sequence: "blocks with a classic key's parity but no door's sequence";
    refused_unknown_tag: "sealed knocks for a door that is not there";
    refused_client_not_allowed: "knocks of a client at a door that is not his";
    refused_stale: "sealed knocks made too long ago or in the future: check the client's clock";
    refused_binding: "sealed knocks from another address than they were made for";
    refused_replayed: "sealed knocks that were accepted before";
    refused_store: "sealed knocks refused because they cannot be remembered: look at the log";
    copies: "further copies of a sealed knock that was just accepted";
    accepted: "knocks accepted";
    extended: "knocks accepted for a door that was open already";
    refused_doors_full: "knocks accepted but turned away because too many doors are open";
    refused_gate_full: "knocks accepted but turned away because the gate has no room for a lease";
    commands_succeeded: "commands that ended with exit status 0";
    commands_failed: "commands that failed, hung or could not be started";
    closings_given_up: "closing commands that failed again and again: look at the log";
    interfaces_attached: "interfaces attached to, at the start and since";
    interfaces_lost: "interfaces that have gone or were renamed since";
    reloads: "configurations that took effect without a restart";
    reloads_refused: "configurations that were wrong, or take a restart: look at the log";
    listener_restarts: "times that the network-facing process had to be started again: look at the log";
    lines_skipped: "lines that are not `destination_port source_ip`";
    lines_outside_window: "lines with a port outside the window";
}
