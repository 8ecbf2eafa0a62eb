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
    budget,
    frame::Frame,
    held,
    maps::{EVENTS, HOLD, LOG_BUCKET, NEW_SOURCES, SOURCES, Syn, TAILED},
};

/// Reports a SYN to `offset` in the window, unless its source exceeds the rate limit. In a flood the
/// first SYNs of a source wait for more of it.
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
    let syn = Syn {
        arrival_ns: now,
        ifindex: frame.ifindex(),
        source_port,
        offset,
        reserved: 0,
    };
    if !budget::is_known(&SOURCES, source)
        && !budget::take_of_cpu(&NEW_SOURCES, settings.new_sources_rate(), now)
    {
        let Some(earlier) = held::hold(source, syn) else {
            return Outcome::Held;
        };
        for number in 0..HOLD {
            if budget::take_token(&SOURCES, settings.rate(), source, now) {
                // It was counted when it was held back.
                let _ = emit(source, earlier.syn(number));
            }
        }
        held::release(source);
    }
    if !budget::take_token(&SOURCES, settings.rate(), source, now) {
        return Outcome::RateLimited;
    }
    // Before the event, so that `tail` subscribers see the SYN before its result.
    if TAILED.get(0).is_some_and(|tailed| *tailed != 0)
        && budget::take_of_cpu(&LOG_BUCKET, LOG_RATE, now)
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
    emit(source, syn)
}

/// Puts `syn` on the ring buffer.
#[inline(always)]
fn emit(source: Address, syn: Syn) -> Outcome {
    let Some(mut entry) = EVENTS.reserve::<KnockEvent>(0) else {
        return Outcome::RingFull;
    };
    entry.write(KnockEvent {
        arrival_ns: syn.arrival_ns,
        source,
        ifindex: syn.ifindex,
        source_port: syn.source_port,
        offset: syn.offset,
        reserved: 0,
    });
    entry.submit(0);
    Outcome::Knock
}
