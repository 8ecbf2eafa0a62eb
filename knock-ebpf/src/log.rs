//! What the aya-log lines have in common.

use aya_ebpf::maps::PerCpuArray;
use knock_common::rate::Rate;

use crate::parse::is_ipv4_mapped;

/// An address as a person writes it.
pub(crate) enum Source {
    V4([u8; 4]),
    V6([u8; 16]),
}

#[inline(always)]
pub(crate) fn source(address: &[u8; 16]) -> Source {
    if is_ipv4_mapped(address) {
        let [.., a, b, c, d] = *address;
        Source::V4([a, b, c, d])
    } else {
        Source::V6(*address)
    }
}

/// Whether this CPU may write a log line: a flood is no reason to keep the daemon busy with
/// reading about it.
#[inline(always)]
pub(crate) fn take_token(bucket: &PerCpuArray<u64>, rate: Rate, now: u64) -> bool {
    let Some(bucket) = bucket.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: the pointer is to this CPU's map value, which nobody else uses.
    let Some(next) = rate.take(unsafe { bucket.read() }, now) else {
        return false;
    };
    // SAFETY: as above.
    unsafe { bucket.write(next) };
    true
}
