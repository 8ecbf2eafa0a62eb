//! The lines of the project that were executed, from LLVM's report in the format of lcov.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};

/// What begins the module of a file's unit tests, which end the file.
const UNIT_TESTS: &str = "#[cfg(test)]";

/// Folders that are not part of the programs, and what begins them.
const OTHERS: &[&str] = &["tests/", "xtask/", "knock-ebpf/", "knock-user/manpages/"];

/// What precedes the table on the page.
const BEGIN: &str = "# Coverage

`cargo xtask coverage` runs all tests with counters, and writes the table on this page: the lines of each crate that they
execute. The processes that the tests start count too. Unit tests themselves, the tests' own crates, the project's tooling
and the eBPF program, which cannot have such counters, are left out.

";

/// What begins the part of the page that is written by hand.
const BY_HAND: &str = "## What is not executed";

/// A line, and whether it was executed.
type Lines = BTreeMap<usize, bool>;

/// The lines of each source file, by its path in the project.
#[derive(Debug, Default)]
pub(super) struct Report(BTreeMap<String, Lines>);

impl Report {
    /// Reads LLVM's report. Sources outside of `root` and tests are left out.
    pub(super) fn read(root: &Path, text: &str) -> Result<Self> {
        let mut report = Self::default();
        let mut file = None;
        for line in text.lines() {
            if let Some(path) = line.strip_prefix("SF:") {
                let path = Path::new(path).strip_prefix(root).ok();
                let path = path.and_then(Path::to_str).filter(|path| is_program(path));
                file = path.map(|path| report.0.entry(path.to_owned()).or_default());
            } else if let (Some(data), Some(lines)) = (line.strip_prefix("DA:"), &mut file) {
                let (number, count) = data.split_once(',').context("no count")?;
                let was_executed = lines.entry(number.parse()?).or_insert(false);
                *was_executed |= count != "0";
            }
        }
        for (path, lines) in &mut report.0 {
            let source = fs::read_to_string(root.join(path))?;
            if let Some(tests) = source.lines().position(|line| line == UNIT_TESTS) {
                lines.retain(|number, _| *number <= tests);
            }
        }
        report.0.retain(|_, lines| !lines.is_empty());
        Ok(report)
    }

    /// The share of each crate's lines.
    pub(super) fn table(&self) -> String {
        let mut crates: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (path, lines) in &self.0 {
            let name = path.split_once("/src/").map_or("", |(name, _)| name);
            for sum in [name, "all"] {
                let (executed, all) = crates.entry(sum).or_default();
                *executed += lines.values().filter(|executed| **executed).count();
                *all += lines.len();
            }
        }
        let sum = crates.remove("all").unwrap_or_default();
        let mut table = "| crate | lines | executed |\n|---|---:|---:|\n".to_owned();
        for (name, (executed, all)) in crates.into_iter().chain([("all", sum)]) {
            // Rounded down: a figure is never better than it is.
            let tenths = executed * 1000 / all.max(1);
            let _ = writeln!(
                table,
                "| {name} | {all} | {}.{} % |",
                tenths / 10,
                tenths % 10
            );
        }
        table
    }

    /// The lines that were not executed: one file and its ranges per line, those with most first.
    pub(super) fn missed(&self) -> String {
        let mut files = Vec::new();
        for (path, lines) in &self.0 {
            let missed = lines.iter().filter(|(_, executed)| !**executed);
            let missed: Vec<_> = missed.map(|(number, _)| *number).collect();
            if !missed.is_empty() {
                files.push((missed.len(), path, ranges(&missed)));
            }
        }
        files.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(other.1)));
        let mut text = String::new();
        for (count, path, ranges) in files {
            let _ = writeln!(text, "{count:5} {path}: {ranges}");
        }
        text
    }

    /// Writes the table to the page at `path`. What is written by hand there stays.
    pub(super) fn publish(&self, path: &Path) -> Result<()> {
        let page = fs::read_to_string(path).unwrap_or_default();
        let by_hand = page.find(BY_HAND).map_or("", |at| &page[at..]);
        let page = format!("{BEGIN}{}\n{by_hand}", self.table());
        fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Whether the source file at `path` is part of a program, and not of its tests or its `main`.
fn is_program(path: &str) -> bool {
    let is_test = path.ends_with("/tests.rs") || path.contains("/tests/");
    let is_other = OTHERS.iter().any(|other| path.starts_with(other));
    path.contains("/src/") && !is_test && !is_other && !path.contains("/src/bin/")
}

/// Ascending numbers as ranges.
fn ranges(numbers: &[usize]) -> String {
    let groups = numbers.chunk_by(|one, next| one + 1 == *next);
    let ranges = groups.map(|group| match (group.first(), group.last()) {
        (Some(first), Some(last)) if first < last => format!("{first}-{last}"),
        (Some(only), _) => only.to_string(),
        (None, _) => String::new(),
    });
    ranges.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_summed_over_the_executables() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("a/src");
        fs::create_dir_all(&source).unwrap();
        let text = "fn f() {\n}\n\n#[cfg(test)]\nmod tests {\n}\n";
        fs::write(source.join("lib.rs"), text).unwrap();
        let root = folder.path().display();
        let report = format!(
            "SF:{root}/a/src/lib.rs\nDA:1,0\nDA:2,0\nDA:5,1\nend_of_record\n\
             SF:{root}/a/src/lib.rs\nDA:1,7\nDA:2,0\nend_of_record\n\
             SF:{root}/xtask/src/main.rs\nDA:1,0\nend_of_record\n\
             SF:/elsewhere/src/lib.rs\nDA:1,0\nend_of_record\n"
        );
        let report = Report::read(folder.path(), &report).unwrap();
        assert_eq!(report.missed(), "    1 a/src/lib.rs: 2\n");
        assert!(
            report
                .table()
                .contains("| a | 2 | 50.0 % |\n| all | 2 | 50.0 % |\n")
        );
        let page = folder.path().join("coverage.md");
        fs::write(&page, format!("old\n{BY_HAND}\n\nThat.\n")).unwrap();
        report.publish(&page).unwrap();
        let page = fs::read_to_string(&page).unwrap();
        assert!(
            page.ends_with(&format!("50.0 % |\n\n{BY_HAND}\n\nThat.\n")),
            "{page}"
        );
    }

    #[test]
    fn only_programs_count() {
        for path in ["knock-user/cli/src/check.rs", "knock-common/src/gate.rs"] {
            assert!(is_program(path), "{path}");
        }
        for path in [
            "knock-user/cli/src/top/tests.rs",
            "knock-user/cli/src/top/tests/help.rs",
            "knock-user/src/bin/knockd.rs",
            "knock-user/xdp/build.rs",
            "tests/src/netns.rs",
        ] {
            assert!(!is_program(path), "{path}");
        }
    }

    #[test]
    fn neighbouring_lines_are_a_range() {
        assert_eq!(ranges(&[1, 2, 3, 7, 9, 10]), "1-3, 7, 9-10");
    }
}
