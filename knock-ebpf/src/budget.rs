//! The rate limits of events per source, and of what a CPU does in a flood.

use aya_ebpf::maps::{LruHashMap, PerCpuArray};
use knock_common::{address::Address, rate::Rate};

/// Takes a token of `source` in `buckets`; `false` if there is none left. Two CPUs may read the same
/// bucket at the same time and both take its last token. The limit need not be exact.
#[inline(always)]
pub(crate) fn take_token(
    buckets: &LruHashMap<Address, u64>,
    rate: Rate,
    source: Address,
    now: u64,
) -> bool {
    let source = subscriber(source);
    if let Some(bucket) = buckets.get_ptr_mut(source) {
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
    let _ = buckets.insert(source, next, 0);
    true
}

/// Whether `source` has a token in `buckets`, because it has sent something before.
#[inline(always)]
pub(crate) fn is_known(buckets: &LruHashMap<Address, u64>, source: Address) -> bool {
    buckets.get_ptr(subscriber(source)).is_some()
}

/// Takes a token of this CPU; `false` if there is none left.
#[inline(always)]
pub(crate) fn take_of_cpu(bucket: &PerCpuArray<u64>, rate: Rate, now: u64) -> bool {
    let Some(bucket) = bucket.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: the pointer is to this CPU's map value, which only this program accesses.
    let Some(next) = rate.take(unsafe { bucket.read() }, now) else {
        return false;
    };
    // SAFETY: as above.
    unsafe { bucket.write(next) };
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
