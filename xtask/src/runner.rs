//! Runs test executables, several at a time, and reports what failed and what took long.

mod libtest;

use std::{
    collections::VecDeque,
    process::{Command, Stdio},
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};

use self::libtest::{Outcome, Report};
use crate::interrupt;

/// How many of the slowest tests are listed.
const SLOWEST: usize = 10;

/// A test executable to run.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) command: Command,
    /// Nothing else runs at the same time.
    pub(crate) exclusive: bool,
}

/// The outcome of all runs so far.
#[derive(Debug, Default)]
pub(crate) struct Summary {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// Names and seconds.
    times: Vec<(String, f64)>,
    failures: Vec<String>,
}

impl Summary {
    /// Runs `jobs`, up to `at_once` at a time and each with `threads` threads, and after them those
    /// that are exclusive.
    ///
    /// # Errors
    ///
    /// Returns an error once all have run if a test failed; at once if an executable cannot be
    /// started or a signal was received.
    pub(crate) fn run(&mut self, jobs: Vec<Job>, at_once: usize, threads: usize) -> Result<()> {
        let (exclusive, shared): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.exclusive);
        for (jobs, at_once) in [(shared, at_once), (exclusive, 1)] {
            let queue = Mutex::new(VecDeque::from(jobs));
            let summary = Mutex::new(&mut *self);
            thread::scope(|scope| {
                let workers: Vec<_> = (0..at_once)
                    .map(|_| scope.spawn(|| work(&queue, &summary, threads)))
                    .collect();
                workers.into_iter().try_for_each(|worker| {
                    worker
                        .join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
            })?;
        }
        ensure!(self.failed == 0, "{} tests failed", self.failed);
        Ok(())
    }

    /// Prints the slowest tests, and the output of those that failed.
    pub(crate) fn print(&mut self) {
        self.times.sort_by(|one, other| other.1.total_cmp(&one.1));
        if !self.times.is_empty() {
            println!("\nthe slowest tests:");
        }
        for (name, seconds) in self.times.iter().take(SLOWEST) {
            println!("{seconds:8.1} s  {name}");
        }
        for failure in &self.failures {
            println!("\n{failure}");
        }
    }

    fn add(&mut self, job: &str, succeeded: bool, report: Report, errors: &str) {
        let failed_before = self.failed;
        for test in report.tests {
            let name = format!("{job}: {}", test.name);
            match test.outcome {
                Outcome::Passed => self.passed += 1,
                Outcome::Ignored => continue,
                Outcome::Failed => self.fail(&format!("failed: {name}"), &test.output),
                Outcome::Started => self.fail(&format!("has not ended: {name}"), &test.output),
            }
            let skipped = |line: &&str| line.starts_with("skipped: ");
            for line in test.output.lines().filter(skipped) {
                println!("{line}");
            }
            self.times.push((name, test.seconds));
        }
        if self.failed > failed_before {
            self.failures.push(format!(
                "printed meanwhile by processes of {job}:\n{}{errors}",
                report.other
            ));
        } else if !succeeded {
            self.fail(&format!("failed: {job}"), &(report.other + errors));
        }
    }

    fn fail(&mut self, title: &str, output: &str) {
        self.failed += 1;
        self.failures.push(format!("{title}\n{output}"));
    }
}

fn work(queue: &Mutex<VecDeque<Job>>, summary: &Mutex<&mut Summary>, threads: usize) -> Result<()> {
    loop {
        let next = lock(queue).pop_front();
        let Some(mut job) = next else {
            return Ok(());
        };
        let begun = Instant::now();
        // The harness reports times only with its unstable options.
        job.command
            .args(["-Z", "unstable-options", "--format=json", "--report-time"])
            .args(["--show-output", &format!("--test-threads={threads}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let output = interrupt::wait(&mut job.command).with_context(|| job.name.clone())?;
        let report = Report::read(&String::from_utf8_lossy(&output.stdout));
        let passed = |outcome: Outcome| {
            let tests = report.tests.iter();
            tests.filter(|test| test.outcome == outcome).count()
        };
        println!(
            "{}: {} passed, {} failed, {:.1} s",
            job.name,
            passed(Outcome::Passed),
            passed(Outcome::Failed),
            begun.elapsed().as_secs_f32()
        );
        let errors = String::from_utf8_lossy(&output.stderr);
        lock(summary).add(&job.name, output.status.success(), report, &errors);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A job that prints as a test executable would.
    fn job(name: &str, exclusive: bool, script: &str) -> Job {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh"]);
        Job {
            name: name.to_owned(),
            command,
            exclusive,
        }
    }

    const PASSED: &str =
        r#"echo '{ "type": "test", "name": "one", "event": "ok", "exec_time": 0.5 }'"#;
    const FAILED: &str = r#"echo '{ "type": "test", "name": "two", "event": "failed", "stdout": "why" }'
        echo beside >&2; exit 101"#;

    #[test]
    fn tests_are_counted_over_all_executables() {
        let mut summary = Summary::default();
        let jobs = vec![
            job("a", false, PASSED),
            job("b", true, PASSED),
            job("c", false, FAILED),
        ];
        summary.run(jobs, 2, 1).unwrap_err();
        assert_eq!((summary.passed, summary.failed), (2, 1));
        assert!(summary.failures[0].contains("c: two\nwhy"));
        assert!(summary.failures[1].contains("beside"));
    }

    #[test]
    fn an_executable_that_crashes_has_failed() {
        let mut summary = Summary::default();
        let started = r#"echo '{ "type": "test", "name": "x", "event": "started" }'; kill -9 $$"#;
        let jobs = vec![job("a", false, started), job("b", false, "exit 3")];
        summary.run(jobs, 1, 1).unwrap_err();
        assert_eq!((summary.passed, summary.failed), (0, 2));
    }
}
