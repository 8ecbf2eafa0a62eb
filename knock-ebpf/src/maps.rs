//! What the program shares with the daemon, by name.

use aya_ebpf::{
    macros::map,
    maps::{Array, LruHashMap, PerCpuArray, RingBuf},
};
use knock_common::{counters::Outcome, settings::Settings};

/// 512 KiB hold 13,000 events: 40 ms of a flood of 300,000 SYNs a second, in which a busy
/// daemon may be away from the ring.
const EVENTS_BYTES: u32 = 512 * 1024;

/// Sources whose rate is watched at once. An LRU map gives up its oldest entries early when
/// it is small, and a source that was forgotten starts with a full bucket again.
const MAX_SOURCES: u32 = 65_536;

#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);

/// One value; the daemon writes it before it attaches the program.
#[map]
pub(crate) static SETTINGS: Array<Settings> = Array::with_max_entries(1, 0);

/// Indexed by [`Outcome`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Outcome::COUNT, 0);

/// Token buckets ([`knock_common::rate::Rate`]) by source.
#[map]
pub(crate) static SOURCES: LruHashMap<[u8; 16], u64> = LruHashMap::with_max_entries(MAX_SOURCES, 0);

/// The token bucket of this CPU's log lines.
#[map]
pub(crate) static LOG_BUCKET: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
