//! `docs/kernels.md`: what was booted.

use std::{collections::BTreeMap, fs, time::SystemTime};

use anyhow::{Context as _, Result};

use super::{
    kernel::{KERNELS, Kernel},
    report::{Nic, Outcome, Report},
};
use crate::workspace::Workspace;

/// The longest reason of a failed check, in characters.
const REASON: usize = 120;

/// What is before the rows of each table.
const BEGIN: &str = "# Kernels

`cargo xtask vm` boots Debian's kernels in qemu, and runs knockd in each: setting it up, attaching, knocks with the real
client, the gate, doors with commands, crashes and take-over, reload, metrics, the sandbox, and links that are made of other
links. It writes the tables on this page. `cargo xtask test` boots one of the kernels, with fewer checks.

| kernel | version | architecture | date | checks |
|---|---|---|---|---|
";
const NICS: &str = "
## Network cards

Two cards of each model that qemu has are joined by a cable, and one of them is attached to. A model works if a connection
is refused without a knock, a knock is seen, and it opens the gate for its sender alone.

| kernel | model | mode | outcome |
|---|---|---|---|
";
const FAILED: &str = "
## What failed

| kernel | check | reason |
|---|---|---|
";

/// How many tables the page has.
const TABLES: usize = 3;

/// The rows of the tables, by kernel.
#[derive(Debug, Default, PartialEq, Eq)]
struct Rows([BTreeMap<String, Vec<String>>; TABLES]);

/// Replaces the rows of a kernel that was booted. Those of other kernels stay.
pub(super) fn update(workspace: &Workspace, kernel: &Kernel, report: &Report) -> Result<()> {
    let path = workspace.docs().join("kernels.md");
    let mut rows = Rows::read(&fs::read_to_string(&path).unwrap_or_default());
    let today = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let today = today.split('T').next().unwrap_or_default();
    rows.set(kernel, report, today);
    fs::write(&path, rows.page()).with_context(|| format!("cannot write {}", path.display()))
}

impl Rows {
    fn read(page: &str) -> Self {
        let mut rows = Self::default();
        let mut begun = 0_usize;
        for line in page.lines() {
            if line.starts_with("|---") {
                begun += 1;
            }
            let name = line.split('|').nth(1).unwrap_or_default().trim();
            let is_kernel = KERNELS.iter().any(|kernel| kernel.name == name);
            // What is before the first table belongs to none.
            let table = begun.checked_sub(1).and_then(|at| rows.0.get_mut(at));
            if let (true, Some(table)) = (is_kernel, table) {
                let rows = table.entry(name.to_owned()).or_default();
                rows.push(format!("{line}\n"));
            }
        }
        rows
    }

    fn set(&mut self, kernel: &Kernel, report: &Report, today: &str) {
        let Kernel { name, arch, .. } = kernel;
        let booted = format!(
            "| {name} | {} | {} | {today} | {} |\n",
            version(&report.kernel),
            arch.debian(),
            report.count()
        );
        let failed = report
            .checks
            .iter()
            .filter_map(|check| match &check.outcome {
                Outcome::Failed(why, _) => Some(failed_row(name, &check.name, why)),
                Outcome::Ok | Outcome::Skipped(_) => None,
            });
        let nics = report.nics.iter().map(|nic| nic_row(name, report, nic));
        for (table, rows) in self
            .0
            .iter_mut()
            .zip([vec![booted], nics.collect(), failed.collect()])
        {
            table.insert((*name).to_owned(), rows);
        }
    }

    fn page(&self) -> String {
        let mut page = String::new();
        for (table, before) in self.0.iter().zip([BEGIN, NICS, FAILED]) {
            page += before;
            for kernel in KERNELS {
                page.extend(table.get(kernel.name).into_iter().flatten().cloned());
            }
        }
        page
    }
}

fn nic_row(kernel: &str, report: &Report, nic: &Nic) -> String {
    let fails = report
        .of_nic(&nic.model)
        .any(|check| matches!(check.outcome, Outcome::Failed(..)));
    let outcome = if fails { "fails" } else { "works" };
    format!(
        "| {kernel} | `{}` | {} | {outcome} |\n",
        nic.model, nic.mode
    )
}

/// The reason without what the status or a log adds to it, which no table has room for.
fn failed_row(kernel: &str, check: &str, why: &str) -> String {
    let why: String = why.chars().take(REASON).collect();
    let why = why.replace('|', "\\|").replace('`', "'");
    format!("| {kernel} | {check} | `{}` |\n", why.trim())
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
        let nic = "| 6.1 | `tulip` | generic | fails |\n";
        assert!(page.contains(nic), "{page}");
        let failed = "| 6.1 | nic tulip sees traffic | `no` |\n";
        assert!(page.ends_with(failed), "{page}");
    }
}
