//! The command that every daemon runs for a knock: it reads the clock in its first instructions and
//! reports the time to the benchmark. The build script of the benchmarks compiles it.
//!
//! `stamp FIFO NAME` writes 64 bytes to the FIFO: seconds and nanoseconds of `CLOCK_MONOTONIC`,
//! 8 bytes each in native byte order, and the first 47 bytes of the name, padded with zeros. A
//! program with a dynamic linker and a standard library needs several hundred microseconds until
//! `main`; this one has neither.

#![no_std]
#![no_main]

use core::{arch::naked_asm, mem::MaybeUninit, panic::PanicInfo};

const CLOCK_MONOTONIC: usize = 1;
const WRITE_ONLY: usize = 1;
const NAME: usize = 16;
const RECORD: usize = 64;

#[cfg(target_arch = "x86_64")]
mod machine {
    use core::arch::asm;

    pub(crate) const WRITE: usize = 1;
    pub(crate) const CLOCK_GETTIME: usize = 228;
    pub(crate) const EXIT_GROUP: usize = 231;
    pub(crate) const OPENAT: usize = 257;

    /// Makes a system call.
    ///
    /// # Safety
    ///
    /// The requirements of the system call apply.
    pub(crate) unsafe fn call(number: usize, a: usize, b: usize, c: usize) -> usize {
        let result;
        // SAFETY: the caller meets the requirements; the kernel changes no other registers.
        unsafe {
            asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b,
                in("rdx") c, in("r10") 0, lateout("rcx") _, lateout("r11") _);
        }
        result
    }
}

#[cfg(target_arch = "aarch64")]
mod machine {
    use core::arch::asm;

    pub(crate) const OPENAT: usize = 56;
    pub(crate) const WRITE: usize = 64;
    pub(crate) const EXIT_GROUP: usize = 94;
    pub(crate) const CLOCK_GETTIME: usize = 113;

    /// Makes a system call.
    ///
    /// # Safety
    ///
    /// The requirements of the system call apply.
    pub(crate) unsafe fn call(number: usize, a: usize, b: usize, c: usize) -> usize {
        let result;
        // SAFETY: the caller meets the requirements; the kernel changes no other registers.
        unsafe {
            asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b,
                in("x2") c, in("x3") 0);
        }
        result
    }
}

#[cfg(target_arch = "arm")]
mod machine {
    use core::arch::asm;

    pub(crate) const WRITE: usize = 4;
    pub(crate) const EXIT_GROUP: usize = 248;
    pub(crate) const OPENAT: usize = 322;
    /// `clock_gettime64`: the other one writes 4 bytes each.
    pub(crate) const CLOCK_GETTIME: usize = 403;

    /// Makes a system call.
    ///
    /// # Safety
    ///
    /// The requirements of the system call apply.
    pub(crate) unsafe fn call(number: usize, a: usize, b: usize, c: usize) -> usize {
        let result;
        // SAFETY: the caller meets the requirements; the kernel changes no other registers, and r7,
        // which may be the frame pointer, has its value again.
        unsafe {
            asm!("mov {saved}, r7", "mov r7, {number}", "svc 0", "mov r7, {saved}",
                saved = out(reg) _, number = in(reg) number,
                inlateout("r0") a => result, in("r1") b, in("r2") c, in("r3") 0);
        }
        result
    }
}

/// The entry point: the kernel passes the arguments on the stack.
#[unsafe(naked)]
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("mov rdi, rsp", "and rsp, -16", "call {begin}", "ud2", begin = sym begin);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("mov x0, sp", "bl {begin}", "brk 1", begin = sym begin);
    #[cfg(target_arch = "arm")]
    naked_asm!("mov r0, sp", "bl {begin}", "udf #0", begin = sym begin);
}

/// Writes the record and exits.
///
/// # Safety
///
/// `stack` must be the initial stack of the process.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // Not initialised, and written with volatile accesses: otherwise the compiler calls memset or
    // strlen, which do not exist here.
    let mut record = MaybeUninit::<[u8; RECORD]>::uninit();
    let record = record.as_mut_ptr().cast::<u8>();
    // SAFETY: the kernel writes 16 bytes of the record, the loop writes the others, and the kernel
    // reads all 64. On the stack, the number of arguments precedes that many pointers to strings
    // that end with a zero.
    unsafe {
        machine::call(
            machine::CLOCK_GETTIME,
            CLOCK_MONOTONIC,
            record as usize,
            0,
        );
        let wrong = *stack != 3;
        if !wrong {
            let fifo = *stack.add(2);
            let mut name = *stack.add(3) as *const u8;
            for at in NAME..RECORD {
                let byte = if at == RECORD - 1 { 0 } else { name.read() };
                record.add(at).write_volatile(byte);
                name = name.add(usize::from(byte != 0));
            }
            // The path is absolute, so openat ignores the directory.
            let fifo = machine::call(machine::OPENAT, 0, fifo, WRITE_ONLY);
            machine::call(machine::WRITE, fifo, record as usize, RECORD);
        }
        loop {
            machine::call(machine::EXIT_GROUP, usize::from(wrong), 0, 0);
        }
    }
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    loop {}
}
