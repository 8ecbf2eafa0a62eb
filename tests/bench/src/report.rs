//! All that one run has found.

use std::{
    fs,
    path::Path,
    time::{Instant, SystemTime},
};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::{
    machine::Machine,
    record::{Measurement, Unit},
    scenario::{Effort, Scenario},
};

/// The file of it, for other programs.
const FILE: &str = "results.json";

/// What one run has found, and where.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// `2026-11-22`, UTC.
    pub(crate) date: String,
    /// The commit that was built.
    pub(crate) commit: String,
    pub(crate) effort: Effort,
    /// Whether every scenario was to run.
    pub(crate) all: bool,
    /// How long it took.
    pub(crate) took_seconds: u64,
    pub(crate) sections: Vec<Section>,
    #[serde(skip, default = "Instant::now")]
    pub(crate) begun: Instant,
}

/// What one scenario has found.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Section {
    /// The scenario's name.
    pub(crate) scenario: String,
    pub(crate) title: String,
    pub(crate) method: String,
    pub(crate) measurements: Vec<Measurement>,
    /// Why there are none.
    pub(crate) failure: Option<String>,
}

impl Report {
    /// An empty one, of this machine and this day.
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

    /// What an earlier run has left in `folder`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let file = folder.join(FILE);
        let text = fs::read(&file)
            .with_context(|| format!("{}: nothing was measured yet", file.display()))?;
        serde_json::from_slice(&text).with_context(|| file.display().to_string())
    }

    /// Leaves it in `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Result<()> {
        let file = folder.join(FILE);
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        fs::write(&file, text).with_context(|| file.display().to_string())
    }

    /// Whether it is to stand beside the sources: a full run of everything.
    pub(crate) fn is_publishable(&self) -> bool {
        self.all && self.effort == Effort::Full && self.failed().is_empty()
    }

    /// The scenarios that have failed.
    pub(crate) fn failed(&self) -> Vec<&str> {
        let failed = self
            .sections
            .iter()
            .filter(|section| section.failure.is_some());
        failed.map(|section| section.scenario.as_str()).collect()
    }
}

impl Section {
    pub(crate) fn new(scenario: &Scenario, found: Result<Vec<Measurement>>) -> Self {
        let (measurements, failure) = match found {
            Ok(measurements) => (measurements, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        Self {
            scenario: scenario.name.to_owned(),
            title: scenario.title.to_owned(),
            method: scenario.method.to_owned(),
            measurements,
            failure,
        }
    }

    /// `measurement` as a multiple of what it is compared with.
    pub(crate) fn ratio(&self, measurement: &Measurement) -> Option<f64> {
        let baseline = measurement.baseline.as_ref()?;
        let other = self.find(&measurement.case, baseline, measurement.unit)?;
        Some(measurement.median() / other.median())
    }

    fn find(&self, case: &str, subject: &str, unit: Unit) -> Option<&Measurement> {
        self.measurements.iter().find(|measurement| {
            measurement.case == case && measurement.subject == subject && measurement.unit == unit
        })
    }
}
