//! A preloaded library that adds the number of seconds in a file to the wall clock. The file is
//! mapped once at load time, so a process that later may not open files still sees updates. The
//! test that needs it compiles it with `rustc`, without a crate.

use std::{
    ffi::{c_char, c_int, c_long, c_void},
    ptr::null_mut,
    sync::atomic::{AtomicI64, AtomicPtr, Ordering},
};

/// `struct timespec` on 64-bit machines.
#[repr(C)]
pub struct Time {
    seconds: i64,
    nanoseconds: i64,
}

unsafe extern "C" {
    fn open(path: *const c_char, flags: c_int) -> c_int;
    fn mmap(at: *mut c_void, len: usize, prot: c_int, flags: c_int, fd: c_int, from: i64) -> *mut c_void;
    fn syscall(number: c_long, ...) -> c_long;
}

const PROT_READ: c_int = 1;
const MAP_SHARED: c_int = 1;
const CLOCK_REALTIME: c_int = 0;

#[cfg(target_arch = "x86_64")]
const SYS_CLOCK_GETTIME: c_long = 228;
#[cfg(not(target_arch = "x86_64"))]
const SYS_CLOCK_GETTIME: c_long = 113;

/// The mapped file.
static OFFSET: AtomicPtr<AtomicI64> = AtomicPtr::new(null_mut());

/// The dynamic linker calls this when it loads the library.
#[used]
#[unsafe(link_section = ".init_array")]
static BEGIN: extern "C" fn() = begin;

extern "C" fn begin() {
    // SAFETY: the path is a C string, and the mapping is never unmapped.
    unsafe {
        let file = open(c"/etc/knockd-test-clock".as_ptr(), 0);
        if file < 0 {
            return;
        }
        let mapped = mmap(null_mut(), 8, PROT_READ, MAP_SHARED, file, 0);
        if mapped as isize != -1 {
            OFFSET.store(mapped.cast(), Ordering::Release);
        }
    }
}

/// Replaces the function of the C library.
///
/// # Safety
///
/// Like clock_gettime(2).
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Time) -> c_int {
    // SAFETY: the caller guarantees a valid pointer.
    if unsafe { syscall(SYS_CLOCK_GETTIME, clock, time) } != 0 {
        return -1;
    }
    let offset = OFFSET.load(Ordering::Acquire);
    if clock == CLOCK_REALTIME && !offset.is_null() {
        // SAFETY: the kernel has written `time`, and `offset` points to the mapping.
        unsafe { (*time).seconds += (*offset).load(Ordering::Relaxed) };
    }
    0
}
