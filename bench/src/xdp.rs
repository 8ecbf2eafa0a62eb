//! The program that passes every packet and does nothing else.

use anyhow::{Context as _, Result};
use aya::{Ebpf, programs::Xdp as Program};

static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("XDP_OBJECTS"), "/empty-xdp"));

/// It, loaded. Dropping it detaches it from every interface.
#[derive(Debug)]
pub(crate) struct Empty {
    ebpf: Ebpf,
}

impl Empty {
    /// Loads it; it is attached to nothing yet.
    ///
    /// # Errors
    ///
    /// The kernel does not take it.
    pub(crate) fn load() -> Result<Self> {
        let mut empty = Self {
            ebpf: Ebpf::load(PROGRAM)?,
        };
        empty
            .program()?
            .load()
            .context("the kernel does not take the empty XDP program")?;
        Ok(empty)
    }

    /// The program itself, to attach it and for `BPF_PROG_TEST_RUN`.
    ///
    /// # Errors
    ///
    /// The object holds another program, which the build rules out.
    pub(crate) fn program(&mut self) -> Result<&mut Program> {
        let program = self
            .ebpf
            .program_mut("empty_xdp")
            .context("the object holds no program `empty_xdp`")?;
        Ok(program.try_into()?)
    }
}
