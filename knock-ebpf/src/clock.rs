//! What time it is, read from the hardware only where that matters.

use aya_ebpf::helpers::{bpf_jiffies64, bpf_ktime_get_boot_ns};

use crate::maps::GLANCE;

/// This CPU's last look at the clock.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Glance {
    /// The kernel's count of ticks then.
    jiffies: u64,
    /// [`now`] then.
    boot_ns: u64,
}

/// Far more than [`recent`] is behind [`now`]: a tick, which is 10 ms at most, or a few where
/// a virtual machine was not let run.
pub(crate) const RECENT_NS: u64 = 1_000_000_000;

/// Nanoseconds of `CLOCK_BOOTTIME`.
#[inline(always)]
pub(crate) fn now() -> u64 {
    // SAFETY: the helper takes no arguments and only reads a clock.
    unsafe { bpf_ktime_get_boot_ns() }
}

/// [`now`], or what it was when this CPU first asked in the current tick. Reading the clock
/// costs more than all else that is done for a packet, above all in a virtual machine.
#[inline(always)]
pub(crate) fn recent() -> u64 {
    // SAFETY: the helper takes no arguments and only reads the count.
    let jiffies = unsafe { bpf_jiffies64() };
    let Some(glance) = GLANCE.get_ptr_mut(0) else {
        return now();
    };
    // SAFETY: the pointer is to this CPU's map value, which nobody else uses.
    let last = unsafe { glance.read() };
    if last.jiffies == jiffies {
        return last.boot_ns;
    }
    let boot_ns = now();
    // SAFETY: as above.
    unsafe { glance.write(Glance { jiffies, boot_ns }) };
    boot_ns
}
