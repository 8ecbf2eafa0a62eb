//! The packaged firewall scripts in all variants, with a real service and the real firewall.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use crate::script::Variant;

mod access;
mod rules;
mod script;

/// Runs each scenario for each variant.
macro_rules! for_each {
    ($($file:ident::$scenario:ident)*) => {
        mod nftables {
            $(#[test]
            fn $scenario() {
                crate::$file::$scenario(crate::script::Variant::Nftables);
            })*
        }
        mod iptables {
            $(#[test]
            fn $scenario() {
                crate::$file::$scenario(crate::script::Variant::Iptables);
            })*
        }
        mod legacy {
            $(#[test]
            fn $scenario() {
                crate::$file::$scenario(crate::script::Variant::Legacy);
            })*
        }
    };
}

for_each! {
    access::only_open_addresses_can_connect
    access::established_connections_continue
    access::a_repeated_setup_never_opens_the_port
    access::new_ports_replace_the_old_ones
    access::a_closed_port_never_answers
    access::the_session_that_runs_setup_continues
    rules::a_repeated_command_changes_nothing
    rules::an_invalid_address_is_refused
    rules::an_invalid_command_or_port_is_refused
    rules::all_notations_of_an_address_are_equivalent
    rules::concurrent_commands_all_succeed
    rules::teardown_removes_all_rules
    rules::a_port_that_is_forwarded_is_not_called_closed
    rules::missing_privileges_are_an_error
    rules::status_is_also_told_as_json
    rules::an_address_can_be_open_for_a_time
}

#[test]
fn an_older_table_is_replaced_and_stays_open_for_its_addresses() {
    rules::an_older_table_is_replaced_and_stays_open_for_its_addresses();
}

#[test]
fn both_scripts_share_the_argument_parser() {
    let shared = |variant: Variant| {
        let script = fs::read_to_string(variant.script()).unwrap();
        let (_, rest) = script
            .split_once("# --- Common part: identical in both variants")
            .unwrap();
        let (shared, _) = rest.split_once("\n# --- ").unwrap();
        shared.to_owned()
    };
    assert_eq!(shared(Variant::Nftables), shared(Variant::Iptables));
}
