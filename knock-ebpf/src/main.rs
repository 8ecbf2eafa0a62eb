//! The XDP program of knockd: a SYN to the window becomes an event for the daemon, and a
//! protected port is reached by whom the daemon has let in.
//!
//! A frame is parsed ([`parse`]); a SYN to the window pays a token of its source and goes on
//! the ring ([`knock`]); anything for a protected port is held against the leases ([`gate`]).
//! Whatever became of the frame is counted and turned into the XDP action in one place
//! ([`finish`]). What is neither is passed untouched.

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

// `frags`: drivers attach at any MTU, with frames of several buffers where it is large. Headers
// lie in the first, so that only a payload, which nobody reads, lies in the others.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the macro hands the context over"
)]
#[xdp(frags)]
fn knock_xdp(ctx: XdpContext) -> u32 {
    let settings = &SETTINGS;
    // SAFETY: the kernel gives the bounds of the packet's first buffer, which nobody else
    // writes while the program runs. Drivers put a frame at an even address; should one begin
    // at an odd one, the alignment has made the compiler read two bytes at once and no more, and
    // a kernel whose processor cannot do that anywhere does not load the program.
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
        reason = "a frame is a few pages at most"
    )]
    let further = || {
        // SAFETY: the context is the one that the kernel runs the program with.
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

/// Counts `outcome` and turns it into the XDP action.
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

/// Read by the kernel: helpers such as `bpf_ktime_get_ns` are for GPL-compatible programs.
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
