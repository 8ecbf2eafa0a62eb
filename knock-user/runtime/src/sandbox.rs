//! The sandbox of the listener, of `knockd tap` and of the other unprivileged processes: the process
//! keeps its open file descriptors and gains no further access. The fleet process can also connect
//! to the engine.
//!
//! If the supervisor runs as root, it has already started the listener as an unprivileged user
//! without capabilities. The sandbox also revokes the rights of an ordinary process: to execute
//! programs, to open files and sockets, and to act on other processes. `no_new_privs`, Landlock
//! (Linux 5.13 and later, if enabled) and a seccomp filter are independent layers.

mod calls;

use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
};

use anyhow::{Context as _, Result};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, PathBeneath,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::{
    fs::{FileType, Stat, fstat},
    process::{Resource, Rlimit, setrlimit},
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set, set_capabilities,
        set_no_new_privs,
    },
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

use self::calls::{ALLOWED, CONNECT, FCNTL, HOSTILE, LEGACY, MMAP, SEND, STORE};
use crate::role;

/// The newest supported Landlock ABI. Older kernels enforce the subset that they support.
const LANDLOCK: ABI = ABI::V6;

/// `F_SETOWN`, `F_SETSIG` and `F_SETOWN_EX` of asm-generic/fcntl.h.
const FILE_OWNER_COMMANDS: [u64; 3] = [8, 10, 15];

/// The flags with which libraries send.
const SEND_FLAGS: u64 = (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT | libc::MSG_EOR) as u64;

/// `CLONE_THREAD` of linux/sched.h.
const CLONE_THREAD: u64 = libc::CLONE_THREAD as u64;

/// How linux/audit.h numbers 64-bit and 32-bit ARM, little-endian.
const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;
const AUDIT_ARCH_ARM: u32 = 0x4000_0028;

/// The files that a process in a sandbox may open.
#[derive(Clone, Copy, Debug)]
pub struct Files<'d> {
    /// The directory that contains them. None can be created or removed.
    pub dir: &'d OwnedFd,
    /// The length of the longest one, in bytes. None gets longer.
    pub max_len: u64,
}

/// The restrictions, ready to be applied.
pub struct Sandbox {
    ruleset: RulesetCreated,
    max_file_len: u64,
    filters: Vec<BpfProgram>,
}

impl Sandbox {
    /// A sandbox in which only `files` can be opened.
    ///
    /// # Errors
    ///
    /// Returns an error if the Landlock ruleset cannot be created or the seccomp filter is
    /// invalid.
    pub fn new(files: Option<Files<'_>>) -> Result<Self> {
        let mut ruleset = ruleset()?;
        if let Some(files) = files {
            let inside = AccessFs::ReadFile | AccessFs::WriteFile;
            ruleset = ruleset.add_rule(PathBeneath::new(files.dir, inside))?;
        }
        Ok(Self {
            ruleset,
            max_file_len: files.map_or(0, |files| files.max_len),
            filters: filters(files.map_or(Extra::Nothing, |_| Extra::Files))?,
        })
    }

    /// A sandbox without files, in which TCP connections can be made: to these `ports` alone from
    /// Linux 6.7 on, and to any port before.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`new`](Self::new).
    pub fn connecting_to(ports: &BTreeSet<u16>) -> Result<Self> {
        let mut ruleset = ruleset()?;
        for port in ports {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
        Ok(Self {
            ruleset,
            max_file_len: 0,
            filters: filters(Extra::Connections)?,
        })
    }

    /// Restricts this thread and the threads that it will start. This cannot be undone. Returns
    /// whether Landlock is one of the restrictions.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel refuses a restriction. Earlier ones may be in effect.
    pub fn enter(self) -> Result<bool> {
        setrlimit(Resource::Core, limit(0))?;
        // Such a file grows.
        if !prints_to_file() {
            setrlimit(Resource::Fsize, limit(self.max_file_len))?;
        }
        set_no_new_privs(true)?;
        clear_ambient_capability_set()?;
        let none = CapabilitySet::empty();
        let nothing = CapabilitySets {
            effective: none,
            permitted: none,
            inheritable: none,
        };
        set_capabilities(None, nothing).context("capabilities")?;
        let landlock = self.ruleset.restrict_self().context("Landlock")?;
        let has_landlock = landlock.ruleset != RulesetStatus::NotEnforced;
        if !has_landlock {
            let rest = if role::has_own_root() {
                "seccomp, an own root directory and its user"
            } else {
                "seccomp and its user"
            };
            tracing::warn!(
                "this kernel has no Landlock (Linux 5.13, and `landlock` in its `lsm=`): the process that reads network input is confined by {rest}"
            );
        }
        for filter in &self.filters {
            apply_filter(filter).context("seccomp")?;
        }
        Ok(has_landlock)
    }
}

/// What a process may do besides using what it has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extra {
    Nothing,
    /// Open files.
    Files,
    /// Make TCP connections.
    Connections,
}

