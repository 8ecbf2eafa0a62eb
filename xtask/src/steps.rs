//! Named checks, and a report of their outcome and their duration.

use std::{
    fmt::Display,
    sync::atomic::{AtomicUsize, Ordering},
    time::Instant,
};

use anyhow::{Context as _, Result};

/// A run of checks.
#[derive(Debug)]
pub(crate) struct Steps {
    begun: Instant,
    good: AtomicUsize,
}

impl Steps {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            good: AtomicUsize::new(0),
        }
    }

    /// Runs one check.
    pub(crate) fn run(&self, name: impl Display, check: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("\n=== {name}");
        let begun = Instant::now();
        check().with_context(|| format!("{name}: failed"))?;
        self.good.fetch_add(1, Ordering::Relaxed);
        println!("=== {name}: good, {:.1} s", begun.elapsed().as_secs_f32());
        Ok(())
    }

    /// Prints how many checks were good, once all were.
    pub(crate) fn print(&self) {
        println!(
            "\nevery check is good, {} of them in {:.0} s",
            self.good.load(Ordering::Relaxed),
            self.begun.elapsed().as_secs_f32()
        );
    }
}
