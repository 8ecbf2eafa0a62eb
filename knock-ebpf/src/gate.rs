//! The gate: decides whether a connection or a datagram may reach a protected port.

use core::num::NonZeroU64;

use aya_ebpf::maps::lpm_trie::Key;
use aya_log_ebpf::warn;
use knock_common::{
    address::Address,
    counters::Outcome,
    gate::{HOST, LeaseKey, Transport, protected_bit},
    settings::{OBSERVED_RATE, Settings},
};

use crate::{
    budget, clock,
    frame::Frame,
    headers::Ports,
    maps::{LEASES, OBSERVED_BUCKET, PROTECTED, TRUSTED},
    parse::{Datagram, Ip, Segment},
    route,
};

/// Classifies a segment that may open a connection to a port outside the window.
#[inline(always)]
pub(crate) fn segment<F: Frame>(frame: &F, settings: &Settings, segment: &Segment) -> Outcome {
    let ports = segment.tcp.ports();
    if !is_protected(Transport::Tcp, ports.destination) {
        return Outcome::OutsideWindow;
    }
    admit(frame, settings, segment.ip, Transport::Tcp, ports)
}

/// Classifies a datagram that is no knock. Its outcome is `unprotected` if the gate does not protect
/// its port.
#[inline(always)]
pub(crate) fn datagram<F: Frame>(
    frame: &F,
    settings: &Settings,
    datagram: &Datagram,
    unprotected: Outcome,
) -> Outcome {
    let ports = datagram.ports;
    if !is_protected(Transport::Udp, ports.destination) {
        return unprotected;
    }
    admit(frame, settings, datagram.ip, Transport::Udp, ports)
}

#[inline(always)]
fn is_protected(transport: Transport, port: u16) -> bool {
    let (index, bit) = protected_bit(transport, port);
    PROTECTED.get(index).is_some_and(|bits| bits & bit != 0)
}

#[inline(always)]
fn admit<F: Frame>(
    frame: &F,
    settings: &Settings,
    ip: Ip,
    transport: Transport,
    ports: Ports,
) -> Outcome {
    let port = ports.destination;
    let Some(source) = ip.source() else {
        return Outcome::GateRefused;
    };
    if is_leased(settings, ip, source, transport, port) {
        return Outcome::GateLeased;
    }
    if settings.has_trusted()
        && TRUSTED
            .get(Key::new(u32::from(HOST), source.octets()))
            .is_some()
    {
        return Outcome::GateTrusted;
    }
    if route::is_elsewhere(frame, settings, ip, transport.number(), ports) {
        return Outcome::Forwarded;
    }
    if settings.observes() && budget::take_of_cpu(&OBSERVED_BUCKET, OBSERVED_RATE, clock::now()) {
        let name = match transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        match source.as_v4() {
            Some(source) => warn!(frame, "{:i} to {}/{}", source, name, port),
            None => warn!(frame, "{:i} to {}/{}", source.octets(), name, port),
        }
    }
    Outcome::GateRefused
}

// Inlined everywhere, as the whole program is: on many processors the mitigations of speculative
// execution make a function's return as expensive as a map lookup.
#[inline(always)]
fn is_leased(
    settings: &Settings,
    ip: Ip,
    source: Address,
    transport: Transport,
    port: u16,
) -> bool {
    let idle = settings.idle_ns(transport);
    let prefix_lens = match ip {
        Ip::V4(_) => settings.ipv4_prefix_lens(),
        Ip::V6(_) => settings.prefix_lens(),
    };
    for prefix_len in prefix_lens {
        if prefix_len == 0 {
            break;
        }
        if has_lease(&LeaseKey::new(source, prefix_len, transport, port), idle) {
            return true;
        }
    }
    false
}

/// Whether there is a valid lease with exactly this key. A datagram (`idle` is set) extends it.
#[inline(always)]
fn has_lease(key: &LeaseKey, idle: Option<NonZeroU64>) -> bool {
    let Some(lease) = LEASES.get_ptr_mut(key) else {
        return false;
    };
    // SAFETY: the pointer is to a map value, which stays allocated while the program runs. Its
    // fields are aligned eight-byte integers, each read with one load.
    let held = unsafe { lease.read() };
    // After the lookup, because most unwanted packets to a protected port have no lease.
    let mut now = clock::recent();
    if !held.holds(now + clock::RECENT_NS, idle) {
        now = clock::now();
    }
    if !held.holds(now, idle) {
        return false;
    }
    if idle.is_some() && held.seen_ns != now {
        // SAFETY: as above; only this program writes the field.
        unsafe { (*lease).seen_ns = now };
    }
    true
}
