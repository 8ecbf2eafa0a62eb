//! The system calls of the sandboxed processes.
//!
//! Which call a function of the C library makes depends on the architecture. 64-bit architectures
//! after x86-64 have only the calls that take a directory (`openat`, `unlinkat`) or a signal mask
//! (`ppoll`, `epoll_pwait`). 32-bit architectures have a second call where an argument became
//! 64 bits wide: file offsets (`fstat64`, `_llseek`) and times (`futex_time64`).
//!
//! The lists are those of glibc and of musl together: a call that only one of them makes gives an
//! attacker nothing that the other's call does not.

use libc::c_long;

/// The calls of [`ALLOWED`], [`LEGACY`] and [`HOSTILE`] are the `SYS_` constants of the C library.
pub(super) type Calls = &'static [c_long];

/// Allowed on all architectures.
pub(super) const ALLOWED: Calls = &[
    // Open file descriptors.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    // The control socket, the metrics socket, the IPC channel to the supervisor. Not `sendmsg`: a
    // filter cannot see the address in its argument.
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockopt,
    // Waiting and clocks.
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_ppoll,
    libc::SYS_futex,
    libc::SYS_nanosleep,
    libc::SYS_clock_nanosleep,
    libc::SYS_clock_gettime,
    libc::SYS_gettimeofday,
    libc::SYS_restart_syscall,
    // Memory and threads.
    libc::SYS_brk,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_madvise,
    libc::SYS_clone3,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Allowed if there is a replay store, a file in the directory that Landlock allows. It is neither
/// created nor removed here, and keeps its length.
pub(super) const STORE: Calls = &[
    libc::SYS_openat,
    libc::SYS_statx,
    libc::SYS_flock,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(any(target_arch = "x86_64", target_arch = "arm"))]
    libc::SYS_open,
    #[cfg(not(target_arch = "arm"))]
    libc::SYS_newfstatat,
    #[cfg(target_arch = "arm")]
    libc::SYS_stat64,
    #[cfg(target_arch = "arm")]
    libc::SYS_fstatat64,
];

/// Send through a socket. On 32-bit ARM `send` is not `sendto` without an address.
#[cfg(not(target_arch = "arm"))]
pub(super) const SEND: Calls = &[libc::SYS_sendto];
#[cfg(target_arch = "arm")]
pub(super) const SEND: Calls = &[libc::SYS_sendto, libc::SYS_send];

/// Also allowed on this architecture: what the C library prefers to a call of [`ALLOWED`].
#[cfg(target_arch = "x86_64")]
pub(super) const LEGACY: Calls = &[libc::SYS_epoll_wait, libc::SYS_poll];

/// Also allowed on this architecture: what the C library prefers to a call of [`ALLOWED`].
#[cfg(not(any(target_arch = "x86_64", target_arch = "arm")))]
pub(super) const LEGACY: Calls = &[];

/// Also allowed on this architecture: what the C library prefers to a call of [`ALLOWED`].
#[cfg(target_arch = "arm")]
pub(super) const LEGACY: Calls = &[
    // Files with 64-bit offsets.
    libc::SYS__llseek,
    libc::SYS_fcntl64,
    libc::SYS_fstat64,
    // musl's fstat(3).
    libc::SYS_statx,
    // Here it is a call of its own, not `recvfrom` without an address.
    libc::SYS_recv,
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    // Returns from a handler that was installed without SA_SIGINFO.
    libc::SYS_sigreturn,
    // With 64-bit times. Without them the C library would take EPERM for the result.
    CLOCK_GETTIME64,
    CLOCK_NANOSLEEP_TIME64,
    PPOLL_TIME64,
    FUTEX_TIME64,
];

/// Numbers of asm/unistd.h: all 32-bit architectures share them. The libc crate lacks them.
#[cfg(target_arch = "arm")]
const CLOCK_GETTIME64: c_long = 403;
#[cfg(target_arch = "arm")]
const CLOCK_NANOSLEEP_TIME64: c_long = 407;
#[cfg(target_arch = "arm")]
const PPOLL_TIME64: c_long = 414;
#[cfg(target_arch = "arm")]
const FUTEX_TIME64: c_long = 422;

/// Maps memory. On 32-bit architectures the offset is in pages.
#[cfg(not(target_arch = "arm"))]
pub(super) const MMAP: c_long = libc::SYS_mmap;
#[cfg(target_arch = "arm")]
pub(super) const MMAP: c_long = libc::SYS_mmap2;

/// Change the owner of a file descriptor, among other things.
#[cfg(not(target_arch = "arm"))]
pub(super) const FCNTL: Calls = &[libc::SYS_fcntl];
#[cfg(target_arch = "arm")]
pub(super) const FCNTL: Calls = &[libc::SYS_fcntl, libc::SYS_fcntl64];

/// Kill the process.
pub(super) const HOSTILE: Calls = &[
    libc::SYS_bpf,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
];
