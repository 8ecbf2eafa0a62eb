//! What is measured, and how hard.

mod flood;
mod hostile;
mod idle;
mod keys;
mod latency;
mod lossy;
mod outside;
mod program;
pub(crate) mod sources;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{plot::Plot, record::Measurement};

/// Every scenario, in the order in which they run and are told.
pub(crate) const SCENARIOS: &[Scenario] = &[
    program::SCENARIO,
    sources::SCENARIO,
    keys::SCENARIO,
    latency::SCENARIO,
    flood::SCENARIO,
    outside::SCENARIO,
    hostile::SCENARIO,
    idle::SCENARIO,
    lossy::SCENARIO,
];

/// Something that is measured.
pub(crate) struct Scenario {
    /// As it is called on the command line and in file names.
    pub(crate) name: &'static str,
    /// What it is about, in a few words.
    pub(crate) title: &'static str,
    /// How it is measured, in a sentence or two for whoever reads the table.
    pub(crate) method: &'static str,
    /// Measures. What was made for that is gone when it returns, with or without success.
    pub(crate) run: fn(&Context) -> Result<Vec<Measurement>>,
    /// How it is drawn.
    pub(crate) plot: Option<Plot>,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// How many repetitions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Effort {
    /// All of it takes less than three minutes.
    Quick,
    /// What is published.
    Full,
}

impl Effort {
    /// One or the other.
    pub(crate) fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// What a scenario is given.
#[derive(Debug)]
pub(crate) struct Context {
    /// How hard to measure.
    pub(crate) effort: Effort,
    target: PathBuf,
    out: PathBuf,
}

impl Context {
    /// With `target`, the target directory, and `out`, the folder for what is found.
    pub(crate) fn new(effort: Effort, target: &Path, out: &Path) -> Result<Self> {
        fs::create_dir_all(out).with_context(|| out.display().to_string())?;
        Ok(Self {
            effort,
            target: target.canonicalize()?,
            out: out.canonicalize()?,
        })
    }

    /// The folder for what is found.
    pub(crate) fn out(&self) -> &Path {
        &self.out
    }

    /// A program of this project, built with optimisation.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// Where the peers are unpacked.
    pub(crate) fn peers(&self) -> PathBuf {
        self.target.join("tools").join("peers")
    }

    /// Keeps the configuration `text` of a peer, which is published as the file `name`.
    pub(crate) fn show_configuration(&self, name: &str, text: &str) -> Result<()> {
        let folder = self.out.join("peers");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), text).with_context(|| format!("{name} cannot be kept"))
    }
}
