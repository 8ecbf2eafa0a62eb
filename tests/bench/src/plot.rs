//! What was found, as a drawing.

mod bars;
mod lines;

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::{IntoDrawingArea as _, RGBColor, SVGBackend};

use crate::{
    record::{Measurement, Unit},
    report::Section,
};

/// How a scenario is drawn.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Plot {
    /// A bar for every figure in this unit.
    Bars(Unit),
    /// A line for every subject, from figures in `unit` that stand at some `x`.
    Lines {
        /// What the other axis counts.
        unit: Unit,
        /// What `x` is.
        x: &'static str,
    },
}

const FONT: &str = "sans-serif";
const TITLE: u32 = 20;
const TEXT: u32 = 14;
/// Pixels.
const WIDTH: u32 = 860;

/// Told apart by everybody, also by the colour-blind (Okabe and Ito).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
];

type Canvas<'a> = plotters::drawing::DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// Draws `section` into `file`; whether there was something to draw.
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
    drawn.map_err(|error| anyhow!("{} cannot be drawn: {error}", file.display()))?;
    Ok(true)
}

fn canvas(file: &Path, height: u32) -> Canvas<'_> {
    SVGBackend::new(file, (WIDTH, height)).into_drawing_area()
}

/// The subjects, each once, in the order in which they are told.
fn subjects<'a>(measurements: &[&'a Measurement]) -> Vec<&'a str> {
    let mut subjects = Vec::new();
    for measurement in measurements {
        if !subjects.contains(&measurement.subject.as_str()) {
            subjects.push(&measurement.subject);
        }
    }
    subjects
}

fn colour(subjects: &[&str], subject: &str) -> RGBColor {
    let place = subjects.iter().position(|other| *other == subject);
    COLOURS[place.unwrap_or(0) % COLOURS.len()]
}
