//! What a guest reports: lines on its serial console.

use std::{fmt, time::Duration};

use anyhow::{Result, ensure};

/// The checks of one boot.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The kernel's release and version, as `uname -rv` prints it.
    pub(super) kernel: String,
    pub(super) checks: Vec<Check>,
    pub(super) nics: Vec<Nic>,
    /// Whether the guest got to the end.
    pub(super) finished: bool,
    pub(super) took: Duration,
}

/// One check.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) outcome: Outcome,
}

/// How a check ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Ok,
    /// Why, and what the guest logged about it.
    Failed(String, Vec<String>),
    /// Why.
    Skipped(String),
}

/// A network card.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Nic {
    pub(super) model: String,
    /// How knockd attached to it: `native`, `generic`, `tc`, or `none`.
    pub(super) mode: String,
}

/// How many checks ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) ok: usize,
    pub(super) failed: usize,
    pub(super) skipped: usize,
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ok, {} failed", self.ok, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

impl Report {
    /// Reads the text of a serial console. Lines of the kernel are ignored.
    pub(super) fn read(console: &str) -> Self {
        let mut report = Self::default();
        for line in console.lines().map(str::trim_end) {
            if let Some(check) = line.strip_prefix("CHECK ") {
                report.checks.extend(Check::read(check));
            } else if let Some(line) = line.strip_prefix("LOG ") {
                // About the check before.
                if let Some(Check {
                    outcome: Outcome::Failed(_, log),
                    ..
                }) = report.checks.last_mut()
                {
                    log.push(line.to_owned());
                }
            } else if let Some(kernel) = line.strip_prefix("KERNEL ") {
                kernel.clone_into(&mut report.kernel);
            } else if let Some((model, mode)) = line
                .strip_prefix("NIC ")
                .and_then(|nic| nic.split_once(' '))
            {
                report.nics.push(Nic {
                    model: model.to_owned(),
                    mode: mode.to_owned(),
                });
            }
            report.finished |= line == "CHECKS DONE";
        }
        report
    }

    pub(super) fn count(&self) -> Count {
        let mut count = Count::default();
        for check in &self.checks {
            match check.outcome {
                Outcome::Ok => count.ok += 1,
                Outcome::Failed(..) => count.failed += 1,
                Outcome::Skipped(_) => count.skipped += 1,
            }
        }
        count
    }

    /// The checks of the network card `model`.
    pub(super) fn of_nic(&self, model: &str) -> impl Iterator<Item = &Check> {
        let prefix = format!("nic {model} ");
        self.checks
            .iter()
            .filter(move |check| check.name.starts_with(&prefix))
    }

    /// Prints what is to be known about the boot of the kernel `name`.
    pub(super) fn print(&self, name: &str) {
        println!(
            "{name}: {}: {}, {:.0} s",
            self.kernel,
            self.count(),
            self.took.as_secs_f32()
        );
        for check in &self.checks {
            match &check.outcome {
                Outcome::Ok => {}
                Outcome::Skipped(why) => println!("    skipped: {}: {why}", check.name),
                Outcome::Failed(why, log) => {
                    println!("    FAILED: {}: {why}", check.name);
                    for line in log {
                        println!("        {line}");
                    }
                }
            }
        }
    }

    /// # Errors
    ///
    /// Returns an error if a check has failed or there was none.
    pub(super) fn judge(&self) -> Result<()> {
        let count = self.count();
        ensure!(count.ok > 0, "no check was good");
        ensure!(count.failed == 0, "{} checks failed", count.failed);
        Ok(())
    }
}

impl Check {
    /// Reads `ok NAME`, `FAIL NAME: WHY` or `skip NAME: WHY`.
    fn read(line: &str) -> Option<Self> {
        let (outcome, rest) = line.split_once(' ')?;
        let (name, why) = rest.split_once(": ").unwrap_or((rest, ""));
        let outcome = match outcome {
            "ok" => Outcome::Ok,
            "FAIL" => Outcome::Failed(why.to_owned(), Vec::new()),
            "skip" => Outcome::Skipped(why.to_owned()),
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            outcome,
        })
    }
}

/// The last `count` lines of `console` that are not empty.
pub(super) fn tail(console: &str, count: usize) -> Vec<&str> {
    let lines: Vec<_> = console
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(count)..].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "SeaBIOS\r\nKERNEL 6.1.0-50-amd64 #1 SMP\r\nCHECK ok attach\r\n\
        CHECK FAIL gate: nothing: came\r\nLOG first\r\nLOG second\r\nCHECK skip vrf: no module\r\n\
        NIC e1000,x=y generic\r\nCHECK ok nic e1000,x=y opens\r\nCHECKS DONE\r\n";

    #[test]
    fn the_lines_of_a_guest_are_read() {
        let report = Report::read(CONSOLE);
        assert_eq!(report.kernel, "6.1.0-50-amd64 #1 SMP");
        assert_eq!(report.count().to_string(), "2 ok, 1 failed, 1 skipped");
        assert!(report.finished);
        let log = vec!["first".to_owned(), "second".to_owned()];
        assert_eq!(
            report.checks[1].outcome,
            Outcome::Failed("nothing: came".to_owned(), log)
        );
        assert_eq!(report.nics[0].mode, "generic");
        assert_eq!(report.of_nic("e1000,x=y").count(), 1);
    }

    #[test]
    fn a_guest_that_stops_early_has_not_finished() {
        let report = Report::read("CHECK ok attach\nKernel panic - not syncing\n");
        assert!(!report.finished);
        assert!(report.judge().is_ok());
        assert!(Report::read("").judge().is_err());
        assert!(Report::read(CONSOLE).judge().is_err());
    }

    #[test]
    fn the_tail_has_no_empty_lines() {
        assert_eq!(tail("a\r\n\r\nb\r\nc\r\n", 2), ["b", "c"]);
        assert_eq!(tail("a\n", 2), ["a"]);
    }
}
