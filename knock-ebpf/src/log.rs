//! The rate limit of the log lines that aya-log sends to the daemon.

use aya_ebpf::maps::PerCpuArray;
use knock_common::rate::Rate;

/// Takes a token for a log line on this CPU; `false` if there is none left. Without the limit, a
/// flood would keep the daemon busy with log lines.
#[inline(always)]
pub(crate) fn take_token(bucket: &PerCpuArray<u64>, rate: Rate, now: u64) -> bool {
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
