//! Baselines for the benchmarks: programs for XDP and tc that only pass every packet, and an XDP
//! program that also looks up one lease.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use aya_ebpf::{
    bindings::{TC_ACT_UNSPEC, xdp_action},
    macros::{classifier, map, xdp},
    maps::HashMap,
    programs::{TcContext, XdpContext},
};
use knock_common::{
    address::Address,
    gate::{HOST, Lease, LeaseKey, Transport},
};

/// Has the same type and size as the real program's map, but stays empty.
#[map]
static LEASES: HashMap<LeaseKey, Lease> = HashMap::with_max_entries(16_384, 0);

#[xdp(frags)]
fn empty_xdp(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[classifier]
fn empty_tc(_ctx: TcContext) -> i32 {
    TC_ACT_UNSPEC
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
