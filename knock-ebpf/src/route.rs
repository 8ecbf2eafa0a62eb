//! Whether this host forwards a packet to another host.

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS,
        bpf_fib_lookup as Lookup,
    },
    helpers::bpf_fib_lookup,
    maps::lpm_trie::Key,
};
use knock_common::{
    counters::SLOTS,
    gate::HOST,
    settings::{Destinations, Settings},
};

use crate::{
    frame::Frame,
    headers::Ports,
    maps::{ADDRESSES, UNROUTED},
    parse::Ip,
};

/// `AF_INET` and `AF_INET6` of linux/socket.h.
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// The length of a [`Lookup`] in bytes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "it is 64"
)]
const LOOKUP_LEN: i32 = size_of::<Lookup>() as i32;

/// Whether the packet is for another host, so that neither the window nor the gate applies to it.
/// Anything that is not certain to be forwarded is for this host. `protocol` is that
/// behind the extension headers, which the kernel skips for its rules.
#[inline(always)]
pub(crate) fn is_elsewhere<F: Frame>(
    frame: &F,
    settings: &Settings,
    ip: Ip,
    protocol: u8,
    ports: Ports,
) -> bool {
    match settings.destinations() {
        Destinations::All => false,
        Destinations::Listed => ADDRESSES
            .get(Key::new(u32::from(HOST), ip.destination().octets()))
            .is_none(),
        Destinations::Local => {
            asks_routing(frame.ifindex()) && is_forwarded(frame, ip, protocol, ports)
        }
    }
}

/// Whether the routing of the interface is that of its packets.
#[inline(always)]
fn asks_routing(ifindex: u32) -> bool {
    UNROUTED
        .get(ifindex % SLOTS)
        .is_some_and(|unrouted| *unrouted == 0)
}

/// Asks the kernel's routing, with its rules, as for a packet that this interface has received.
#[inline(always)]
fn is_forwarded<F: Frame>(frame: &F, ip: Ip, protocol: u8, ports: Ports) -> bool {
    // SAFETY: the struct has only integers, arrays and unions of them: zeros are valid.
    let mut lookup: Lookup = unsafe { core::mem::zeroed() };
    lookup.ifindex = frame.ifindex();
    lookup.l4_protocol = protocol;
    // Rules of the routing may look at them.
    (lookup.sport, lookup.dport) = (ports.source.to_be(), ports.destination.to_be());
    match ip {
        Ip::V4(ip) => {
            lookup.family = AF_INET;
            lookup.__bindgen_anon_2.tos = ip.service;
            lookup.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(ip.source);
            lookup.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(ip.destination);
        }
        Ip::V6(ip) => {
            lookup.family = AF_INET6;
            lookup.__bindgen_anon_2.flowinfo = ip.flow_info();
            lookup.__bindgen_anon_3.ipv6_src = words(ip.source);
            lookup.__bindgen_anon_4.ipv6_dst = words(ip.destination);
        }
    }
    // SAFETY: the context is the kernel's, and the length is that of the struct.
    let result = unsafe { bpf_fib_lookup(frame.as_ptr(), &raw mut lookup, LOOKUP_LEN, 0) };
    // The other results: a local, broadcast or multicast address, no route, a route that rejects or
    // into a tunnel (which may end here), forwarding is off, or the lookup failed.
    [
        BPF_FIB_LKUP_RET_SUCCESS,
        BPF_FIB_LKUP_RET_NO_NEIGH,
        BPF_FIB_LKUP_RET_FRAG_NEEDED,
    ]
    .iter()
    .any(|forwarded| u32::try_from(result) == Ok(*forwarded))
}

#[inline(always)]
fn words(address: [u8; 16]) -> [u32; 4] {
    // SAFETY: both are 16 bytes, and every bit pattern is valid.
    unsafe { core::mem::transmute(address) }
}
