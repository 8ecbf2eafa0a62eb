//! Whether a connection or a datagram may reach a protected port.

use aya_ebpf::{helpers::bpf_ktime_get_boot_ns, maps::lpm_trie::Key, programs::XdpContext};
use aya_log_ebpf::warn;
use knock_common::{
    counters::Outcome,
    gate::{HOST, LeaseKey, Transport, protected_bit},
    settings::{OBSERVED_RATE, Settings},
};

use crate::{
    log::{self, Source},
    maps::{LEASES, OBSERVED_BUCKET, PROTECTED, TRUSTED},
    parse::{Datagram, Ip, Segment},
};

/// Judges a segment to a port outside the window.
#[inline(always)]
pub(crate) fn segment(ctx: &XdpContext, settings: &Settings, segment: &Segment) -> Outcome {
    let port = segment.tcp.destination_port();
    if !settings.guards(Transport::Tcp)
        || !segment.tcp.may_open_connection()
        || !is_protected(Transport::Tcp, port)
    {
        return Outcome::OutsideWindow;
    }
    admit(ctx, settings, segment.ip, Transport::Tcp, port)
}

/// Judges a datagram.
#[inline(always)]
pub(crate) fn datagram(ctx: &XdpContext, settings: &Settings, datagram: &Datagram) -> Outcome {
    let port = datagram.udp.destination_port();
    if !is_protected(Transport::Udp, port) {
        return Outcome::NotTcp;
    }
    admit(ctx, settings, datagram.ip, Transport::Udp, port)
}

#[inline(always)]
fn is_protected(transport: Transport, port: u16) -> bool {
    let (index, bit) = protected_bit(transport, port);
    PROTECTED.get(index).is_some_and(|bits| bits & bit != 0)
}

#[inline(always)]
fn admit(
    ctx: &XdpContext,
    settings: &Settings,
    ip: Ip,
    transport: Transport,
    port: u16,
) -> Outcome {
    let Some(source) = ip.source() else {
        return Outcome::GateRefused;
    };
    if is_leased(settings, ip, &source, transport, port) {
        return Outcome::GateLeased;
    }
    if settings.has_trusted() && TRUSTED.get(Key::new(u32::from(HOST), source)).is_some() {
        return Outcome::GateTrusted;
    }
    if settings.observes() && log::take_token(&OBSERVED_BUCKET, OBSERVED_RATE, now()) {
        let name = match transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        match log::source(&source) {
            Source::V4(source) => warn!(ctx, "{:i} to {}/{}", source, name, port),
            Source::V6(source) => warn!(ctx, "{:i} to {}/{}", source, name, port),
        }
    }
    Outcome::GateRefused
}

#[inline(always)]
fn is_leased(
    settings: &Settings,
    ip: Ip,
    source: &[u8; 16],
    transport: Transport,
    port: u16,
) -> bool {
    let has = |prefix_len| {
        let key = LeaseKey::new(*source, prefix_len, transport, port);
        has_lease(settings, &key, transport)
    };
    match ip {
        Ip::V4(_) => has(HOST),
        Ip::V6(_) => settings
            .prefix_lens()
            .into_iter()
            .any(|prefix_len| prefix_len != 0 && has(prefix_len)),
    }
}

/// Whether there is a lease of this very key, which a datagram keeps going.
#[inline(always)]
fn has_lease(settings: &Settings, key: &LeaseKey, transport: Transport) -> bool {
    let Some(lease) = LEASES.get_ptr_mut(key) else {
        return false;
    };
    // Not before, since most who knock at a protected port have no lease.
    let now = now();
    // SAFETY: the pointer is to a map value, which stays allocated while the program runs;
    // its fields are eight bytes each, aligned, and read one by one.
    let held = unsafe { lease.read() }.holds(now, settings.idle_ns(transport));
    if held && matches!(transport, Transport::Udp) {
        // SAFETY: as above; nobody but this program writes the field.
        unsafe { (*lease).seen_ns = now };
    }
    held
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper takes no arguments and only reads a clock.
    unsafe { bpf_ktime_get_boot_ns() }
}