/// The Landlock rules that allow nothing.
fn ruleset() -> Result<RulesetCreated> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?;
    Ok(ruleset.create()?)
}

fn limit(value: u64) -> Rlimit {
    Rlimit {
        current: Some(value),
        maximum: Some(value),
    }
}

/// Whether standard output or standard error, which may be the log, is a file.
fn prints_to_file() -> bool {
    let is_file = |stat: rustix::io::Result<Stat>| {
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
    };
    is_file(fstat(std::io::stdout())) || is_file(fstat(std::io::stderr()))
}

/// The seccomp filters. The kernel runs all of them and takes the most restrictive action
/// (seccomp(2)).
fn filters(extra: Extra) -> Result<Vec<BpfProgram>> {
    let is_arm = cfg!(target_arch = "arm");
    let arch = match is_arm {
        true => Ok(TargetArch::aarch64),
        false => std::env::consts::ARCH.try_into(),
    };
    let Ok(arch) = arch else {
        tracing::warn!("no seccomp filter for this architecture: system calls are not restricted");
        return Ok(Vec::new());
    };
    let filter = |rules, otherwise, then| -> Result<BpfProgram> {
        let mut filter = SeccompFilter::new(rules, otherwise, then, arch)?.try_into()?;
        if is_arm {
            retarget(&mut filter)?;
        }
        Ok(filter)
    };
    let errno = |errno: i32| SeccompAction::Errno(errno.unsigned_abs());
    Ok(vec![
        // seccomp cannot inspect the arguments of clone3(2). After ENOSYS the C library uses
        // clone(2).
        filter(
            [(number(libc::SYS_clone3), vec![])].into(),
            SeccompAction::Allow,
            errno(libc::ENOSYS),
        )?,
        // knockd never makes these calls: only an attacker in control of the process does.
        filter(hostile()?, SeccompAction::Allow, SeccompAction::KillProcess)?,
        // Has to be last: it forbids further filters.
        filter(allowed(extra)?, errno(libc::EPERM), SeccompAction::Allow)?,
    ])
}

