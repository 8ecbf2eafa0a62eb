//! The scenarios.

mod datagrams;
pub(crate) mod definition;
mod flood;
mod hostile;
mod idle;
mod keys;
mod latency;
mod lossy;
mod outside;
mod program;
mod rate;
pub(crate) mod sources;

use self::definition::Scenario;

/// Every scenario, in the order of runs and reports.
pub(crate) const SCENARIOS: &[Scenario] = &[
    program::SCENARIO,
    sources::SCENARIO,
    keys::SCENARIO,
    latency::SCENARIO,
    flood::SCENARIO,
    outside::SCENARIO,
    hostile::SCENARIO,
    datagrams::SCENARIO,
    idle::SCENARIO,
    rate::SCENARIO,
    lossy::SCENARIO,
];
