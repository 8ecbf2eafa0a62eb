//! The baselines of the benchmarks: a program that only passes every packet, and one that looks up
//! a lease first.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use aya_ebpf::{
    bindings::xdp_action,
    macros::{map, xdp},
    maps::HashMap,
    programs::XdpContext,
};
use knock_common::{
    address::Address,
    gate::{HOST, Lease, LeaseKey, Transport},
};

/// Same type as knockd's map; always empty.
#[map]
static LEASES: HashMap<LeaseKey, Lease> = HashMap::with_max_entries(16_384, 0);

#[xdp(frags)]
fn empty_xdp(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[xdp(frags)]
fn look_up_xdp(_ctx: XdpContext) -> u32 {
    let key = LeaseKey::new(Address::v6([0; 16]), HOST, Transport::Tcp, 22);
    match LEASES.get_ptr_mut(key) {
        Some(_) => xdp_action::XDP_DROP,
        None => xdp_action::XDP_PASS,
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
