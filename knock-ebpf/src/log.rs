//! What the aya-log lines have in common.

use aya_ebpf::maps::PerCpuArray;
use knock_common::rate::Rate;

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
