//! Bar charts: a bar for every figure, with its quartiles.

use std::{error::Error, path::Path};

use plotters::{
    coord::ranged1d::{IntoSegmentedCoord as _, SegmentValue},
    prelude::{
        BLACK, ChartBuilder, Color as _, IntoFont as _, PathElement, Rectangle, Text, TextStyle,
        WHITE,
    },
    style::text_anchor::{HPos, Pos, VPos},
};

use super::canvas::{FONT, TEXT, TITLE, canvas, colour, subjects};
use crate::record::Measurement;

/// Pixels of a bar with its margin, and of the space above and below all bars together.
const BAR: u32 = 26;
const FRAME: u32 = 60;
/// The largest ratio of two bars on a linear scale: beyond it the shortest would be invisible.
const LINEAR: f64 = 100.0;

pub(super) fn draw(
    title: &str,
    measurements: &[&Measurement],
    file: &Path,
) -> Result<(), Box<dyn Error>> {
    let count = measurements.len();
    let medians = measurements.iter().map(|measurement| measurement.median());
    let scale = Scale::of(medians.filter(|median| *median > 0.0));
    let subjects = subjects(measurements);
    let area = canvas(file, BAR * u32::try_from(count)? + FRAME);
    area.fill(&WHITE)?;
    let title = format!("{title}{}", scale.remark());
    let mut chart = ChartBuilder::on(&area)
        .caption(title, (FONT, TITLE))
        .margin(10)
        .y_label_area_size(360)
        // The vertical axis points up; the first bar is on top.
        .build_cartesian_2d(0.0..1.2, (0..count - 1).into_segmented())?;
    let name = |place: &SegmentValue<usize>| match place {
        SegmentValue::CenterOf(place) | SegmentValue::Exact(place) => {
            let measurement = measurements[count - 1 - place];
            format!("{}, {}", measurement.case, measurement.subject)
        }
        SegmentValue::Last => String::new(),
    };
    chart
        .configure_mesh()
        .disable_mesh()
        .disable_x_axis()
        .y_labels(count)
        .y_label_formatter(&name)
        .label_style((FONT, TEXT))
        .draw()?;
    let value = TextStyle::from((FONT, TEXT).into_font()).pos(Pos::new(HPos::Left, VPos::Center));
    for (above, measurement) in measurements.iter().enumerate() {
        let place = count - 1 - above;
        let summary = measurement.summary;
        let end = scale.place(summary.median);
        let corners = [
            (0.0, SegmentValue::Exact(place)),
            (end, SegmentValue::Exact(place + 1)),
        ];
        let colour = colour(&subjects, &measurement.subject);
        let mut bar = Rectangle::new(corners, colour.filled());
        bar.set_margin(4, 4, 0, 0);
        let spread = [summary.lower, summary.upper]
            .map(|value| (scale.place(value), SegmentValue::CenterOf(place)));
        let text = Text::new(
            measurement.unit.show(summary.median),
            (
                scale.place(summary.upper).max(end) + 0.01,
                SegmentValue::CenterOf(place),
            ),
            value.clone(),
        );
        chart.draw_series([bar])?;
        chart.draw_series([PathElement::new(spread, BLACK)])?;
        chart.draw_series([text])?;
    }
    area.present()?;
    Ok(())
}

/// Maps figures to lengths; the longest is 1.
enum Scale {
    Linear { longest: f64 },
    Logarithmic { shortest: f64, longest: f64 },
}

impl Scale {
    fn of(figures: impl Iterator<Item = f64> + Clone) -> Self {
        let longest = figures.clone().fold(f64::MIN_POSITIVE, f64::max);
        let shortest = figures.fold(longest, f64::min);
        if longest / shortest <= LINEAR {
            Self::Linear { longest }
        } else {
            // Otherwise the shortest bar would have length 0.
            let shortest = shortest / 2.0;
            Self::Logarithmic { shortest, longest }
        }
    }

    fn place(&self, figure: f64) -> f64 {
        let place = match self {
            Self::Linear { longest } => figure / longest,
            Self::Logarithmic { shortest, longest } => {
                (figure / shortest).ln() / (longest / shortest).ln()
            }
        };
        place.clamp(0.0, 1.05)
    }

    fn remark(&self) -> &'static str {
        match self {
            Self::Linear { .. } => "",
            Self::Logarithmic { .. } => " (logarithmic)",
        }
    }
}
