//! A process that is killed at a chosen one of its system calls.

use std::fmt;

use anyhow::Result;

use crate::{
    process::{Running, Signal},
    scene::SOON,
};

/// A system call of a process, counted from a certain moment on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// How often it was made, this time included.
    nth: usize,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} number {}", self.name, self.nth)
    }
}

/// strace on a process, from when this is made.
#[derive(Debug)]
pub struct Strace(Running);

impl Strace {
    /// Writes down what the process with this id does.
    ///
    /// # Errors
    ///
    /// strace cannot attach to it.
    pub fn record(process: u32) -> Result<Self> {
        Self::attach(process, "--quiet=none")
    }

    /// Kills the process with this id when it comes to `step`, counted from here on.
    ///
    /// # Errors
    ///
    /// strace cannot attach to it.
    pub fn kill_at(process: u32, step: &Step) -> Result<Self> {
        let Step { name, nth } = step;
        Self::attach(
            process,
            &format!("--inject={name}:signal=SIGKILL:when={nth}"),
        )
    }

    fn attach(process: u32, argument: &str) -> Result<Self> {
        let mut strace = std::process::Command::new("strace");
        strace.args(["-p", &process.to_string(), argument]);
        let strace = Running::spawn(strace)?;
        strace.wait_for(|line| line.contains("attached"), SOON)?;
        Ok(Self(strace))
    }

    /// Every system call that was seen.
    ///
    /// # Errors
    ///
    /// strace does not end.
    pub fn steps(mut self) -> Result<Vec<Step>> {
        self.0.signal(Signal::SIGINT)?;
        self.0.wait(SOON)?;
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

    /// Kills `process`, the one that was watched or its parent, unless it is dead, and waits
    /// until it is gone.
    ///
    /// # Errors
    ///
    /// It does not end.
    pub fn finish(mut self, process: &mut Running) -> Result<()> {
        // Gone already, as a rule.
        let _ = process.signal(Signal::SIGKILL);
        process.wait(SOON)?;
        self.0.wait(SOON)?;
        Ok(())
    }
}
