//! Kills a process at a chosen system call, or lets the call fail.

use std::fmt;

use anyhow::Result;

use crate::{
    process::{Running, Signal},
    scene::SOON,
};

/// A system call of a process, counted from when strace attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Name of the system call.
    pub name: String,
    /// Ordinal among the calls of that name, from 1.
    nth: usize,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} number {}", self.name, self.nth)
    }
}

/// A running strace(1) that is attached to a process.
#[derive(Debug)]
pub struct Strace(Running);

impl Strace {
    /// Records the system calls of the process with this id.
    ///
    /// # Errors
    ///
    /// Returns an error if strace cannot attach.
    pub fn record(process: u32) -> Result<Self> {
        Self::attach(process, "--quiet=none")
    }

    /// Kills the process with this id when it makes the system call `step`.
    ///
    /// # Errors
    ///
    /// Returns an error if strace cannot attach.
    pub fn kill_at(process: u32, step: &Step) -> Result<Self> {
        let Step { name, nth } = step;
        Self::attach(
            process,
            &format!("--inject={name}:signal=SIGKILL:when={nth}"),
        )
    }

    /// Lets the system call `step` of the process with this id fail with `error`, such as `ENOSPC`,
    /// without being made.
    ///
    /// # Errors
    ///
    /// Returns an error if strace cannot attach.
    pub fn fail_at(process: u32, step: &Step, error: &str) -> Result<Self> {
        let Step { name, nth } = step;
        Self::attach(
            process,
            &format!("--inject={name}:error={error}:when={nth}"),
        )
    }

    fn attach(process: u32, argument: &str) -> Result<Self> {
        let mut strace = std::process::Command::new("strace");
        strace.args(["-p", &process.to_string(), argument]);
        let strace = Running::spawn(strace)?;
        strace.wait_for(|line| line.contains("attached"), SOON)?;
        Ok(Self(strace))
    }

    /// Detaches, if the process still exists. Returns whether a call has failed on purpose.
    ///
    /// # Errors
    ///
    /// Returns an error if strace does not end.
    pub fn detach(mut self) -> Result<bool> {
        self.end()?;
        let lines = self.0.lines();
        Ok(lines.iter().any(|line| line.text.contains("(INJECTED)")))
    }

    fn end(&mut self) -> Result<()> {
        // It has ended if the process has.
        let _ = self.0.signal(Signal::SIGINT);
        self.0.wait(SOON).map(drop)
    }

    /// Detaches and returns every recorded system call.
    ///
    /// # Errors
    ///
    /// Returns an error if strace does not end.
    pub fn steps(mut self) -> Result<Vec<Step>> {
        self.end()?;
        let mut steps: Vec<Step> = Vec::new();
        for line in self.0.lines() {
            let Some((name, _)) = line.text.split_once('(') else {
                continue;
            };
            if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
                let before = steps.iter().filter(|step| step.name == name).count();
                steps.push(Step {
                    name: name.to_owned(),
                    nth: before + 1,
                });
            }
        }
        Ok(steps)
    }

    /// Kills `process`, the traced one or its parent, unless it is dead, and waits for its end.
    ///
    /// # Errors
    ///
    /// Returns an error if a process does not end.
    pub fn finish(mut self, process: &mut Running) -> Result<()> {
        // Usually it is dead.
        let _ = process.signal(Signal::SIGKILL);
        process.wait(SOON)?;
        self.0.wait(SOON)?;
        Ok(())
    }
}
