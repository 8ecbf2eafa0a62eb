//! Tables of the results, as plain text and as Markdown.

use std::fmt::Write as _;

use crate::{
    context::Effort,
    record::{Measurement, Unit, digits},
    report::{Report, Section},
};

const HEADINGS: [&str; 6] = ["case", "subject", "median", "quartiles", "ratio", "target"];

type Row = [String; HEADINGS.len()];

/// Plain text for a terminal.
pub(crate) fn text(report: &Report) -> String {
    let mut text = format!("\n{}\n", machine(report));
    for section in &report.sections {
        let _ = write!(text, "\n{}\n", section.title);
        if let Some(failure) = &section.failure {
            let _ = writeln!(text, "  not measured: {failure}");
            continue;
        }
        let rows = rows(section);
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([HEADINGS[column].len()]).max().unwrap_or(0)
        };
        let widths: [usize; HEADINGS.len()] = std::array::from_fn(width);
        for row in [HEADINGS.map(str::to_owned)].iter().chain(&rows) {
            let cells = row.iter().zip(widths);
            let line = cells.fold(String::new(), |line, (cell, width)| {
                format!("{line}  {cell:width$}")
            });
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text
}

/// Markdown with headings of a level such as `##`. `plot` returns the path of
/// the plot of a scenario.
pub(crate) fn markdown(
    report: &Report,
    level: &str,
    plot: impl Fn(&str) -> Option<String>,
) -> String {
    let mut text = format!("{}\n", machine(report));
    for section in &report.sections {
        let _ = write!(
            text,
            "\n{level} {}\n\n{}\n\n",
            section.title, section.method
        );
        if let Some(failure) = &section.failure {
            let _ = writeln!(text, "Not measured: {failure}");
            continue;
        }
        let _ = writeln!(text, "| {} |", HEADINGS.join(" | "));
        let _ = writeln!(text, "|---|---|---:|---|---:|---|");
        for row in rows(section) {
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        if let Some(plot) = plot(&section.scenario) {
            let _ = writeln!(text, "\n![{}]({plot})", section.title);
        }
    }
    text
}

/// The machine and the run, in one line.
pub(crate) fn machine(report: &Report) -> String {
    let machine = &report.machine;
    format!(
        "{}, {} {}{}, {} of memory, Linux {}; {}, commit {}, {} run of {} min {} s",
        machine.processor,
        machine.cores,
        if machine.cores == 1 { "core" } else { "cores" },
        if machine.is_virtual {
            " of a virtual machine"
        } else {
            ""
        },
        Unit::Bytes.show(machine.memory as f64),
        machine.kernel,
        report.date,
        report.commit,
        match report.effort {
            Effort::Quick => "quick",
            Effort::Full => "full",
        },
        report.took_seconds / 60,
        report.took_seconds % 60,
    )
}

fn rows(section: &Section) -> Vec<Row> {
    let mut last = "";
    let rows = section.measurements.iter();
    rows.map(|measurement| row(section, measurement, &mut last))
        .collect()
}

/// A table row. The case is omitted if it is the `last` row's.
fn row<'a>(section: &Section, measurement: &'a Measurement, last: &mut &'a str) -> Row {
    let unit = measurement.unit;
    let summary = measurement.summary;
    let spread = if summary.samples > 1 {
        format!(
            "{} – {}",
            unit.show(summary.lower),
            unit.show(summary.upper)
        )
    } else {
        String::new()
    };
    let ratio = section.ratio(measurement);
    let target = measurement.target.as_ref().map(|target| {
        let verdict = if target.reached { "met" } else { "missed" };
        format!("{}: {verdict}", target.text)
    });
    let case = if measurement.case == *last {
        ""
    } else {
        &measurement.case
    };
    *last = &measurement.case;
    [
        case.to_owned(),
        measurement.subject.clone(),
        unit.show(summary.median),
        spread,
        ratio.map_or_else(String::new, |ratio| format!("{} ×", digits(ratio))),
        target.unwrap_or_default(),
    ]
}
