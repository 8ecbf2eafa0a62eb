//! Plots of the results.

mod bars;
mod canvas;
mod lines;

use std::path::Path;

use anyhow::{Result, anyhow};

use crate::{record::Unit, report::Section};

/// How the results of a scenario are plotted.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plot {
    /// A bar for every figure with this unit.
    Bars(Unit),
    /// A line for every subject, through the figures with this unit that have an `x`.
    Lines {
        /// The unit of the vertical axis.
        unit: Unit,
        /// The label of the horizontal axis.
        x: &'static str,
    },
}

/// Plots `section` into `file`. Returns false if it has nothing to plot.
pub(crate) fn draw(plot: Plot, section: &Section, file: &Path) -> Result<bool> {
    let unit = match plot {
        Plot::Bars(unit) | Plot::Lines { unit, .. } => unit,
    };
    let shown: Vec<_> = section
        .measurements
        .iter()
        .filter(|measurement| measurement.unit == unit)
        .collect();
    if shown.is_empty() {
        return Ok(false);
    }
    let drawn = match plot {
        Plot::Bars(_) => bars::draw(&section.title, &shown, file),
        Plot::Lines { x, .. } => lines::draw(&section.title, x, &shown, file),
    };
    drawn.map_err(|error| anyhow!("cannot plot {}: {error}", file.display()))?;
    Ok(true)
}
