//! What every scenario is given: the effort, and the directories of programs and results.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// How many repetitions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Effort {
    /// All scenarios take less than three minutes.
    Quick,
    /// As for the published results.
    Full,
}

impl Effort {
    /// The value for this effort.
    pub(crate) fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Full => full,
        }
    }
}

/// The environment of a run.
#[derive(Debug)]
pub(crate) struct Context {
    /// How many repetitions there are.
    pub(crate) effort: Effort,
    target: PathBuf,
    out: PathBuf,
}

impl Context {
    /// A context with cargo's `target` directory and the directory `out` for the results.
    pub(crate) fn new(effort: Effort, target: &Path, out: &Path) -> Result<Self> {
        fs::create_dir_all(out).with_context(|| out.display().to_string())?;
        Ok(Self {
            effort,
            target: target.canonicalize()?,
            out: out.canonicalize()?,
        })
    }

    /// The directory for the results.
    pub(crate) fn out(&self) -> &Path {
        &self.out
    }

    /// A program of this project from the release build.
    pub(crate) fn binary(&self, name: &str) -> PathBuf {
        self.target.join("release").join(name)
    }

    /// The directory of the unpacked peers.
    pub(crate) fn peers(&self) -> PathBuf {
        self.target.join("tools").join("peers")
    }

    /// Saves the configuration `text` of a daemon as the file `name`, for publication.
    pub(crate) fn save_configuration(&self, name: &str, text: &str) -> Result<()> {
        let folder = self.out.join("peers");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join(name), text).with_context(|| format!("cannot save {name}"))
    }
}
