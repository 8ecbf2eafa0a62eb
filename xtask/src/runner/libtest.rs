//! What a test executable reports in the format of `--format=json`.

use serde::Deserialize;

/// One run of an executable.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) tests: Vec<Test>,
    /// Output outside of the format: of other processes, or of an executable that crashed.
    pub(super) other: String,
}

#[derive(Debug, PartialEq)]
pub(super) struct Test {
    pub(super) name: String,
    pub(super) outcome: Outcome,
    pub(super) seconds: f64,
    /// What the test printed.
    pub(super) output: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed,
    Ignored,
    /// It has not ended.
    Started,
}

/// The start of each line in the format. A process without a line feed may print before it.
const EVENT: &str = "{ \"type\": \"";

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    event: Option<String>,
    #[serde(default)]
    name: String,
    #[serde(default)]
    exec_time: f64,
    #[serde(default)]
    stdout: String,
}

impl Report {
    /// Reads standard output of a test executable.
    pub(super) fn read(text: &str) -> Self {
        let mut report = Self::default();
        for line in text.lines() {
            let start = line.rfind(EVENT).unwrap_or(line.len());
            let (other, event) = line.split_at(start);
            match serde_json::from_str(event) {
                Ok(event) => {
                    report.print(other);
                    report.handle(event);
                }
                Err(_) => report.print(line),
            }
        }
        report
    }

    fn print(&mut self, other: &str) {
        if !other.is_empty() {
            self.other.push_str(other);
            self.other.push('\n');
        }
    }

    fn handle(&mut self, event: Event) {
        let outcome = match (event.kind.as_str(), event.event.as_deref()) {
            ("test", Some("started")) => Outcome::Started,
            ("test", Some("ok")) => Outcome::Passed,
            ("test", Some("failed")) => Outcome::Failed,
            ("test", Some("ignored")) => Outcome::Ignored,
            _ => return,
        };
        self.tests.retain(|test| test.name != event.name);
        self.tests.push(Test {
            name: event.name,
            outcome,
            seconds: event.exec_time,
            output: event.stdout,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_separated_from_other_output() {
        let text = r#"{ "type": "suite", "event": "started", "test_count": 3 }
{ "type": "test", "event": "started", "name": "a" }
from a child
{ "type": "test", "event": "started", "name": "b" }
partial{ "type": "test", "name": "a", "event": "ok", "exec_time": 1.5, "stdout": "skipped: x\n" }
{ "type": "test", "name": "c", "event": "ignored" }
"#;
        let report = Report::read(text);
        assert_eq!(report.other, "from a child\npartial\n");
        let outcomes: Vec<_> = report
            .tests
            .iter()
            .map(|test| (test.name.as_str(), test.outcome))
            .collect();
        assert_eq!(
            outcomes,
            [
                ("b", Outcome::Started),
                ("a", Outcome::Passed),
                ("c", Outcome::Ignored)
            ]
        );
        assert_eq!(report.tests[1].output, "skipped: x\n");
    }
}
