//! What was found, for a person or as JSON.

use anyhow::Result;
use knock_common::legible::escaped;
use serde::Serialize;

use crate::console::Console;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// Nothing is wrong, as far as it can be seen from here.
    Ok,
    /// It may be why nothing opens.
    Warning,
    /// A knock cannot work like this.
    Problem,
}

impl Level {
    const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// The result of one check.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// The name of the check, which is stable.
    pub(super) check: &'static str,
    pub(super) level: Level,
    /// What was seen, and what was sent for it.
    pub(super) message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

impl Finding {
    /// The line for a person.
    fn line(&self) -> String {
        let next = self.next.iter().map(|next| format!(" -> {next}"));
        format!(
            "{:7}  {}: {}{}",
            self.level.word(),
            self.check,
            self.message,
            next.collect::<String>()
        )
    }
}

/// The findings so far. A person sees each at once.
pub(super) struct Report<'a, 'c> {
    json: bool,
    pub(super) findings: Vec<Finding>,
    pub(super) console: &'a mut Console<'c>,
}

/// The JSON object.
#[derive(Serialize)]
struct Object<'f> {
    problems: usize,
    findings: &'f [Finding],
}

impl<'a, 'c> Report<'a, 'c> {
    pub(super) fn new(json: bool, console: &'a mut Console<'c>) -> Self {
        Self {
            json,
            findings: Vec::new(),
            console,
        }
    }

    /// Nothing is wrong.
    pub(super) fn ok(&mut self, check: &'static str, message: &str) -> Result<()> {
        self.add(check, Level::Ok, message, None)
    }

    /// It may be why nothing opens, and `next` is what to do.
    pub(super) fn warning(&mut self, check: &'static str, message: &str, next: &str) -> Result<()> {
        self.add(check, Level::Warning, message, Some(next))
    }

    /// A knock cannot work like this, and `next` is what to do.
    pub(super) fn problem(&mut self, check: &'static str, message: &str, next: &str) -> Result<()> {
        self.add(check, Level::Problem, message, Some(next))
    }

    pub(super) fn add(
        &mut self,
        check: &'static str,
        level: Level,
        message: &str,
        next: Option<&str>,
    ) -> Result<()> {
        // One line, whatever a file's name or an error contains.
        let finding = Finding {
            check,
            level,
            message: escaped(message).collect(),
            next: next.map(|next| escaped(next).collect()),
        };
        if !self.json {
            self.console.print(&finding.line())?;
        }
        self.findings.push(finding);
        Ok(())
    }

    /// Prints what has to come last. Returns the exit status.
    pub(super) fn finish(self) -> Result<u8> {
        let count = |level| {
            let of_level = self.findings.iter().filter(|one| one.level == level);
            of_level.count()
        };
        let problems = count(Level::Problem);
        if self.json {
            let object = Object {
                problems,
                findings: &self.findings,
            };
            self.console.print(&serde_json::to_string(&object)?)?;
        } else {
            self.console
                .print(&summary(problems, count(Level::Warning)))?;
        }
        Ok(u8::from(problems > 0))
    }
}

fn summary(problems: usize, warnings: usize) -> String {
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    if problems + warnings == 0 {
        return "Nothing is wrong as far as it can be seen from here. If no door opens, run \
                `knockd tail` on the server and knock: it shows what arrives, and why it is refused."
            .into();
    }
    format!(
        "{}, {}",
        counted(problems, "problem"),
        counted(warnings, "warning")
    )
}
