//! The XDP program of knockd: it reports SYNs to the window to the daemon, and admits to
//! protected ports only sources with a lease or in a trusted network.
//!
//! [`parse`] classifies a frame. A SYN to the window takes a token of its source and goes to the
//! ring buffer ([`knock`]). A packet to a protected port is checked against the leases ([`gate`]).
//! Any other frame passes unchanged. [`finish`] counts the outcome and maps it to an XDP action.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

mod clock;
mod gate;
mod headers;
mod knock;
mod log;
mod maps;
mod packet;
mod parse;

use aya_ebpf::{
    bindings::xdp_action, helpers::bpf_xdp_get_buff_len, macros::xdp, programs::XdpContext,
};
use knock_common::{counters::Outcome, settings::Settings};

use crate::{
    maps::{COUNTERS, SETTINGS},
    packet::Cursor,
    parse::{Carried, Other, Segment},
};

// `frags`: the program attaches to interfaces with any MTU, where a frame may span several
// buffers. All headers are in the first buffer; the others hold only payload, which is not read.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the macro passes the context by value"
)]
#[xdp(frags)]
fn knock_xdp(ctx: XdpContext) -> u32 {
    let settings = &SETTINGS;
    // SAFETY: the kernel provides the bounds of the packet's first buffer, which is not modified
    // while the program runs. Drivers place frames at even addresses. At an odd address, the
    // alignment of the headers has no effect but two-byte loads; a kernel for a processor without
    // efficient unaligned access rejects the program.
    let cursor = unsafe { Cursor::new(ctx.data(), ctx.data_end()) };
    let outcome = match parse::frame(cursor, settings) {
        Ok(Carried::Segment(carried)) => segment(&ctx, settings, &carried),
        Ok(Carried::Datagram(carried)) => gate::datagram(&ctx, settings, &carried),
        Err(Other::Unclear(_)) if settings.has_gate() => Outcome::GateUnclear,
        Err(Other::Unclear(outcome) | Other::Harmless(outcome)) => outcome,
    };
    finish(settings, outcome)
}

#[inline(always)]
fn segment(ctx: &XdpContext, settings: &Settings, segment: &Segment) -> Outcome {
    let Some(offset) = segment.offset else {
        return gate::segment(ctx, settings, segment);
    };
    if !segment.tcp.is_knock() {
        return Outcome::NotSyn;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a frame is at most a few pages long"
    )]
    let further = || {
        // SAFETY: the context is the one that the kernel passed to the program.
        let len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
        (len as usize).saturating_sub(ctx.data_end() - ctx.data())
    };
    match segment.ip.source() {
        Some(source) if segment.is_consistent(further) => {
            knock::knock(ctx, settings, source, segment.tcp.source_port(), offset)
        }
        _ => Outcome::Malformed,
    }
}

/// Counts `outcome` and maps it to the XDP action.
#[inline(always)]
fn finish(settings: &Settings, outcome: Outcome) -> u32 {
    if let Some(counter) = COUNTERS.get_ptr_mut(outcome as u32) {
        // SAFETY: the pointer is to this CPU's map value, which no other program writes.
        unsafe { *counter += 1 };
    }
    if settings.drops(outcome) {
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_PASS
    }
}

/// Checked by the kernel: helpers such as `bpf_ktime_get_ns` require a GPL-compatible licence.
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
