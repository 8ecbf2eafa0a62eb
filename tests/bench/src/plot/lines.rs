//! Line charts: a line for every subject, on logarithmic axes.

use std::{error::Error, ops::Range, path::Path};

use plotters::prelude::{
    BLACK, ChartBuilder, Circle, Color as _, ErrorBar, IntoLogRange as _, LineSeries, PathElement,
    SeriesLabelPosition, WHITE,
};

use super::canvas::{FONT, TEXT, TITLE, canvas, colour, subjects};
use crate::record::{Measurement, thousands};

/// Pixels.
const HEIGHT: u32 = 420;

pub(super) fn draw(
    title: &str,
    x: &str,
    measurements: &[&Measurement],
    file: &Path,
) -> Result<(), Box<dyn Error>> {
    let points = |subject: &str| -> Vec<(f64, &Measurement)> {
        let own = measurements.iter().filter(|other| other.subject == subject);
        own.filter_map(|measurement| Some((measurement.x?, *measurement)))
            .collect()
    };
    let subjects = subjects(measurements);
    let all: Vec<_> = subjects
        .iter()
        .flat_map(|subject| points(subject))
        .collect();
    let unit = measurements.first().map(|measurement| measurement.unit);
    let area = canvas(file, HEIGHT);
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, TITLE))
        .margin(10)
        .x_label_area_size(45)
        .y_label_area_size(90)
        .build_cartesian_2d(
            around(all.iter().map(|(x, _)| *x)).log_scale(),
            around(all.iter().map(|(_, figure)| figure.median())).log_scale(),
        )?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(x)
        .x_label_formatter(&|x| thousands(*x))
        .y_label_formatter(&|y| unit.map_or_else(String::new, |unit| unit.show(*y)))
        .label_style((FONT, TEXT))
        .draw()?;
    for subject in &subjects {
        let colour = colour(&subjects, subject);
        let points = points(subject);
        let medians = points.iter().map(|(x, figure)| (*x, figure.median()));
        chart
            .draw_series(LineSeries::new(medians.clone(), colour.stroke_width(2)))?
            .label(*subject)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(medians.map(|point| Circle::new(point, 3, colour.filled())))?;
        chart.draw_series(points.iter().map(|(x, figure)| {
            let summary = figure.summary;
            ErrorBar::new_vertical(
                *x,
                summary.lower,
                summary.median,
                summary.upper,
                colour.filled(),
                8,
            )
        }))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .label_font((FONT, TEXT))
        .draw()?;
    area.present()?;
    Ok(())
}

/// A range from half of the least to twice the greatest of `figures`.
fn around(figures: impl Iterator<Item = f64> + Clone) -> Range<f64> {
    let most = figures.clone().fold(f64::MIN_POSITIVE, f64::max);
    let least = figures.filter(|figure| *figure > 0.0).fold(most, f64::min);
    least / 2.0..most * 2.0
}
