//! Simulates a compromised process: the test chooses the system calls that it makes.
//!
//! Uses ptrace(2) from outside. The kernel restricts these system calls exactly as it restricts
//! those of an attacker who executes code inside the process. The registers of each architecture are
//! in a module `machine`.

use std::{ffi::c_long, marker::PhantomData, thread, time::Instant};

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

use crate::scene::SOON;

/// Distance below the stack pointer at which the process has no data. The red zone of the x86-64
/// ABI has 128 bytes, and that of aarch64 none.
const BELOW_STACK: u64 = 16 * 1024;

#[cfg(target_arch = "x86_64")]
mod machine {
    use nix::libc::user_regs_struct;

    /// Opcode of `syscall`.
    pub(super) const INSTRUCTION: &[u8] = &[0x0f, 0x05];

    /// The address of the next instruction.
    pub(super) fn next(registers: &user_regs_struct) -> u64 {
        registers.rip
    }

    pub(super) fn stack(registers: &user_regs_struct) -> u64 {
        registers.rsp
    }

    /// The registers before a system call by the instruction at this address.
    pub(super) fn calling(
        instruction: u64,
        number: i64,
        arguments: [u64; 6],
        others: user_regs_struct,
    ) -> user_regs_struct {
        let [rdi, rsi, rdx, r10, r8, r9] = arguments;
        user_regs_struct {
            rax: number.cast_unsigned(),
            // Keeps the kernel from restarting the interrupted system call instead.
            orig_rax: u64::MAX,
            rip: instruction,
            rdi,
            rsi,
            rdx,
            r10,
            r8,
            r9,
            ..others
        }
    }

    pub(super) fn result(registers: &user_regs_struct) -> i64 {
        registers.rax.cast_signed()
    }
}

#[cfg(target_arch = "aarch64")]
mod machine {
    use nix::libc::user_regs_struct;

    /// Opcode of `svc #0`.
    pub(super) const INSTRUCTION: &[u8] = &[0x01, 0x00, 0x00, 0xd4];

    /// The register with the number of the system call.
    const NUMBER: usize = 8;

    /// The address of the next instruction. For a system call that is to be restarted, the kernel
    /// shows the address of the call itself.
    pub(super) fn next(registers: &user_regs_struct) -> u64 {
        registers.pc
    }

    pub(super) fn stack(registers: &user_regs_struct) -> u64 {
        registers.sp
    }

    /// The registers before a system call by the instruction at this address.
    pub(super) fn calling(
        instruction: u64,
        number: i64,
        arguments: [u64; 6],
        others: user_regs_struct,
    ) -> user_regs_struct {
        let mut registers = others;
        registers.pc = instruction;
        registers.regs[..arguments.len()].copy_from_slice(&arguments);
        registers.regs[NUMBER] = number.cast_unsigned();
        registers
    }

    pub(super) fn result(registers: &user_regs_struct) -> i64 {
        registers.regs[0].cast_signed()
    }
}

/// A process under ptrace control. It resumes at its original place when this is dropped.
#[derive(Debug)]
pub struct Hijacked {
    process: Pid,
    before: user_regs_struct,
    /// Address of an instruction in the process that makes a system call.
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
    /// Attaches to the process with this id as soon as it is blocked in a system call.
    ///
    /// # Errors
    ///
    /// Returns an error if ptrace is refused or the process is in no system call for too long.
    pub fn new(process: u32) -> Result<Self> {
        let process = Pid::from_raw(process.try_into()?);
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(hijacked) = Self::attach(process)? {
                return Ok(hijacked);
            }
            ensure!(
                Instant::now() < deadline,
                "the process is not blocked in a system call"
            );
            thread::yield_now();
        }
    }

    /// Attaches to `process`; `None` if it is not in a system call.
    fn attach(process: Pid) -> Result<Option<Self>> {
        ptrace::attach(process).context("ptrace")?;
        waitpid(process, None)?;
        let before = ptrace::getregs(process)?;
        let mut hijacked = Self {
            process,
            before,
            instruction: 0,
            is_alive: true,
            _thread: PhantomData,
        };
        let next = machine::next(&before);
        for at in [next - machine::INSTRUCTION.len() as u64, next] {
            let found = hijacked.word(at)?.to_ne_bytes();
            if found.starts_with(machine::INSTRUCTION) {
                hijacked.instruction = at;
                return Ok(Some(hijacked));
            }
        }
        Ok(None)
    }

    /// Makes the process execute the system call `number`.
    ///
    /// # Errors
    ///
    /// Returns an error if the process is dead.
    pub fn call(&mut self, number: i64, arguments: &[u64]) -> Result<Outcome> {
        ensure!(self.is_alive, "the process is dead");
        let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
        let arguments = [0, 1, 2, 3, 4, 5].map(argument);
        let registers = machine::calling(self.instruction, number, arguments, self.before);
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
        let result = machine::result(&ptrace::getregs(self.process)?);
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
        let at = (machine::stack(&self.before) - BELOW_STACK) & !0xf;
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
