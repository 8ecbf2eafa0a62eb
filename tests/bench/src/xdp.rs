//! The baseline programs, with which knockd's XDP program is compared.

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    programs::{SchedClassifier, Xdp as Program},
};

static PROGRAM: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/empty-xdp"));

/// The loaded baseline programs. Dropping this detaches them from every interface.
#[derive(Debug)]
pub(crate) struct Empty {
    ebpf: Ebpf,
}

impl Empty {
    /// Loads the programs without attaching them.
    ///
    /// # Errors
    ///
    /// Returns an error if the kernel rejects a program.
    pub(crate) fn load() -> Result<Self> {
        let mut empty = Self {
            ebpf: Ebpf::load(PROGRAM)?,
        };
        for program in ["empty_xdp", "look_up_xdp"] {
            let program = empty.find(program)?;
            let loaded = program.load();
            loaded.context("the kernel rejects a baseline XDP program")?;
        }
        let loaded = empty.classifier()?.load();
        loaded.context("the kernel rejects the baseline tc program")?;
        Ok(empty)
    }

    /// The program that only passes every packet.
    ///
    /// # Errors
    ///
    /// Returns an error if the object does not contain the program, which the build rules out.
    pub(crate) fn program(&mut self) -> Result<&mut Program> {
        self.find("empty_xdp")
    }

    /// The program that looks up one lease, which does not exist, and passes every packet.
    ///
    /// # Errors
    ///
    /// See [`Empty::program`].
    pub(crate) fn look_up(&mut self) -> Result<&mut Program> {
        self.find("look_up_xdp")
    }

    /// The tc program that only passes every packet.
    ///
    /// # Errors
    ///
    /// See [`Empty::program`].
    pub(crate) fn classifier(&mut self) -> Result<&mut SchedClassifier> {
        Ok(self.find_any("empty_tc")?.try_into()?)
    }

    fn find(&mut self, name: &str) -> Result<&mut Program> {
        Ok(self.find_any(name)?.try_into()?)
    }

    fn find_any(&mut self, name: &str) -> Result<&mut aya::programs::Program> {
        self.ebpf
            .program_mut(name)
            .with_context(|| format!("the object contains no program `{name}`"))
    }
}
