//! A process that was taken over: it makes the system calls that somebody else wants.
//!
//! By ptrace(2), from outside, as it would be done from inside by whoever has found a hole:
//! what the process may do is the same. Only on x86-64, whose registers are known here.

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

/// The two bytes of the instruction `syscall`.
const SYSCALL: [u8; 2] = [0x0f, 0x05];

/// Far enough below the stack pointer that nothing of the process is there.
const BELOW_STACK: u64 = 16 * 1024;

/// A process that was taken over. It goes on where it was when this is dropped.
#[derive(Debug)]
pub struct Hijacked {
    process: Pid,
    before: user_regs_struct,
    /// Where the process has an instruction `syscall`.
    instruction: u64,
    is_alive: bool,
    /// Only the thread that has attached may go on.
    _thread: PhantomData<*const ()>,
}

/// What became of a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned this.
    Returned(u64),
    /// It failed.
    Failed(Errno),
    /// It ended the process, with this signal.
    Killed(Signal),
}

impl Hijacked {
    /// Stops the process with this id, which waits in a system call.
    ///
    /// # Errors
    ///
    /// It cannot be stopped, or does not wait in one.
    pub fn new(process: u32) -> Result<Self> {
        let process = Pid::from_raw(process.try_into()?);
        ptrace::attach(process).context("ptrace")?;
        waitpid(process, None)?;
        let before = ptrace::getregs(process)?;
        let mut hijacked = Self {
            process,
            before,
            instruction: before.rip - 2,
            is_alive: true,
            _thread: PhantomData,
        };
        let found = hijacked.word(hijacked.instruction)?.to_ne_bytes();
        if found[..2] != SYSCALL {
            bail!("it does not wait in a system call");
        }
        // So that the kernel does not begin that one again.
        hijacked.before.orig_rax = before.orig_rax;
        Ok(hijacked)
    }

    /// Has the process make the system call of this number.
    ///
    /// # Errors
    ///
    /// The process is dead already.
    pub fn call(&mut self, number: i64, arguments: &[u64]) -> Result<Outcome> {
        ensure!(self.is_alive, "it is dead");
        let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
        let registers = user_regs_struct {
            rax: number.cast_unsigned(),
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
            other => bail!("it stopped otherwise: {other:?}"),
        }
        let result = ptrace::getregs(self.process)?.rax.cast_signed();
        Ok(match i32::try_from(-result) {
            Ok(errno @ 1..4096) => Outcome::Failed(Errno::from_raw(errno)),
            _ => Outcome::Returned(result.cast_unsigned()),
        })
    }

    /// Puts `bytes` into the process's memory; where they are.
    ///
    /// # Errors
    ///
    /// The process is dead already.
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
            // Fails only for a process that is dead.
            let _ = ptrace::setregs(self.process, self.before);
            let _ = ptrace::detach(self.process, None);
        }
    }
}
