//! The programs that do next to nothing, which the real one is held against.

use anyhow::{Context as _, Result};
use aya::{Ebpf, programs::Xdp as Program};

static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/empty-xdp"));

/// They, loaded. Dropping them detaches them from every interface.
#[derive(Debug)]
pub(crate) struct Empty {
    ebpf: Ebpf,
}

impl Empty {
    /// Loads them; they are attached to nothing yet.
    ///
    /// # Errors
    ///
    /// The kernel does not take them.
    pub(crate) fn load() -> Result<Self> {
        let mut empty = Self {
            ebpf: Ebpf::load(PROGRAM)?,
        };
        for program in ["empty_xdp", "look_up_xdp"] {
            let program = empty.find(program)?;
            let loaded = program.load();
            loaded.context("the kernel does not take an empty XDP program")?;
        }
        Ok(empty)
    }

    /// The one that passes every packet and does nothing else.
    ///
    /// # Errors
    ///
    /// The object does not hold it, which the build rules out.
    pub(crate) fn program(&mut self) -> Result<&mut Program> {
        self.find("empty_xdp")
    }

    /// The one that looks once for a lease besides, and finds none.
    ///
    /// # Errors
    ///
    /// Like [`Empty::program`].
    pub(crate) fn look_up(&mut self) -> Result<&mut Program> {
        self.find("look_up_xdp")
    }

    fn find(&mut self, name: &str) -> Result<&mut Program> {
        let program = self
            .ebpf
            .program_mut(name)
            .with_context(|| format!("the object holds no program `{name}`"))?;
        Ok(program.try_into()?)
    }
}
