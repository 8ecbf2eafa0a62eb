//! The flood generator of the benchmarks. Each run derives another packet from its input frame, a SYN
//! or a datagram, and redirects it to an interface. `BPF_PROG_TEST_RUN` with live frames
//! (`BPF_F_TEST_XDP_LIVE_FRAMES`) sends more of them than a socket can.

#![cfg_attr(target_arch = "bpf", no_std, no_main)]

use aya_ebpf::{
    bindings::xdp_action,
    helpers::bpf_get_prandom_u32,
    macros::{map, xdp},
    maps::{Array, DevMap},
    programs::XdpContext,
};

/// The interface that the packets leave through.
#[map]
static CABLE: DevMap = DevMap::with_max_entries(1, 0);

/// The ranges of the packets: the first source address, the number of source addresses, the first
/// destination port, the number of destination ports.
#[map]
static RANGES: Array<[u32; 4]> = Array::with_max_entries(1, 0);

/// The start of an Ethernet frame as 16-bit checksum words: its IPv4 header without options, and as
/// many bytes after it as a TCP header has.
type Packet = [u16; 27];

const IP: usize = 7;
const IP_PROTOCOL: usize = IP + 4;
const IP_CHECKSUM: usize = IP + 5;
const IP_SOURCE: usize = IP + 6;
/// The source port of TCP or UDP; the destination port follows.
const PORTS: usize = IP + 10;
const TCP_CHECKSUM: usize = PORTS + 8;

/// The protocol number of TCP.
const TCP: u16 = 6;

#[expect(
    clippy::needless_pass_by_value,
    reason = "the macro passes the context by value"
)]
#[xdp]
fn flood_xdp(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    if start + size_of::<Packet>() > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    let Some(ranges) = RANGES.get(0) else {
        return xdp_action::XDP_ABORTED;
    };
    // SAFETY: the frame is long enough (checked above), it starts at an even address because the
    // page's headroom ends at one, and only this program accesses it while it runs.
    let packet = unsafe { &mut *(start as *mut Packet) };
    vary(packet, ranges);
    CABLE.redirect(0, 0).unwrap_or(xdp_action::XDP_ABORTED)
}

/// Sets a random source address, source port and destination port. A datagram has no checksum, which
/// IPv4 allows.
#[inline(always)]
fn vary(packet: &mut Packet, &[address, addresses, port, ports]: &[u32; 4]) {
    let is_tcp = u16::from_be(packet[IP_PROTOCOL]) & 0xff == TCP;
    let source = address + below(addresses);
    for (at, value) in [(IP_SOURCE, source >> 16), (IP_SOURCE + 1, source)] {
        let old = set(packet, at, value);
        correct(packet, IP_CHECKSUM, old, at);
        if is_tcp {
            correct(packet, TCP_CHECKSUM, old, at);
        }
    }
    for (at, value) in [(PORTS, below(0x1_0000)), (PORTS + 1, port + below(ports))] {
        let old = set(packet, at, value);
        if is_tcp {
            correct(packet, TCP_CHECKSUM, old, at);
        }
    }
}

/// A random number less than `bound`.
#[inline(always)]
fn below(bound: u32) -> u32 {
    // SAFETY: the helper takes no arguments and only returns a number.
    let random = unsafe { bpf_get_prandom_u32() };
    ((u64::from(random) * u64::from(bound)) >> 32) as u32
}

/// Writes the lower 16 bits of `value` to the word `at` and returns the old word.
#[inline(always)]
fn set(packet: &mut Packet, at: usize, value: u32) -> u16 {
    core::mem::replace(&mut packet[at], ((value & 0xffff) as u16).to_be())
}

/// Updates the checksum at `place`, which covers the word at `at`, for a change of that word from
/// `old` (RFC 1624).
#[inline(always)]
fn correct(packet: &mut Packet, place: usize, old: u16, at: usize) {
    let sum = u32::from(!packet[place]) + u32::from(!old) + u32::from(packet[at]);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    packet[place] = !((sum & 0xffff) as u16);
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[cfg(not(target_arch = "bpf"))]
fn main() {}
