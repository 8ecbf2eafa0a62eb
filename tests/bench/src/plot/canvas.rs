//! What all plots share: sizes, colours and the drawing area.

use std::path::Path;

use plotters::prelude::{IntoDrawingArea as _, RGBColor, SVGBackend};

use crate::record::Measurement;

pub(super) const FONT: &str = "sans-serif";
pub(super) const TITLE: u32 = 20;
pub(super) const TEXT: u32 = 14;
/// Pixels.
const WIDTH: u32 = 860;

/// Okabe and Ito's palette, which colour-blind readers can tell apart.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
    RGBColor(204, 121, 167),
];

type Canvas<'a> = plotters::drawing::DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// A drawing area `height` pixels high.
pub(super) fn canvas(file: &Path, height: u32) -> Canvas<'_> {
    SVGBackend::new(file, (WIDTH, height)).into_drawing_area()
}

/// The subjects without duplicates, in the order of `measurements`.
pub(super) fn subjects<'a>(measurements: &[&'a Measurement]) -> Vec<&'a str> {
    let mut subjects = Vec::new();
    for measurement in measurements {
        if !subjects.contains(&measurement.subject.as_str()) {
            subjects.push(&measurement.subject);
        }
    }
    subjects
}

/// The colour of `subject`.
pub(super) fn colour(subjects: &[&str], subject: &str) -> RGBColor {
    let place = subjects.iter().position(|other| *other == subject);
    COLOURS[place.unwrap_or(0) % COLOURS.len()]
}
