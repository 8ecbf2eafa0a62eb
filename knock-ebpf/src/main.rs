//! The XDP program of knockd: a SYN to the window becomes an event for the daemon.
//!
//! A frame is parsed ([`parse`]), a SYN pays a token of its source and goes on the ring
//! ([`knock`]), and whatever became of the frame is counted and turned into the XDP action
//! in one place ([`finish`]). What is no knock is passed untouched.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

mod headers;
mod maps;
mod packet;
mod parse;

use aya_ebpf::{
    bindings::xdp_action,
    helpers::{bpf_ktime_get_ns, bpf_xdp_get_buff_len},
    macros::xdp,
    programs::XdpContext,
};
use aya_log_ebpf::info;
use knock_common::{
    counters::Outcome,
    event::KnockEvent,
    settings::{LOG_RATE, Settings},
};

use crate::{
    maps::{COUNTERS, EVENTS, LOG_BUCKET, SETTINGS, SOURCES},
    packet::Cursor,
    parse::Syn,
};

// `frags`: drivers attach at any MTU, with frames of several buffers where it is large. Headers
// lie in the first, so that only a payload, which nobody reads, lies in the others.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the macro hands the context over"
)]
#[xdp(frags)]
fn knock_xdp(ctx: XdpContext) -> u32 {
    // Never absent: an array map has all its elements.
    let Some(settings) = SETTINGS.get(0) else {
        return xdp_action::XDP_PASS;
    };
    // SAFETY: the kernel gives the bounds of the packet's first buffer, which nobody else
    // writes while the program runs.
    let cursor = unsafe { Cursor::new(ctx.data(), ctx.data_end()) };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a frame is a few pages at most"
    )]
    let further = || {
        // SAFETY: the context is the one that the kernel runs the program with.
        let len = unsafe { bpf_xdp_get_buff_len(ctx.ctx) };
        (len as usize).saturating_sub(ctx.data_end() - ctx.data())
    };
    let outcome = match parse::frame(cursor, settings.window_base, further) {
        Ok(syn) => knock(&ctx, settings, &syn),
        Err(outcome) => outcome,
    };
    finish(settings, outcome)
}

/// Puts a SYN to the window on the ring, if its source may.
#[inline(always)]
fn knock(ctx: &XdpContext, settings: &Settings, syn: &Syn) -> Outcome {
    // SAFETY: the helper takes no arguments and only reads a clock.
    let now = unsafe { bpf_ktime_get_ns() };
    if !take_token(settings, &syn.source, now) {
        return Outcome::RateLimited;
    }
    // Before the event, so that whoever tails sees the SYN before what became of it.
    if settings.log != 0 && take_log_token(now) {
        log(ctx, syn);
    }
    let Some(mut entry) = EVENTS.reserve::<KnockEvent>(0) else {
        return Outcome::RingFull;
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is a u32 in struct xdp_md"
    )]
    let ifindex = ctx.ingress_ifindex() as u32;
    entry.write(KnockEvent {
        arrival_ns: now,
        source: syn.source,
        ifindex,
        source_port: syn.source_port,
        offset: syn.offset,
        reserved: 0,
    });
    entry.submit(0);
    Outcome::Knock
}

/// Writes the aya-log line of a SYN to the window.
#[inline(always)]
fn log(ctx: &XdpContext, syn: &Syn) {
    let Syn {
        source,
        source_port,
        offset,
    } = *syn;
    if let [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ipv4 @ ..] = source {
        info!(
            ctx,
            "SYN from {:i} port {} to window + {}", ipv4, source_port, offset
        );
    } else {
        info!(
            ctx,
            "SYN from {:i} port {} to window + {}", source, source_port, offset
        );
    }
}

/// Whether this CPU may write a log line: a flood is no reason to keep the daemon busy with
/// reading about it.
#[inline(always)]
fn take_log_token(now: u64) -> bool {
    let Some(bucket) = LOG_BUCKET.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: the pointer is to this CPU's map value, which nobody else uses.
    let Some(next) = LOG_RATE.take(unsafe { bucket.read() }, now) else {
        return false;
    };
    // SAFETY: as above.
    unsafe { bucket.write(next) };
    true
}

/// Whether `source` has a token left. Two CPUs may read the same bucket at once and both
/// take its last token: a bound that is off by a CPU is a bound.
#[inline(always)]
fn take_token(settings: &Settings, source: &[u8; 16], now: u64) -> bool {
    let source = subscriber(source);
    if let Some(bucket) = SOURCES.get_ptr_mut(source) {
        // SAFETY: the pointer is to a map value, which stays allocated while the program
        // runs; it is eight bytes, aligned, and read and written whole.
        let Some(next) = settings.rate.take(unsafe { bucket.read() }, now) else {
            return false;
        };
        // SAFETY: as above.
        unsafe { bucket.write(next) };
        return true;
    }
    let Some(next) = settings.rate.take(0, now) else {
        return false;
    };
    // Without room the source goes unwatched, and the ring's size is the bound.
    let _ = SOURCES.insert(source, next, 0);
    true
}

/// Whom an address is charged to: an IPv4 address, or the /64 that one IPv6 host can take
/// all its addresses from.
#[inline(always)]
fn subscriber(source: &[u8; 16]) -> [u8; 16] {
    let mut subscriber = *source;
    if !is_ipv4_mapped(source) {
        subscriber[8..].copy_from_slice(&[0; 8]);
    }
    subscriber
}

#[inline(always)]
fn is_ipv4_mapped(address: &[u8; 16]) -> bool {
    matches!(address, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..])
}

/// Counts `outcome` and turns it into the XDP action.
#[inline(always)]
fn finish(settings: &Settings, outcome: Outcome) -> u32 {
    if let Some(counter) = COUNTERS.get_ptr_mut(outcome as u32) {
        // SAFETY: the pointer is to this CPU's map value, which no other program writes.
        unsafe { *counter += 1 };
    }
    match outcome {
        Outcome::Knock | Outcome::RateLimited | Outcome::RingFull if settings.drop_knocks != 0 => {
            xdp_action::XDP_DROP
        }
        _ => xdp_action::XDP_PASS,
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
