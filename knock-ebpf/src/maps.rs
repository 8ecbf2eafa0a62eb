//! The maps and constants that the program shares with the daemon, which finds them by name.

use aya_ebpf::{
    macros::map,
    maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf},
};
use knock_common::{
    address::Address,
    counters::{Counts, SLOTS},
    event::{DATAGRAM_RING_BYTES, RING_BYTES},
    gate::{Lease, LeaseKey, MAX_TRUSTED, PROTECTED_LEN},
    settings::{DEFAULT_EVENT_RATE, Settings, Verdict},
    window::Window,
};

/// The maximum number of sources with a token bucket. A small LRU map evicts entries too early,
/// and an evicted source starts again with a full bucket.
const MAX_SOURCES: u32 = 65_536;

#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// The events of datagrams. A ring of their own, so that a flood of SYNs does not fill it.
#[map]
pub(crate) static DATAGRAMS: RingBuf = RingBuf::with_byte_size(DATAGRAM_RING_BYTES, 0);

/// The daemon replaces this value when it loads the program.
#[unsafe(no_mangle)]
pub(crate) static SETTINGS: Settings =
    Settings::new(Window::DEFAULT, Verdict::Drop, DEFAULT_EVENT_RATE);

/// 1 while there are `tail` subscribers, so that every SYN to the window and every knock datagram is
/// logged; else 0.
#[map]
pub(crate) static TAILED: Array<u32> = Array::with_max_entries(1, 0);

/// The counters of an interface, in the slot of its index; each indexed by [`knock_common::counters::Outcome`].
#[map]
pub(crate) static COUNTERS: PerCpuArray<Counts> = PerCpuArray::with_max_entries(SLOTS, 0);

/// Token buckets ([`knock_common::rate::Rate`]) for SYNs to the window, by source.
#[map]
pub(crate) static SOURCES: LruHashMap<Address, u64> = LruHashMap::with_max_entries(MAX_SOURCES, 0);

/// The token bucket of this CPU for sources that become known with their first SYN.
#[map]
pub(crate) static NEW_SOURCES: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The SYNs that are held back of one source. The next one makes the source known. A knock consists
/// of 16, so it is always complete.
pub(crate) const HOLD: usize = 3;

/// A SYN to the window that is held back. Its source is the key of [`HELD`].
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Syn {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) arrival_ns: u64,
    pub(crate) ifindex: u32,
    pub(crate) source_port: u16,
    /// The offset of the destination port in the window.
    pub(crate) offset: u8,
    pub(crate) reserved: u8,
}

/// The SYNs of one source that are held back: the first `count` of `syns`.
///
/// Two CPUs may change it at the same time, so that one of two SYNs is lost, as in a network. The
/// client sends each in several copies.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub(crate) count: u64,
    pub(crate) syns: [Syn; HOLD],
}

// The kernel copies the value as a whole: there must be no padding.
const _: () = assert!(size_of::<Held>() == size_of::<u64>() + HOLD * 16);

/// The first SYNs of sources that are not known yet, in a flood. A flood of 1,000,000 sources per
/// second needs 65 ms to evict one: a knock at the client's default pace takes 8 ms until its source
/// is known.
#[map]
pub(crate) static HELD: LruHashMap<Address, Held> = LruHashMap::with_max_entries(MAX_SOURCES, 0);

/// The maximum number of datagrams that are known as seen, and of sources with a token bucket for
/// them. Only a sender that knows the server's public key can add entries. If such a sender evicts
/// the entries of others with forged sources, the daemon has to recognize more copies itself. No
/// datagram is lost.
const MAX_DATAGRAMS: u32 = 16_384;

/// Token buckets for knock datagrams, by source. They are apart from those for SYNs, so that SYNs with
/// a client's forged address do not stop its datagram.
#[map]
pub(crate) static DATAGRAM_SOURCES: LruHashMap<Address, u64> =
    LruHashMap::with_max_entries(MAX_DATAGRAMS, 0);

/// A knock datagram for the recognition of its copies. With the source, so that a recording that is
/// faster from elsewhere does not take the place of the genuine datagram.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) mac1: u64,
    pub(crate) source: Address,
}

// The kernel compares keys byte by byte: there must be no padding.
const _: () = assert!(size_of::<Seen>() == size_of::<u64>() + size_of::<Address>());

/// When a datagram became an event, in nanoseconds of `CLOCK_MONOTONIC`.
#[map]
pub(crate) static SEEN: LruHashMap<Seen, u64> = LruHashMap::with_max_entries(MAX_DATAGRAMS, 0);

/// The token bucket for log lines of this CPU.
#[map]
pub(crate) static LOG_BUCKET: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// The default; the daemon sets `limits.leases`. This is not an LRU map, because a new lease must
/// not evict another one.
const MAX_LEASES: u32 = 16_384;

/// `BPF_F_NO_PREALLOC`, which the kernel requires for an LPM trie.
const NO_PREALLOC: u32 = 1;

/// Which sources are admitted to which ports, and until when. The daemon keeps this map when it
/// reloads the program.
#[map]
pub(crate) static LEASES: HashMap<LeaseKey, Lease> = HashMap::with_max_entries(MAX_LEASES, 0);

/// One bit for each protected port: [`knock_common::gate::protected_bit`].
#[map]
pub(crate) static PROTECTED: Array<u64> = Array::with_max_entries(PROTECTED_LEN, 0);

/// The trusted networks; IPv4 networks as IPv4-mapped IPv6.
#[map]
pub(crate) static TRUSTED: LpmTrie<[u8; 16], u8> =
    LpmTrie::with_max_entries(MAX_TRUSTED, NO_PREALLOC);

/// For the slot of an interface: not 0 if another interface with a routing table of its own may
/// receive its packets, so that no routing is asked about them.
#[map]
pub(crate) static UNROUTED: Array<u32> = Array::with_max_entries(SLOTS, 0);

/// The networks of this host, if they are listed; in the same form as [`TRUSTED`].
#[map]
pub(crate) static ADDRESSES: LpmTrie<[u8; 16], u8> =
    LpmTrie::with_max_entries(MAX_TRUSTED, NO_PREALLOC);

/// The token bucket for this CPU's log lines about packets that an observing gate would have
/// dropped.
#[map]
pub(crate) static OBSERVED_BUCKET: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);
