//! The shipped firewall scripts, all variants, against a real service and a real firewall.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use crate::script::Variant;

mod access;
mod rules;
mod script;

/// Each scenario once for each variant.
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
    access::only_open_addresses_get_in
    access::established_connections_go_on
    access::a_repeated_setup_never_opens_the_port
    access::other_ports_replace_the_first
    access::a_closed_port_says_nothing_at_all
    access::the_session_that_sets_up_is_not_cut_off
    rules::a_repeated_command_changes_nothing
    rules::what_is_no_address_is_refused
    rules::what_is_no_command_or_port_is_refused
    rules::every_form_of_an_address_is_the_same_address
    rules::commands_at_the_same_moment_all_succeed
    rules::teardown_leaves_nothing
    rules::missing_rights_are_an_error
}

#[test]
fn both_variants_judge_arguments_alike() {
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
