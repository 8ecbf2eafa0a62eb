//! An XDP program that passes every packet and does nothing else: what a program costs at
//! least, which the benchmarks hold the real one against.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

#[expect(
    clippy::needless_pass_by_value,
    reason = "the macro hands the context over"
)]
#[xdp(frags)]
fn empty_xdp(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
