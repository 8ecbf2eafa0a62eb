//! Puts what was found beside the sources, if it was a full run of everything, and else into
//! the target directory.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::{plot, report::Report, scenario::SCENARIOS, table};

/// The scenario whose plot is in the README.
const SHOWN: &str = "latency";

/// The directory of published results, as docs/performance.md links to it.
const FOLDER: &str = "tests/bench/results";

/// Between these lines the README has what was found.
const BEGIN: &str = "<!-- bench -->";
const END: &str = "<!-- /bench -->";

/// Publishes what `found`, the folder of the last run, holds.
///
/// # Errors
///
/// It cannot be written, or a scenario of it has failed: then the others are written.
pub(crate) fn publish(found: &Path) -> Result<()> {
    let report = Report::read(found)?;
    let folder = if report.is_publishable() {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
    } else {
        found.to_owned()
    };
    fs::create_dir_all(&folder)?;
    let plots = draw(&report, &folder)?;
    fs::write(folder.join("results.md"), page(&report, &plots))?;
    if report.is_publishable() {
        report.write(&folder)?;
        copy(&found.join("peers"), &folder.join("peers"))?;
        let performance = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/performance.md");
        let text = fs::read_to_string(&performance)?;
        fs::write(
            &performance,
            with_figures(&text, &figures(&report, &plots))?,
        )?;
    }
    println!("written to {}", folder.display());
    // Not before: what could be measured is worth having.
    let failed = report.failed();
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

/// Draws every scenario that can be drawn; their names.
fn draw(report: &Report, folder: &Path) -> Result<Vec<&'static str>> {
    let mut drawn = Vec::new();
    for section in &report.sections {
        let scenario = SCENARIOS
            .iter()
            .find(|scenario| scenario.name == section.scenario);
        if let Some(scenario) = scenario
            && let Some(plot) = scenario.plot
            && plot::draw(plot, section, &folder.join(file(scenario.name)))?
        {
            drawn.push(scenario.name);
        }
    }
    Ok(drawn)
}

fn file(scenario: &str) -> String {
    format!("{scenario}.svg")
}

/// The page of its own.
fn page(report: &Report, plots: &[&str]) -> String {
    let mut page = format!(
        "# How fast it is\n\nWritten by `cargo xtask bench`.\n\n{}",
        table::markdown(report)
    );
    for name in plots {
        page.push_str(&format!("\n![{name}]({})\n", file(name)));
    }
    page
}

/// What the README has.
fn figures(report: &Report, plots: &[&str]) -> String {
    let mut figures = table::markdown(report);
    let shown = plots.iter().find(|name| **name == SHOWN);
    if let Some(name) = shown.or(plots.first()) {
        figures.push_str(&format!("\n![{name}]({FOLDER}/{})\n", file(name)));
    }
    figures
}

/// `readme` with other `figures` between its two lines.
fn with_figures(readme: &str, figures: &str) -> Result<String> {
    let parts = readme.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts
        .with_context(|| format!("docs/performance.md has no `{BEGIN}` with `{END}` after it"))?;
    Ok(format!("{before}{BEGIN}\n{figures}{END}{after}"))
}

/// Copies the files of one folder into another, which has no others afterwards.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    if !from.exists() {
        return Ok(());
    }
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_between_the_two_lines() {
        let performance = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let with = with_figures(&performance, "new\n").unwrap();
        assert_eq!(with, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(with_figures(&with, "new\n").unwrap(), with);
        assert!(with_figures("a", "new").is_err());
    }
}
