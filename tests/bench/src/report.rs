//! The results of one run.

use std::{
    fs,
    path::Path,
    time::{Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{
    context::Effort,
    machine::Machine,
    record::{Measurement, Unit},
};

/// The machine-readable results.
const FILE: &str = "results.json";

/// The results of one run.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// The day in UTC: `2026-11-22`.
    pub(crate) date: String,
    /// The commit of the programs.
    pub(crate) commit: String,
    pub(crate) effort: Effort,
    /// Whether all scenarios were selected.
    pub(crate) all: bool,
    /// The duration of the run.
    pub(crate) took_seconds: u64,
    pub(crate) sections: Vec<Section>,
    #[serde(skip, default = "Instant::now")]
    pub(crate) begun: Instant,
}

/// The results of one scenario.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Section {
    /// The name of the scenario.
    pub(crate) scenario: String,
    pub(crate) title: String,
    pub(crate) method: String,
    pub(crate) measurements: Vec<Measurement>,
    /// The error if the scenario failed.
    pub(crate) failure: Option<String>,
}

impl Report {
    /// A report of this machine and day without results.
    pub(crate) fn new(effort: Effort, commit: String, all: bool) -> Self {
        let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
        Self {
            machine: Machine::this(),
            date: now.split('T').next().unwrap_or(&now).to_owned(),
            commit,
            effort,
            all,
            took_seconds: 0,
            sections: Vec::new(),
            begun: Instant::now(),
        }
    }

    /// Reads the report of an earlier run from `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let file = folder.join(FILE);
        let text = fs::read(&file)
            .with_context(|| format!("{}: there are no results yet", file.display()))?;
        serde_json::from_slice(&text).with_context(|| file.display().to_string())
    }

    /// Writes the report to `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let file = folder.join(FILE);
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(&file, text).with_context(|| file.display().to_string())
    }

    /// Whether the report may be published: it is of a full run of all scenarios without failures.
    pub(crate) fn is_publishable(&self) -> bool {
        self.all && self.effort == Effort::Full && self.failed().is_empty()
    }

    /// The section of `scenario`.
    pub(crate) fn section(&self, scenario: &str) -> Option<&Section> {
        let mut sections = self.sections.iter();
        sections.find(|section| section.scenario == scenario)
    }

    /// The scenarios that failed.
    pub(crate) fn failed(&self) -> Vec<&str> {
        let failed = self
            .sections
            .iter()
            .filter(|section| section.failure.is_some());
        failed.map(|section| section.scenario.as_str()).collect()
    }
}

impl Section {
    /// The section of the scenario with this name, title and method.
    pub(crate) fn new(
        scenario: &str,
        title: &str,
        method: &str,
        found: Result<Vec<Measurement>>,
    ) -> Self {
        let (measurements, failure) = match found {
            Ok(measurements) => (measurements, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        Self {
            scenario: scenario.to_owned(),
            title: title.to_owned(),
            method: method.to_owned(),
            measurements,
            failure,
        }
    }

    /// The ratio of `measurement` to its baseline.
    pub(crate) fn ratio(&self, measurement: &Measurement) -> Option<f64> {
        let baseline = measurement.baseline.as_ref()?;
        let other = self.find(&measurement.case, baseline, measurement.unit)?;
        Some(measurement.median() / other.median())
    }

    /// The measurement of `subject` in a case.
    pub(crate) fn find(&self, case: &str, subject: &str, unit: Unit) -> Option<&Measurement> {
        self.measurements.iter().find(|measurement| {
            measurement.case == case && measurement.subject == subject && measurement.unit == unit
        })
    }
}
