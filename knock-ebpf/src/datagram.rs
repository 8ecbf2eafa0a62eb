//! Turns a knock datagram into an event on the ring buffer of datagrams.
//!
//! Whatever else comes to the port of knock datagrams belongs to the service there, and passes.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_log_ebpf::info;
use knock_common::{
    address::Address,
    counters::Outcome,
    event::DatagramEvent,
    settings::{LOG_RATE, Settings},
};

use crate::{
    body::Body,
    budget,
    frame::Frame,
    headers::PROTOCOL_UDP,
    maps::{DATAGRAM_SOURCES, DATAGRAMS, LOG_BUCKET, SEEN, Seen, TAILED},
    parse::Datagram,
    route,
};

/// How long copies of a datagram are dropped, in nanoseconds. A client sends its copies within this
/// time. It is short: if the daemon dies before it has handled an event, only a copy after this time
/// becomes another event.
const COPIES_NS: u64 = 5_000_000_000;

/// The outcome of a knock datagram for this host. `Err` for any other datagram: its outcome, unless
/// the gate protects its port.
#[inline(always)]
pub(crate) fn knock<F: Frame>(
    frame: &F,
    settings: &Settings,
    datagram: &Datagram,
) -> Result<Outcome, Outcome> {
    let Some(body) = datagram.body else {
        return Err(Outcome::NotTcp);
    };
    // The verifier follows the hash once then, not for each way in which the parser came here.
    let Ok(body) = frame.cursor().again(body) else {
        return Err(Outcome::NotTcp);
    };
    if !body.is_authentic(settings.mac1()) {
        return Err(Outcome::DatagramOther);
    }
    let Some(source) = datagram.ip.source() else {
        return Err(Outcome::DatagramOther);
    };
    if datagram.ip.is_martian(source, frame.ifindex()) {
        return Err(Outcome::Martian);
    }
    // After `mac1`: a lookup of the route costs several times as much.
    let ports = datagram.ports;
    if route::is_elsewhere(frame, settings, datagram.ip, PROTOCOL_UDP, ports) {
        return Err(Outcome::Forwarded);
    }
    Ok(report(frame, settings, source, ports.source, body))
}

/// Reports a datagram, unless it is a copy or its source exceeds the rate limit.
#[inline(always)]
fn report<F: Frame>(
    frame: &F,
    settings: &Settings,
    source: Address,
    source_port: u16,
    body: &Body,
) -> Outcome {
    // SAFETY: the helper takes no arguments and only reads a clock.
    let now = unsafe { bpf_ktime_get_ns() };
    let seen = Seen {
        mac1: body.mac1(),
        source,
    };
    if is_copy(&seen, now) {
        return Outcome::DatagramCopy;
    }
    if !budget::take_token(&DATAGRAM_SOURCES, settings.datagram_rate(), source, now) {
        return Outcome::DatagramLimited;
    }
    // Before the event, so that `tail` subscribers see the datagram before its result.
    if TAILED.get(0).is_some_and(|tailed| *tailed != 0)
        && budget::take_of_cpu(&LOG_BUCKET, LOG_RATE, now)
    {
        match source.as_v4() {
            Some(source) => info!(frame, "datagram from {:i} port {}", source, source_port),
            None => info!(
                frame,
                "datagram from {:i} port {}",
                source.octets(),
                source_port
            ),
        }
    }
    let Some(mut entry) = DATAGRAMS.reserve::<DatagramEvent>(0) else {
        return Outcome::DatagramRingFull;
    };
    entry.write(DatagramEvent {
        arrival_ns: now,
        source,
        ifindex: frame.ifindex(),
        source_port,
        reserved: [0; 2],
        bytes: body.bytes(),
    });
    entry.submit(0);
    // Only now, so that a copy can make up for a datagram that was lost. If the map is full, copies
    // reach the daemon, which recognises them too.
    let _ = SEEN.insert(seen, now, 0);
    Outcome::Datagram
}

/// Whether this datagram has become an event within the last [`COPIES_NS`].
#[inline(always)]
fn is_copy(seen: &Seen, now: u64) -> bool {
    let Some(at) = SEEN.get_ptr(seen) else {
        return false;
    };
    // SAFETY: the pointer is to a map value, which stays allocated while the program runs. The value
    // is an aligned eight-byte integer, read as a whole.
    let at = unsafe { at.read() };
    // Another CPU may have read its clock later.
    now.saturating_sub(at) < COPIES_NS
}
