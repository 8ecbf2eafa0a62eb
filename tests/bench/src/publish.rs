//! Writes the results of a full run of all scenarios into the source tree, and any other results into
//! the target directory.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, ensure};

use crate::{plot, report::Report, scenario::SCENARIOS, table};

/// The directory of published results, as README.md names it.
const FOLDER: &str = "tests/bench/results";

/// The lines of README.md around the summary.
const BEGIN: &str = "<!-- bench -->";
const END: &str = "<!-- /bench -->";

/// Publishes the results of the last run, which are in the directory `found`.
///
/// # Errors
///
/// Returns an error if a file cannot be written, or if a scenario failed; the results of the other
/// scenarios are written before.
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
        let readme = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../README.md");
        let text = fs::read_to_string(&readme)?;
        fs::write(&readme, with_summary(&text, &summary(&report))?)?;
    }
    println!("written to {}", folder.display());
    // Last, because a failed scenario does not make the others worthless.
    let failed = report.failed();
    ensure!(failed.is_empty(), "scenarios failed: {}", failed.join(", "));
    Ok(())
}

/// Plots the scenarios that have plots. Returns their names.
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

/// The beginning of the page.
const INTRODUCTION: &str = "# Performance

`cargo xtask bench` writes this page and the plots. [results.json](results.json) contains the same results.

The tables show the median of all samples; half of the samples lie between the quartiles. The ratio is to the baseline of the same case. Results that are worse than a peer's or miss their target are shown like all others.

Each peer runs with the settings that its manual recommends and that make it fastest; [peers](peers) contains the configurations. knockd 0.8 captures only SYNs to its three ports. fwknopd uses AES with HMAC and receives packets on a UDP socket. Its default is a packet capture that it polls ten times per second; latency and idle daemons are measured with both. ulogd2 receives the log of nftables in batches, with a delay of at most 10 ms. It stands for the path of the original; knockd-xdp reads its output. All daemons run the same command.
";

/// The page with all results.
fn page(report: &Report, plots: &[&str]) -> String {
    let mut page = format!("{INTRODUCTION}\n{}", table::markdown(report));
    for name in plots {
        page.push_str(&format!("\n![{name}]({})\n", file(name)));
    }
    page
}

/// The summary for README.md.
fn summary(report: &Report) -> String {
    format!(
        "{}\n[All results]({FOLDER}/results.md)\n",
        table::summary(report)
    )
}

/// Replaces the summary in `readme`.
fn with_summary(readme: &str, summary: &str) -> Result<String> {
    let parts = readme.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) =
        parts.with_context(|| format!("README.md has no `{BEGIN}` with `{END}` after it"))?;
    Ok(format!("{before}{BEGIN}\n{summary}{END}{after}"))
}

/// Replaces the files of the directory `to` by those of `from`.
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
    fn the_summary_is_replaced() {
        let readme = format!("a\n{BEGIN}\nold\n{END}\nb\n");
        let with = with_summary(&readme, "new\n").unwrap();
        assert_eq!(with, format!("a\n{BEGIN}\nnew\n{END}\nb\n"));
        assert_eq!(with_summary(&with, "new\n").unwrap(), with);
        assert!(with_summary("a", "new").is_err());
    }
}
