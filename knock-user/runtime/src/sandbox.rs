//! The sandbox of the listener and of `knockd tap`: the process keeps its open file descriptors
//! and gains no further access.
//!
//! If the supervisor runs as root, it has already started the listener as an unprivileged user
//! without capabilities. The sandbox also revokes the rights of an ordinary process: to execute
//! programs, to open files and sockets, and to act on other processes. `no_new_privs`, Landlock
//! (Linux 5.13 and later, if enabled) and a seccomp filter are independent layers.

mod calls;

use std::{collections::BTreeMap, os::fd::OwnedFd};

use anyhow::{Context as _, Result};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, CompatLevel, Compatible as _, PathBeneath, Ruleset,
    RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope,
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

use self::calls::{ALLOWED, FCNTL, HOSTILE, LEGACY, MMAP, SEND, STORE};
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
    files: RulesetCreated,
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
        let max_file_len = files.map_or(0, |files| files.max_len);
        let filters = filters(files.is_some())?;
        let dir = files.map(|files| files.dir);
        let mut files = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::from_all(LANDLOCK))?
            .handle_access(AccessNet::from_all(LANDLOCK))?
            .scope(Scope::from_all(LANDLOCK))?
            .create()?;
        if let Some(dir) = dir {
            let inside = AccessFs::ReadFile | AccessFs::WriteFile;
            files = files.add_rule(PathBeneath::new(dir, inside))?;
        }
        Ok(Self {
            files,
            max_file_len,
            filters,
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
        let landlock = self.files.restrict_self().context("Landlock")?;
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
fn filters(has_files: bool) -> Result<Vec<BpfProgram>> {
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
        filter(
            allowed(has_files)?,
            errno(libc::EPERM),
            SeccompAction::Allow,
        )?,
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
fn allowed(has_files: bool) -> Result<Rules> {
    let store = if has_files { STORE } else { &[] };
    let calls = ALLOWED.iter().chain(LEGACY).chain(store);
    let mut rules: Rules = calls.map(|call| (number(*call), vec![])).collect();
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
mod tests {
    use std::{
        fs::{self, File},
        io,
        net::{TcpListener, UdpSocket},
        os::unix::fs::FileExt as _,
        process::Command,
        thread,
    };

    use super::*;

    /// Runs `work` in a thread in a sandbox with `dir`, and returns its result.
    fn inside<T: Send>(dir: &tempfile::TempDir, work: impl FnOnce() -> T + Send) -> T {
        let dir: OwnedFd = File::open(dir).unwrap().into();
        thread::scope(|scope| {
            let confined = scope.spawn(|| {
                let files = Files {
                    dir: &dir,
                    max_len: 4096,
                };
                Sandbox::new(Some(files)).unwrap().enter().unwrap();
                work()
            });
            confined.join().unwrap()
        })
    }

    fn denied<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    #[test]
    fn only_files_in_the_directory_are_accessible() {
        let [dir, other] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        fs::write(other.path().join("secret"), "").unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "a").unwrap();
        inside(&dir, || {
            assert_eq!(fs::read_to_string(&file).unwrap(), "a");
            let writable = File::options().write(true).open(&file).unwrap();
            writable.write_all_at(b"b", 0).unwrap();
            assert!(denied(File::create(dir.path().join("new"))));
            assert!(denied(fs::remove_file(&file)));
            assert!(denied(fs::rename(&file, dir.path().join("renamed"))));
            assert!(denied(writable.set_len(0)));
            assert!(denied(File::open(other.path().join("secret"))));
            assert!(denied(File::create(other.path().join("new"))));
            assert!(denied(File::open("/etc/passwd")));
            assert!(denied(File::open("/proc/self/environ")));
            assert!(denied(fs::read_dir("/")));
        });
        assert_eq!(fs::read_to_string(&file).unwrap(), "b");
    }

    #[test]
    fn there_are_no_further_sockets_processes_or_code() {
        let dir = tempfile::tempdir().unwrap();
        inside(&dir, || {
            assert!(denied(TcpListener::bind("127.0.0.1:0")));
            assert!(denied(UdpSocket::bind("127.0.0.1:0")));
            assert!(denied(Command::new("/bin/true").status()));
            // A thread is allowed, and it inherits the sandbox.
            let is_confined = || denied(UdpSocket::bind("127.0.0.1:0"));
            assert!(thread::spawn(is_confined).join().unwrap());
        });
    }

    #[test]
    fn a_filter_is_retargeted_to_32_bit_arm() {
        let filter = |arch| -> BpfProgram {
            let [allow, kill] = [SeccompAction::Allow, SeccompAction::KillProcess];
            let filter = SeccompFilter::new(hostile().unwrap(), allow, kill, arch);
            filter.unwrap().try_into().unwrap()
        };
        let before = filter(TargetArch::aarch64);
        let mut after = before.clone();
        retarget(&mut after).unwrap();
        let changed = before.iter().zip(&after).filter(|(old, new)| old != new);
        let changed: Vec<_> = changed.map(|(_, new)| new.k).collect();
        assert_eq!(changed, [AUDIT_ARCH_ARM]);
        assert!(retarget(&mut after).is_err());
        assert!(retarget(&mut filter(TargetArch::x86_64)).is_err());
    }

    #[test]
    fn there_are_no_capabilities() {
        let dir = tempfile::tempdir().unwrap();
        let capabilities = inside(&dir, || rustix::thread::capabilities(None));
        // capget(2) itself is not allowed.
        assert!(capabilities.is_err());
    }
}
