//! The programs of knockd: they report SYNs to the window to the daemon, and admit to protected
//! ports only sources with a lease or in a trusted network.
//!
//! There is one program for each way in which a kernel passes frames: two for XDP and two for
//! traffic control (tc). They differ only in how they find the packet ([`frame`]). [`parse`]
//! classifies it. A SYN to the window takes a token of its source and goes to the ring buffer
//! ([`knock`]), and a knock datagram to a ring buffer of its own ([`mod@datagram`]). Any other packet to a
//! protected port is checked against the leases ([`gate`]). A packet that the host forwards to
//! another host passes ([`route`]), as any other frame does. [`count`] counts the outcome.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]
// The assembler is stable for other processors only.
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod body;
mod budget;
mod clock;
mod datagram;
mod frame;
mod gate;
mod headers;
mod held;
mod knock;
mod maps;
mod packet;
mod parse;
mod route;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action},
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use knock_common::{
    counters::{Outcome, SLOTS},
    gate::Transport,
    settings::Settings,
};

use crate::{
    frame::{Frame, Skb, Xdp},
    headers::{PROTOCOL_TCP, Ports},
    maps::{COUNTERS, SETTINGS},
    parse::{Carried, Datagram, Other, Segment},
};

// `frags`: the program attaches to interfaces with any MTU, where a frame may span several
// buffers. All headers are in the first buffer; the others hold only payload, which is not read.
#[xdp(frags)]
fn knock_xdp(ctx: XdpContext) -> u32 {
    xdp_verdict(&Xdp::<true>(ctx))
}

/// For kernels before 5.18, which know no frames in several buffers.
#[xdp]
fn knock_xdp_linear(ctx: XdpContext) -> u32 {
    xdp_verdict(&Xdp::<false>(ctx))
}

/// For interfaces with Ethernet headers to which no XDP program can be attached.
#[classifier]
fn knock_tc(ctx: TcContext) -> i32 {
    let frame = Skb::new(ctx, &SETTINGS);
    let parsed = ethernet(&frame);
    tc_verdict(&frame, parsed)
}

/// For interfaces without Ethernet headers, such as ppp, tun and WireGuard.
#[classifier]
fn knock_tc_ip(ctx: TcContext) -> i32 {
    let frame = Skb::new(ctx, &SETTINGS);
    let is_elsewhere =
        |ip, protocol| route::is_elsewhere(&frame, &SETTINGS, ip, protocol, Ports::default());
    let parsed = match frame.packet() {
        Ok(packet) => parse::packet(packet, frame.ether_type(), &SETTINGS, is_elsewhere),
        Err(truncated) => Err(truncated.into()),
    };
    tc_verdict(&frame, parsed)
}

#[inline(always)]
fn ethernet<F: Frame>(frame: &F) -> Result<Carried, Other> {
    let is_elsewhere =
        |ip, protocol| route::is_elsewhere(frame, &SETTINGS, ip, protocol, Ports::default());
    parse::frame(frame.cursor(), &SETTINGS, is_elsewhere)
}

#[inline(always)]
fn xdp_verdict<F: Frame>(frame: &F) -> u32 {
    if is_dropped(frame, ethernet(frame)) {
        xdp_action::XDP_DROP
    } else {
        xdp_action::XDP_PASS
    }
}

/// `TC_ACT_UNSPEC` passes the frame to the programs and filters after this one.
#[inline(always)]
fn tc_verdict(frame: &Skb, parsed: Result<Carried, Other>) -> i32 {
    if is_dropped(frame, parsed) {
        TC_ACT_SHOT
    } else {
        TC_ACT_UNSPEC
    }
}

/// Counts the outcome for `frame`, and returns whether it is dropped.
#[inline(always)]
fn is_dropped<F: Frame>(frame: &F, parsed: Result<Carried, Other>) -> bool {
    let settings = &SETTINGS;
    let outcome = outcome(frame, settings, parsed);
    count(frame.ifindex(), outcome);
    settings.drops(outcome)
}

#[inline(always)]
fn outcome<F: Frame>(frame: &F, settings: &Settings, parsed: Result<Carried, Other>) -> Outcome {
    match parsed {
        Ok(Carried::Segment(carried)) => segment(frame, settings, &carried),
        Ok(Carried::Datagram(carried)) => datagram(frame, settings, &carried),
        Err(Other::Unclear(_)) if settings.has_gate() => Outcome::GateUnclear,
        Err(Other::Unclear(outcome) | Other::Harmless(outcome)) => outcome,
    }
}

#[inline(always)]
fn segment<F: Frame>(frame: &F, settings: &Settings, segment: &Segment) -> Outcome {
    let Some(offset) = segment.offset else {
        return gate::segment(frame, settings, segment);
    };
    if !segment.tcp.is_knock() {
        return Outcome::NotSyn;
    }
    let ports = segment.tcp.ports();
    if route::is_elsewhere(frame, settings, segment.ip, PROTOCOL_TCP, ports) {
        return Outcome::Forwarded;
    }
    match segment.ip.source() {
        Some(source) if segment.is_consistent(|| frame.further()) => {
            if segment.ip.is_martian(source, frame.ifindex()) {
                return Outcome::Martian;
            }
            knock::knock(frame, settings, source, segment.tcp.source_port(), offset)
        }
        _ => Outcome::Malformed,
    }
}

#[inline(always)]
fn datagram<F: Frame>(frame: &F, settings: &Settings, datagram: &Datagram) -> Outcome {
    match datagram::knock(frame, settings, datagram) {
        Ok(outcome) => outcome,
        Err(other) if settings.guards(Transport::Udp) => {
            gate::datagram(frame, settings, datagram, other)
        }
        Err(other) => other,
    }
}

#[inline(always)]
fn count(ifindex: u32, outcome: Outcome) {
    if let Some(counters) = COUNTERS.get_ptr_mut(ifindex % SLOTS) {
        // SAFETY: the pointer is to this CPU's map value, which no other program writes.
        unsafe { (*counters)[outcome as usize] += 1 };
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
