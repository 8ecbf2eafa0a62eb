//! Turns a SYN to the window into an event on the ring buffer.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_log_ebpf::info;
use knock_common::{
    address::Address,
    counters::Outcome,
    event::KnockEvent,
    settings::{LOG_RATE, Settings},
};

use crate::{
    frame::Frame,
    log,
    maps::{EVENTS, LOG_BUCKET, SOURCES, TAILED},
};

/// Reports a SYN to `offset` in the window, unless its source exceeds the rate limit.
#[inline(always)]
pub(crate) fn knock<F: Frame>(
    frame: &F,
    settings: &Settings,
    source: Address,
    source_port: u16,
    offset: u8,
) -> Outcome {
    // SAFETY: the helper takes no arguments and only reads a clock.
    let now = unsafe { bpf_ktime_get_ns() };
    if !take_token(settings, source, now) {
        return Outcome::RateLimited;
    }
    // Before the event, so that `tail` subscribers see the SYN before its result.
    if TAILED.get(0).is_some_and(|tailed| *tailed != 0)
        && log::take_token(&LOG_BUCKET, LOG_RATE, now)
    {
        match source.as_v4() {
            Some(source) => info!(
                frame,
                "SYN from {:i} port {} to window + {}", source, source_port, offset
            ),
            None => info!(
                frame,
                "SYN from {:i} port {} to window + {}",
                source.octets(),
                source_port,
                offset
            ),
        }
    }
    let Some(mut entry) = EVENTS.reserve::<KnockEvent>(0) else {
        return Outcome::RingFull;
    };
    entry.write(KnockEvent {
        arrival_ns: now,
        source,
        ifindex: frame.ifindex(),
        source_port,
        offset,
        reserved: 0,
    });
    entry.submit(0);
    Outcome::Knock
}

/// Takes a token of `source`; `false` if there is none left. Two CPUs may read the same bucket at
/// the same time and both take its last token. The limit need not be exact.
#[inline(always)]
fn take_token(settings: &Settings, source: Address, now: u64) -> bool {
    let source = subscriber(source);
    let rate = settings.rate();
    if let Some(bucket) = SOURCES.get_ptr_mut(source) {
        // SAFETY: the pointer is to a map value, which stays allocated while the program runs. The
        // value is an aligned eight-byte integer, read and written as a whole.
        let Some(next) = rate.take(unsafe { bucket.read() }, now) else {
            return false;
        };
        // SAFETY: as above.
        unsafe { bucket.write(next) };
        return true;
    }
    let Some(next) = rate.take(0, now) else {
        return false;
    };
    // If the map is full, the source is not limited; the size of the ring buffer still is.
    let _ = SOURCES.insert(source, next, 0);
    true
}

/// The address that owns the token bucket: an IPv4 address itself, or the /64 prefix of an IPv6
/// address, because one IPv6 host can use all addresses of a /64.
#[inline(always)]
fn subscriber(source: Address) -> Address {
    match source.as_v4() {
        Some(_) => source,
        None => source.masked(64),
    }
}
