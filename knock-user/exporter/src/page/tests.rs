use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use knock_common::counters::Outcome;
use knockd_ipc::metrics::Histogram;
use knockd_types::{
    counters::Counters,
    status::{Attachment, Mode, Traffic},
};
use serde_json::Value;

use super::*;

const DASHBOARD: &str = include_str!("../../../packaging/grafana/knockd.json");

/// A snapshot with a value for every metric.
fn busy() -> Snapshot {
    let kernel = Outcome::ALL.iter().zip(1..);
    let mut latency = Histogram::default();
    latency.observe(Duration::from_micros(10));
    Snapshot {
        started: 1_800_000_000.25,
        kernel: kernel
            .map(|(outcome, count)| (outcome.name().to_owned(), count))
            .collect(),
        daemon: Counters {
            accepted: 7,
            refused_replayed: 3,
            ..Counters::default()
        },
        open_doors: vec![("ssh".into(), 2), ("a \"door\"\\".into(), 0)],
        gate: Some("observe".into()),
        leases: Some(5),
        attachments: vec![Attachment {
            interface: "eth0".into(),
            ifindex: 2,
            mode: Mode::Generic,
            traffic: Traffic::Seen,
        }],
        sources_in_progress: 4,
        tails: 1,
        landlock: true,
        gate_opening: latency.clone(),
        command_start: latency,
    }
}

fn page(snapshot: &Snapshot) -> String {
    render(snapshot).unwrap()
}

/// A sample's name and labels, without its value.
fn samples(page: &str) -> impl Iterator<Item = (&str, &str)> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').unwrap())
}

#[test]
fn everything_is_exported() {
    let page = page(&busy());
    for line in [
        "knockd_packets_total{outcome=\"knock\"} 1",
        "knockd_packets_total{outcome=\"malformed\"} 22",
        "knockd_accepted_total 7",
        "knockd_landlock 1",
        "knockd_refusals_total{reason=\"replayed\"} 3",
        "knockd_refusals_total{reason=\"stale\"} 0",
        "knockd_open_doors{door=\"ssh\"} 2",
        "knockd_open_doors{door=\"a \\\"door\\\"\\\\\"} 0",
        "knockd_gate_info{mode=\"observe\"} 1",
        "knockd_gate_leases 5",
        "knockd_interface_info{interface=\"eth0\",mode=\"generic\"} 1",
        "knockd_interface_blind{interface=\"eth0\"} 0",
        "knockd_sources_in_progress 4",
        "knockd_tails 1",
        "knockd_gate_opening_seconds_bucket{le=\"0.00005\"} 1",
        "knockd_gate_opening_seconds_bucket{le=\"+Inf\"} 1",
        "knockd_gate_opening_seconds_count 1",
        "knockd_command_start_seconds_bucket{le=\"10\"} 1",
        "process_start_time_seconds 1800000000.25",
        concat!(
            "knockd_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        ),
    ] {
        assert!(page.lines().any(|sample| sample == line), "{line}\n{page}");
    }
}

#[test]
fn every_counter_is_exported_once() {
    let snapshot = busy();
    let page = page(&snapshot);
    let mut exported = BTreeSet::new();
    for (sample, _) in samples(&page) {
        assert!(exported.insert(sample), "{sample} is there twice");
    }
    for outcome in Outcome::ALL {
        let sample = format!("knockd_packets_total{{outcome=\"{}\"}}", outcome.name());
        assert!(exported.contains(sample.as_str()), "{sample}");
    }
    for (name, ..) in snapshot.daemon.each() {
        let sample = match name.strip_prefix("refused_") {
            Some(reason) => format!("knockd_refusals_total{{reason=\"{reason}\"}}"),
            None => format!("knockd_{name}_total"),
        };
        assert!(exported.contains(sample.as_str()), "{sample}");
    }
}

#[test]
fn without_gate_and_interfaces_they_have_no_metrics() {
    let page = page(&Snapshot::default());
    for absent in [
        "knockd_gate_info",
        "knockd_gate_leases",
        "knockd_interface_info",
    ] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(page.contains("\nknockd_accepted_total 0\n"), "{page}");
}

/// The labels of every metric of `page`.
fn metrics(page: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut metrics: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for (sample, _) in samples(page) {
        let (name, labels) = sample.split_once('{').unwrap_or((sample, ""));
        let names = labels
            .split("\",")
            .filter_map(|label| label.split_once('='));
        let known = metrics.entry(name).or_default();
        known.extend(names.map(|(label, _)| label));
    }
    metrics
}

/// Every word of a query outside quotation marks.
fn words(query: &str) -> BTreeSet<&str> {
    let unquoted = query.split('"').step_by(2);
    unquoted
        .flat_map(|part| part.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'))
        .collect()
}

/// The queries of the dashboard's panels, with their legends.
fn queries(dashboard: &Value) -> Vec<(&str, &str)> {
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    targets
        .flatten()
        .map(|target| {
            let legend = target["legendFormat"].as_str().unwrap_or_default();
            (target["expr"].as_str().unwrap(), legend)
        })
        .collect()
}

#[test]
fn the_dashboard_queries_only_existing_metrics() {
    let page = page(&busy());
    let metrics = metrics(&page);
    let dashboard = serde_json::from_str(DASHBOARD).unwrap();
    let queries = queries(&dashboard);
    assert!(queries.len() > 10, "{queries:?}");
    for (query, legend) in queries {
        let words = words(query);
        let (asked, others): (Vec<_>, Vec<_>) = (words.iter().copied())
            .filter(|word| word.starts_with("knockd_") || word.starts_with("process_"))
            .partition(|word| metrics.contains_key(word));
        assert!(others.is_empty(), "{query}: no such metric: {others:?}");
        assert!(!asked.is_empty(), "{query}: it queries no metric");
        let labels: BTreeSet<_> = asked.iter().flat_map(|metric| &metrics[metric]).collect();
        let shown = legend.split("{{").skip(1);
        for label in shown.map(|rest| rest.split("}}").next().unwrap()) {
            // Added by Prometheus itself.
            let added = ["instance", "job"].contains(&label);
            assert!(added || labels.contains(&label), "{query}: {legend}");
        }
    }
}

#[test]
fn the_dashboard_shows_each_group_of_metrics() {
    let dashboard = serde_json::from_str(DASHBOARD).unwrap();
    let asked: BTreeSet<_> = queries(&dashboard)
        .into_iter()
        .flat_map(|(query, _)| words(query))
        .collect();
    for metric in [
        "knockd_packets_total",
        "knockd_refusals_total",
        "knockd_open_doors",
        "knockd_gate_leases",
        "knockd_gate_opening_seconds_bucket",
        "knockd_command_start_seconds_bucket",
        "knockd_interface_info",
    ] {
        assert!(asked.contains(metric), "{metric}");
    }
}
