//! `docs/kernels.md`: what was booted.

use std::{collections::BTreeMap, fs, time::SystemTime};

use anyhow::{Context as _, Result};

use super::{
    kernel::{KERNELS, Kernel},
    report::{Outcome, Report},
};
use crate::workspace::Workspace;

const KERNELS_HEAD: &str =
    "| kernel | version | architecture | date | checks |\n|---|---|---|---|---|\n";
const NICS_HEAD: &str = "| kernel | model | mode | outcome |\n|---|---|---|---|\n";

const BEGIN: &str = "# Kernels

`cargo xtask vm` boots Debian's kernels in qemu, and runs knockd in each: setting it up, attaching, knocks with the real
client, the gate, doors with commands, crashes and take-over, reload, metrics, and the sandbox. It writes the tables on
this page. `cargo xtask test` boots one of the kernels, with fewer checks.

";

const MIDDLE: &str = "
## Network cards

Two cards of each model that qemu has are joined by a cable, and one of them is attached to. A model works if a connection
is refused without a knock, a knock is seen, and it opens the gate for its sender alone.

";

/// The rows of the two tables, by kernel.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rows {
    kernels: BTreeMap<String, String>,
    nics: BTreeMap<String, Vec<String>>,
}

/// Replaces the rows of the kernels that were booted. Those of other kernels stay.
pub(super) fn update(workspace: &Workspace, reports: &[(&Kernel, Report)]) -> Result<()> {
    let path = workspace.docs().join("kernels.md");
    let mut rows = Rows::read(&fs::read_to_string(&path).unwrap_or_default());
    let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let today = today.split('T').next().unwrap_or_default();
    for (kernel, report) in reports {
        rows.set(kernel, report, today);
    }
    fs::write(&path, rows.page()).with_context(|| format!("cannot write {}", path.display()))
}

impl Rows {
    fn read(page: &str) -> Self {
        let mut rows = Self::default();
        for line in page.lines() {
            let name = line.split('|').nth(1).unwrap_or_default().trim();
            if !KERNELS.iter().any(|kernel| kernel.name == name) {
                continue;
            }
            let line = format!("{line}\n");
            // The first row of a kernel is in the first table.
            if rows.kernels.contains_key(name) {
                rows.nics.entry(name.to_owned()).or_default().push(line);
            } else {
                rows.kernels.insert(name.to_owned(), line);
            }
        }
        rows
    }

    fn set(&mut self, kernel: &Kernel, report: &Report, today: &str) {
        let Kernel { name, arch, .. } = kernel;
        self.kernels.insert(
            (*name).to_owned(),
            format!(
                "| {name} | {} | {} | {today} | {} |\n",
                version(&report.kernel),
                arch.debian(),
                report.count()
            ),
        );
        let nics = report.nics.iter().map(|nic| {
            let failed = report
                .of_nic(&nic.model)
                .filter(|check| matches!(check.outcome, Outcome::Failed(..)));
            let prefix = format!("nic {} ", nic.model);
            let failed: Vec<_> = failed
                .map(|check| check.name.trim_start_matches(&prefix))
                .collect();
            let outcome = match failed.is_empty() {
                true => "works".to_owned(),
                false => format!("fails: {}", failed.join(", ")),
            };
            format!("| {name} | `{}` | {} | {outcome} |\n", nic.model, nic.mode)
        });
        self.nics.insert((*name).to_owned(), nics.collect());
    }

    fn page(&self) -> String {
        let names: Vec<_> = KERNELS.iter().map(|kernel| kernel.name).collect();
        let mut page = BEGIN.to_owned() + KERNELS_HEAD;
        for row in names.iter().filter_map(|name| self.kernels.get(*name)) {
            page += row;
        }
        page += MIDDLE;
        page += NICS_HEAD;
        for row in names
            .iter()
            .filter_map(|name| self.nics.get(*name))
            .flatten()
        {
            page += row;
        }
        page
    }
}

/// The version of Debian's package, in the text that `uname -v` prints, and the release.
fn version(kernel: &str) -> String {
    let mut words = kernel.split_whitespace();
    let release = words.next().unwrap_or("unknown");
    match words.skip_while(|word| *word != "Debian").nth(1) {
        Some(package) => format!("{release}, {package}"),
        None => release.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str =
        "KERNEL 6.1.0-50-amd64 #1 SMP PREEMPT_DYNAMIC Debian 6.1.176-1 (2026-07-01)
CHECK ok attach
NIC e1000 generic
CHECK ok nic e1000 attaches
NIC tulip generic
CHECK FAIL nic tulip sees traffic: no
CHECKS DONE
";

    #[test]
    fn a_run_replaces_the_rows_of_its_kernels_only() {
        let mut rows = Rows::default();
        for kernel in &KERNELS[..2] {
            rows.set(kernel, &Report::read(CONSOLE), "2026-01-01");
        }
        let mut read = Rows::read(&rows.page());
        assert_eq!(read, rows);
        read.set(&KERNELS[0], &Report::read(CONSOLE), "2026-02-02");
        let page = read.page();
        assert_eq!(page.matches("2026-01-01").count(), 1);
        assert_eq!(page.matches("2026-02-02").count(), 1);
    }

    #[test]
    fn a_row_says_what_was_booted_and_what_failed() {
        let mut rows = Rows::default();
        rows.set(&KERNELS[0], &Report::read(CONSOLE), "2026-01-01");
        let page = rows.page();
        let kernel = "| 6.1 | 6.1.0-50-amd64, 6.1.176-1 | amd64 | 2026-01-01 | 2 ok, 1 failed |\n";
        assert!(page.contains(kernel), "{page}");
        assert!(
            page.contains("| 6.1 | `e1000` | generic | works |\n"),
            "{page}"
        );
        let failed = "| 6.1 | `tulip` | generic | fails: sees traffic |\n";
        assert!(page.contains(failed), "{page}");
    }
}
