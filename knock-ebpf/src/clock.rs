//! The boot-time clock, with a per-CPU cache for the current tick.

use aya_ebpf::{
    helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns},
    macros::map,
    maps::PerCpuArray,
};

#[map]
static CACHED_CLOCK: PerCpuArray<CachedClock> = PerCpuArray::with_max_entries(1, 0);

/// The last reading of the clock on this CPU.
#[repr(C)]
#[derive(Clone, Copy)]
struct CachedClock {
    /// The tick of the reading, as counted by the kernel.
    jiffies: u64,
    /// The reading: nanoseconds of `CLOCK_BOOTTIME`.
    boot_ns: u64,
}

/// An upper bound of the difference between [`recent`] and [`now`], in nanoseconds. It is
/// usually one tick (10 ms at most), or a few ticks if a virtual machine was not scheduled.
pub(crate) const RECENT_NS: u64 = 1_000_000_000;

/// The time in nanoseconds of `CLOCK_BOOTTIME`.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes no arguments and only reads a clock.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// The value of [`now`] when this CPU first called this function in the current tick. Reading the
/// hardware clock costs more than all other work for a packet, especially in a virtual machine.
#[inline(always)]
pub(crate) fn recent() -> u64 {
    // SAFETY: the helper takes no arguments and only reads the count.
    let jiffies = unsafe { bpf_jiffies64() };
    let Some(cached) = CACHED_CLOCK.get_ptr_mut(0) else {
        return now();
    };
    // SAFETY: the pointer is to this CPU's map value, which only this program accesses.
    let last = unsafe { cached.read() };
    if last.jiffies == jiffies {
        return last.boot_ns;
    }
    let boot_ns = now();
    // SAFETY: as above.
    unsafe { cached.write(CachedClock { jiffies, boot_ns }) };
    boot_ns
}
