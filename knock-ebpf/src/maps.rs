//! What the program shares with the daemon, by name.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
};
use knock_common::{
    address::Address,
    counters::Outcome,
    gate::{Lease, LeaseKey, MAX_TRUSTED, PROTECTED_LEN},
    settings::{DEFAULT_EVENT_RATE, Settings, Verdict},
    window::Window,
};

use crate::clock::Glance;

/// 2 MiB hold 43,000 events: 100 ms of a flood of 400,000 SYNs a second, in which a busy
/// daemon may be away from the ring.
const EVENTS_BYTES: u32 = 2 * 1024 * 1024;

/// Sources whose rate is watched at once. An LRU map gives up its oldest entries early when
/// it is small, and a source that was forgotten starts with a full bucket again.
const MAX_SOURCES: u32 = 65_536;

#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);

/// The daemon puts its own here when it loads the program, by this name.
#[unsafe(no_mangle)]
pub(crate) static SETTINGS: Settings =
    Settings::new(Window::DEFAULT, Verdict::Drop, DEFAULT_EVENT_RATE);

/// Whether every knock writes an aya-log line: 1 while somebody tails, or else 0.
#[map]
pub(crate) static TAILED: Array<u32> = Array::with_max_entries(1, 0);

/// Indexed by [`Outcome`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(Outcome::COUNT, 0);

/// Token buckets ([`knock_common::rate::Rate`]) by source.
#[map]
pub(crate) static SOURCES: LruHashMap<Address, u64> = LruHashMap::with_max_entries(MAX_SOURCES, 0);

/// The token bucket of this CPU's log lines.
#[map]
pub(crate) static LOG_BUCKET: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// Overridden by the daemon with `limits.leases`. No LRU map: a lease is never evicted in
/// favour of another one.
const MAX_LEASES: u32 = 16_384;

/// `BPF_F_NO_PREALLOC`, which a trie demands.
const NO_PREALLOC: u32 = 1;

/// Who is let in, where, until when. The daemon keeps this map when it loads the program anew.
#[map]
pub(crate) static LEASES: HashMap<LeaseKey, Lease> = HashMap::with_max_entries(MAX_LEASES, 0);

/// A bit for each protected port: [`knock_common::gate::protected_bit`].
#[map]
pub(crate) static PROTECTED: Array<u64> = Array::with_max_entries(PROTECTED_LEN, 0);

/// The networks from which everybody is let in; IPv4 as IPv4-mapped IPv6.
#[map]
pub(crate) static TRUSTED: LpmTrie<[u8; 16], u8> =
    LpmTrie::with_max_entries(MAX_TRUSTED, NO_PREALLOC);

/// This CPU's last look at the clock.
#[map]
pub(crate) static GLANCE: PerCpuArray<Glance> = PerCpuArray::with_max_entries(1, 0);

/// The token bucket of this CPU's lines about what a gate would have dropped.
#[map]
pub(crate) static OBSERVED_BUCKET: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
