//! What a scenario consists of.

use std::fmt;

use anyhow::Result;

use crate::{context::Context, plot::Plot, record::Measurement};

/// A scenario.
pub(crate) struct Scenario {
    /// The name on the command line and in file names.
    pub(crate) name: &'static str,
    /// The heading of its table and its plot.
    pub(crate) title: &'static str,
    /// How it is measured, for readers of the table.
    pub(crate) method: &'static str,
    /// Measures, and cleans up whether it succeeds or not.
    pub(crate) run: fn(&Context) -> Result<Vec<Measurement>>,
    /// How the results are plotted.
    pub(crate) plot: Option<Plot>,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
