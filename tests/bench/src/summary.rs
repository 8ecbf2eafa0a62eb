//! The most important results, for README.md.

use std::fmt::Write as _;

use crate::{peer::Subject, record::Unit, report::Report, table::machine};

/// A row of the summary.
struct Row {
    text: &'static str,
    scenario: &'static str,
    case: &'static str,
    unit: Unit,
    /// Whether the figure is the difference to the baseline.
    difference: bool,
    /// The subjects of each column. The figure of a second one is in parentheses.
    subjects: [&'static [&'static str]; COLUMNS.len()],
}

const COLUMNS: [&str; 3] = ["knockd-xdp", "knockd 0.8", "fwknopd"];

const SYN: &[&str] = &[Subject::Syn.name()];
const JVINET: &[&str] = &[Subject::Jvinet.name()];
const FWKNOP: &[&str] = &[Subject::FwknopUdp.name()];
const FWKNOP_BOTH: &[&str] = &[Subject::FwknopUdp.name(), Subject::FwknopPcap.name()];

const ROWS: [Row; 6] = [
    Row {
        text: "from the last packet of a knock to its command",
        scenario: "latency",
        case: "median",
        unit: Unit::Nanoseconds,
        difference: false,
        subjects: [SYN, JVINET, FWKNOP_BOTH],
    },
    Row {
        text: "client calls that succeed with 10 % packet loss",
        scenario: "lossy",
        case: "10 % loss",
        unit: Unit::Percent,
        difference: false,
        subjects: [SYN, &["knockd 0.8, sequential calls"], FWKNOP],
    },
    Row {
        text: "valid knocks accepted during the fastest possible SYN flood to the knock ports",
        scenario: "flood",
        case: "unlimited rate: valid knocks accepted",
        unit: Unit::Percent,
        difference: false,
        subjects: [SYN, JVINET, &[]],
    },
    Row {
        text: "added to a TCP packet for another port, compared with an empty XDP program",
        scenario: "program",
        case: "TCP to another port",
        unit: Unit::Nanoseconds,
        difference: true,
        subjects: [&["knockd"], &[], &[]],
    },
    Row {
        text: "CPU usage during the fastest possible SYN flood from one source, with 1,000 keys",
        scenario: "hostile",
        case: "one address: daemon CPU usage",
        unit: Unit::Percent,
        difference: false,
        subjects: [&["knockd-xdp, 1,000 clients"], &[], &[]],
    },
    Row {
        text: "memory when idle",
        scenario: "idle",
        case: "memory (PSS)",
        unit: Unit::Bytes,
        difference: false,
        subjects: [SYN, JVINET, FWKNOP_BOTH],
    },
];

/// A Markdown table of medians. A dash marks what was not measured.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = format!("{}\n\n", machine(report));
    let _ = writeln!(text, "| | {} |", COLUMNS.join(" | "));
    let _ = writeln!(text, "|---|---:|---:|---:|");
    for row in ROWS {
        let cells = row.subjects.map(|subjects| cell(report, &row, subjects));
        let _ = writeln!(text, "| {} | {} |", row.text, cells.join(" | "));
    }
    text
}

fn cell(report: &Report, row: &Row, subjects: &[&str]) -> String {
    let values = subjects
        .iter()
        .filter_map(|subject| value(report, row, subject));
    values
        .map(|value| row.unit.show(value))
        .reduce(|first, second| format!("{first} ({second})"))
        .unwrap_or_else(|| "–".to_owned())
}

fn value(report: &Report, row: &Row, subject: &str) -> Option<f64> {
    let section = report.section(row.scenario)?;
    let median = |subject| Some(section.find(row.case, subject, row.unit)?.median());
    let baseline = if row.difference {
        let measurement = section.find(row.case, subject, row.unit)?;
        median(measurement.baseline.as_ref()?)?
    } else {
        0.0
    };
    Some(median(subject)? - baseline)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_figure_is_in_the_published_results() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
        let report = Report::read(&folder).unwrap();
        for row in &ROWS {
            for subject in row.subjects.concat() {
                assert!(value(&report, row, subject).is_some(), "{}", row.text);
            }
        }
    }
}
