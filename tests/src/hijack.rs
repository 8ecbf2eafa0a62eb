//! Simulates a compromised process: the test chooses the system calls that it makes.
//!
//! Uses ptrace(2) from outside. The kernel restricts these system calls exactly as it restricts
//! those of an attacker who executes code inside the process. Works on x86-64 only, because it sets
//! that architecture's registers.

use std::{ffi::c_long, marker::PhantomData};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    libc::user_regs_struct,
    sys::{
        ptrace,
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// Opcode of the `syscall` instruction.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// Distance below the stack pointer at which the process has no data. The red zone of the x86-64
/// ABI has 128 bytes.
const BELOW_STACK: u64 = 16 * 1024;

/// A process under ptrace control. It resumes at its original place when this is dropped.
#[derive(Debug)]
pub struct Hijacked {
    process: Pid,
    before: user_regs_struct,
    /// Address of a `syscall` instruction in the process.
    instruction: u64,
    is_alive: bool,
    /// ptrace(2) requests are valid only from the thread that attached.
    _thread: PhantomData<*const ()>,
}

/// The result of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned this value.
    Returned(u64),
    /// It failed with this error.
    Failed(Errno),
    /// The kernel killed the process with this signal.
    Killed(Signal),
}

impl Hijacked {
    /// Attaches to the process with this id, which must be blocked in a system call.
    ///
    /// # Errors
    ///
    /// Returns an error if ptrace is refused or the process is not in a system call.
    pub fn new(process: u32) -> Result<Self> {
        let process = Pid::from_raw(process.try_into()?);
        ptrace::attach(process).context("ptrace")?;
        waitpid(process, None)?;
        let before = ptrace::getregs(process)?;
        let hijacked = Self {
            process,
            before,
            instruction: before.rip - 2,
            is_alive: true,
            _thread: PhantomData,
        };
        let found = hijacked.word(hijacked.instruction)?.to_ne_bytes();
        if found[..2] != SYSCALL {
            bail!("the process is not blocked in a system call");
        }
        Ok(hijacked)
    }

    /// Makes the process execute the system call `number`.
    ///
    /// # Errors
    ///
    /// Returns an error if the process is dead.
    pub fn call(&mut self, number: i64, arguments: &[u64]) -> Result<Outcome> {
        ensure!(self.is_alive, "the process is dead");
        let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
        let registers = user_regs_struct {
            rax: number.cast_unsigned(),
            // Keeps the kernel from restarting the interrupted system call instead.
            orig_rax: u64::MAX,
            rip: self.instruction,
            rdi: argument(0),
            rsi: argument(1),
            rdx: argument(2),
            r10: argument(3),
            r8: argument(4),
            r9: argument(5),
            ..self.before
        };
        ptrace::setregs(self.process, registers)?;
        ptrace::step(self.process, None)?;
        match waitpid(self.process, None)? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => {}
            WaitStatus::Signaled(_, signal, _) => {
                self.is_alive = false;
                return Ok(Outcome::Killed(signal));
            }
            other => bail!("unexpected stop: {other:?}"),
        }
        let result = ptrace::getregs(self.process)?.rax.cast_signed();
        Ok(match i32::try_from(-result) {
            Ok(errno @ 1..4096) => Outcome::Failed(Errno::from_raw(errno)),
            _ => Outcome::Returned(result.cast_unsigned()),
        })
    }

    /// Writes `bytes` below the stack of the process and returns their address.
    ///
    /// # Errors
    ///
    /// Returns an error if the process is dead.
    pub fn put(&self, bytes: &[u8]) -> Result<u64> {
        let at = (self.before.rsp - BELOW_STACK) & !0xf;
        for (index, word) in bytes.chunks(8).enumerate() {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            let place = at + 8 * index as u64;
            ptrace::write(self.process, place as *mut _, c_long::from_ne_bytes(padded))?;
        }
        Ok(at)
    }

    fn word(&self, at: u64) -> Result<c_long> {
        Ok(ptrace::read(self.process, at as *mut _)?)
    }
}

impl Drop for Hijacked {
    fn drop(&mut self) {
        if self.is_alive {
            // Both fail only if the process is dead.
            let _ = ptrace::setregs(self.process, self.before);
            let _ = ptrace::detach(self.process, None);
        }
    }
}