/// Turns a filter for 64-bit ARM into one for 32-bit ARM, which seccompiler does not know. The
/// architecture occurs in one instruction; the arguments in `seccomp_data` are 64 bits wide for
/// all.
fn retarget(filter: &mut BpfProgram) -> Result<()> {
    let arch = filter.get_mut(1).map(|instruction| &mut instruction.k);
    let arch = arch.filter(|arch| **arch == AUDIT_ARCH_AARCH64);
    *arch.context("a seccomp filter does not begin with the check of the architecture")? =
        AUDIT_ARCH_ARM;
    Ok(())
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A system call as seccompiler names it. `c_long` is narrower on 32-bit architectures.
fn number(call: impl Into<i64>) -> i64 {
    call.into()
}

/// The allowed system calls. All others fail with EPERM.
fn allowed(extra: Extra) -> Result<Rules> {
    let further = match extra {
        Extra::Nothing => &[],
        Extra::Files => STORE,
        Extra::Connections => CONNECT,
    };
    let calls = ALLOWED.iter().chain(LEGACY).chain(further);
    let mut rules: Rules = calls.map(|call| (number(*call), vec![])).collect();
    if extra == Extra::Connections {
        rules.insert(number(libc::SYS_socket), tcp_sockets()?);
        rules.insert(number(libc::SYS_setsockopt), vec![undelayed()?]);
    }
    for call in SEND {
        rules.insert(number(*call), vec![to_peer()?]);
    }
    let masked = |argument, mask, value| when(argument, Op::MaskedEq(mask), value);
    let no_code = masked(2, libc::PROT_EXEC.unsigned_abs().into(), 0)?;
    rules.insert(number(MMAP), vec![no_code.clone()]);
    rules.insert(number(libc::SYS_mprotect), vec![no_code]);
    rules.insert(
        number(libc::SYS_clone),
        vec![masked(0, CLONE_THREAD, CLONE_THREAD)?],
    );
    let name = vec![when(0, Op::Eq, libc::PR_SET_NAME)?];
    rules.insert(number(libc::SYS_prctl), name);
    let nonblocking = vec![when(1, Op::Eq, libc::FIONBIO)?];
    rules.insert(number(libc::SYS_ioctl), nonblocking);
    // abort(3), after a panic during a panic.
    let own = vec![when(0, Op::Eq, std::process::id())?];
    rules.insert(number(libc::SYS_tgkill), own.clone());
    // The same with musl, in the main thread.
    rules.insert(number(libc::SYS_tkill), own);
    Ok(rules)
}

/// Makes sockets for TCP over IPv4 and IPv6.
fn tcp_sockets() -> Result<Vec<SeccompRule>> {
    let families = [libc::AF_INET, libc::AF_INET6];
    let rules = families.map(|family| {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        let kind = Op::MaskedEq(!u64::from(flags.unsigned_abs()) & u64::from(u32::MAX));
        Ok(SeccompRule::new(vec![
            equal(0, Op::Eq, family)?,
            equal(1, kind, libc::SOCK_STREAM)?,
            // The default of the family, which is TCP.
            equal(2, Op::Eq, 0)?,
        ])?)
    });
    rules.into_iter().collect()
}

/// Sets the one option of TCP that sends small packets at once.
fn undelayed() -> Result<SeccompRule> {
    Ok(SeccompRule::new(vec![
        equal(1, Op::Eq, libc::IPPROTO_TCP)?,
        equal(2, Op::Eq, libc::TCP_NODELAY)?,
    ])?)
}

/// A condition on an argument of which the kernel reads 32 bits.
fn equal(argument: u8, op: Op, value: i32) -> Result<SeccompCondition> {
    let value = value.unsigned_abs().into();
    Ok(SeccompCondition::new(argument, Len::Dword, op, value)?)
}

/// Sends to the peer of a connected socket: without an address, and without MSG_FASTOPEN, which
/// connects a TCP socket.
fn to_peer() -> Result<SeccompRule> {
    let others = !SEND_FLAGS & u64::from(u32::MAX);
    // The kernel reads 32 bits of the flags. `send` has no address, and zero in its place.
    Ok(SeccompRule::new(vec![
        SeccompCondition::new(3, Len::Dword, Op::MaskedEq(others), 0)?,
        SeccompCondition::new(4, Len::Qword, Op::Eq, 0)?,
    ])?)
}

/// The system calls that kill the process.
fn hostile() -> Result<Rules> {
    let calls = HOSTILE.iter();
    let mut rules: Rules = calls.map(|call| (number(*call), vec![])).collect();
    // Asynchronous I/O signals any process of the same user. Landlock restricts that only from
    // Linux 6.12 on.
    let owners = FILE_OWNER_COMMANDS.map(|command| {
        // The kernel reads 32 bits of the argument.
        let condition = SeccompCondition::new(1, Len::Dword, Op::Eq, command)?;
        Ok(SeccompRule::new(vec![condition])?)
    });
    let owners: Vec<_> = owners.into_iter().collect::<Result<_>>()?;
    for call in FCNTL {
        rules.insert(number(*call), owners.clone());
    }
    Ok(rules)
}

/// `value` is a constant of the C library, whose types differ between C libraries.
fn when(argument: u8, op: Op, value: impl TryInto<u64>) -> Result<SeccompRule> {
    let value = value.try_into().ok().context("a negative argument")?;
    let condition = SeccompCondition::new(argument, Len::Qword, op, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

#[cfg(test)]
mod tests;
