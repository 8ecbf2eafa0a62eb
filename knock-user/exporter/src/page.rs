//! The metrics page in Prometheus' text format.
//!
//! Names follow Prometheus' conventions ("Metric and label naming"). Counters that add up to a
//! total share a name and differ in a label: every packet has one outcome, every refusal one
//! reason. A counter that counts a part of another counter has its own name.

use knockd_ipc::metrics::Snapshot;
use knockd_types::status::Traffic;
use prometheus::{Gauge, IntCounterVec, IntGaugeVec, Opts, Registry, Result, TextEncoder};

use crate::histogram::Counted;

/// The daemon's counters with this prefix become the reasons of one metric.
const REFUSED: &str = "refused_";

/// Formats `snapshot`.
///
/// # Errors
///
/// Returns an error if a name is invalid or used twice. A test checks every name.
pub(crate) fn render(snapshot: &Snapshot) -> Result<String> {
    let page = Page(Registry::new());
    page.identity(snapshot.started)?;
    page.counters(
        "knockd_packets_total",
        "Packets that the XDP program saw, by outcome",
        ["outcome"],
        (snapshot.kernel.iter()).map(|(outcome, count)| ([outcome.as_str()], *count)),
    )?;
    page.daemon(snapshot)?;
    page.gauges(
        "knockd_open_doors",
        "Sources that a door is open for",
        ["door"],
        (snapshot.open_doors.iter()).map(|(door, sources)| ([door.as_str()], *sources)),
    )?;
    page.gauges(
        "knockd_sources_in_progress",
        "Sources with an incomplete sequence",
        [],
        [([], snapshot.sources_in_progress)],
    )?;
    page.gauges(
        "knockd_tails",
        "Subscribers of knockd tail",
        [],
        [([], snapshot.tails)],
    )?;
    page.gauges(
        "knockd_landlock",
        "Whether Landlock confines the processes that read network input",
        [],
        [([], usize::from(snapshot.landlock))],
    )?;
    page.places(snapshot)?;
    page.latencies(snapshot)?;
    TextEncoder::new().encode_to_string(&page.0.gather())
}

struct Page(Registry);

impl Page {
    /// The version and the start time of the daemon.
    fn identity(&self, started: f64) -> Result<()> {
        self.gauges(
            "knockd_build_info",
            "Version of the running daemon",
            ["version"],
            [([env!("CARGO_PKG_VERSION")], 1)],
        )?;
        // The conventional name in Prometheus' client libraries.
        let start = Gauge::new(
            "process_start_time_seconds",
            "Start time of the daemon, in seconds since 1970",
        )?;
        start.set(started);
        self.0.register(Box::new(start))
    }

    /// The daemon's counters.
    fn daemon(&self, snapshot: &Snapshot) -> Result<()> {
        let counters = snapshot.daemon.each();
        self.counters(
            "knockd_refusals_total",
            "Blocks and knocks that were refused, by reason",
            ["reason"],
            counters.filter_map(|(name, count, _)| Some(([name.strip_prefix(REFUSED)?], count))),
        )?;
        for (name, count, what) in snapshot.daemon.each() {
            if !name.starts_with(REFUSED) {
                self.counters(&format!("knockd_{name}_total"), what, [], [([], count)])?;
            }
        }
        Ok(())
    }

    /// The interfaces and the gate.
    fn places(&self, snapshot: &Snapshot) -> Result<()> {
        let attached: Vec<_> = (snapshot.attachments.iter())
            .map(|attachment| (&attachment.interface, attachment.mode.to_string()))
            .collect();
        self.gauges(
            "knockd_interface_info",
            "Interfaces that the XDP program is attached to, with the attach mode",
            ["interface", "mode"],
            (attached.iter()).map(|(interface, mode)| ([interface.as_str(), mode.as_str()], 1)),
        )?;
        self.gauges(
            "knockd_interface_blind",
            "Whether the program does not see the packets of an interface that it is attached to",
            ["interface"],
            (snapshot.attachments.iter()).map(|attachment| {
                let is_blind = attachment.traffic == Traffic::Missed;
                ([attachment.interface.as_str()], usize::from(is_blind))
            }),
        )?;
        self.gauges(
            "knockd_gate_info",
            "Mode of the gate: whether connections without a lease are dropped or only counted",
            ["mode"],
            (snapshot.gate.as_deref()).map(|mode| ([mode], 1)),
        )?;
        self.gauges(
            "knockd_gate_leases",
            "Leases in the kernel, one per source and port",
            [],
            snapshot.leases.map(|leases| ([], leases)),
        )
    }

    /// The time from a knock's last packet to each of its effects.
    fn latencies(&self, snapshot: &Snapshot) -> Result<()> {
        for (name, help, histogram) in [
            (
                "knockd_gate_opening_seconds",
                "Time from the arrival of a knock's last packet until the gate was open",
                &snapshot.gate_opening,
            ),
            (
                "knockd_command_start_seconds",
                "Time from the arrival of a knock's last packet until the door's command was started",
                &snapshot.command_start,
            ),
        ] {
            let histogram = Counted::new(name, help, histogram.clone())?;
            self.0.register(Box::new(histogram))?;
        }
        Ok(())
    }

    fn counters<'a, const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
        samples: impl IntoIterator<Item = ([&'a str; N], u64)>,
    ) -> Result<()> {
        let family = IntCounterVec::new(Opts::new(name, help), &labels)?;
        for (values, count) in samples {
            family.get_metric_with_label_values(&values)?.inc_by(count);
        }
        self.0.register(Box::new(family))
    }

    fn gauges<'a, const N: usize>(
        &self,
        name: &str,
        help: &str,
        labels: [&str; N],
        samples: impl IntoIterator<Item = ([&'a str; N], usize)>,
    ) -> Result<()> {
        let family = IntGaugeVec::new(Opts::new(name, help), &labels)?;
        for (values, value) in samples {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            family.get_metric_with_label_values(&values)?.set(value);
        }
        self.0.register(Box::new(family))
    }
}

#[cfg(test)]
mod tests;
