//! Scrapes before and after knocks.

use std::io::Write as _;

use knock_tests::{
    frame::Segment,
    link::Pair,
    privilege,
    process::Running,
    scene::{CONFIGURATION, Files, LAPTOP, SOON, SOURCE, SSH, STRANGER, Scene, classic, knockd},
    wire::Sender,
};

use super::{LISTEN, Page, configuration, knock, send_knock};

#[test]
fn a_knock_changes_all_related_metrics() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(&configuration()).unwrap();
    let before = Page::scrape(&scene.pair);
    for (sample, value) in [
        ("knockd_packets_total{outcome=\"knock\"}", 0.0),
        ("knockd_accepted_total", 0.0),
        ("knockd_open_doors{door=\"ssh\"}", 0.0),
        ("knockd_open_doors{door=\"backup\"}", 0.0),
        ("knockd_gate_leases", 0.0),
        ("knockd_gate_opening_seconds_count", 0.0),
        ("knockd_command_start_seconds_count", 0.0),
        ("knockd_gate_info{mode=\"enforce\"}", 1.0),
        (
            "knockd_interface_info{interface=\"srv0\",mode=\"native\"}",
            1.0,
        ),
        ("knockd_tails", 0.0),
    ] {
        assert_eq!(before.value(sample), value, "{sample}");
    }

    knock(&scene, SOURCE);
    let after = Page::scrape(&scene.pair);
    for (sample, value) in [
        ("knockd_packets_total{outcome=\"knock\"}", 16.0),
        ("knockd_events_total", 16.0),
        ("knockd_accepted_total", 1.0),
        ("knockd_commands_succeeded_total", 1.0),
        ("knockd_open_doors{door=\"ssh\"}", 1.0),
        ("knockd_open_doors{door=\"backup\"}", 0.0),
        ("knockd_gate_leases", 1.0),
        ("knockd_gate_opening_seconds_count", 1.0),
        ("knockd_gate_opening_seconds_bucket{le=\"+Inf\"}", 1.0),
        ("knockd_command_start_seconds_count", 1.0),
        ("knockd_command_start_seconds_bucket{le=\"+Inf\"}", 1.0),
    ] {
        assert_eq!(after.value(sample), value, "{sample}");
    }
    // The gate opens before the command starts, and both after the SYN.
    let gate = after.value("knockd_gate_opening_seconds_sum");
    let command = after.value("knockd_command_start_seconds_sum");
    assert!(0.0 < gate && gate < command, "{gate} {command}");
    let start = "process_start_time_seconds";
    assert_eq!(before.value(start), after.value(start));
}

#[test]
fn an_extended_lease_records_no_latency() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(&configuration()).unwrap();
    knock(&scene, SOURCE);
    send_knock(&scene, SOURCE);
    scene.logged(&["open already, extended"]).unwrap();
    let page = Page::scrape(&scene.pair);
    assert_eq!(page.value("knockd_extended_total"), 1.0);
    assert_eq!(page.value("knockd_gate_opening_seconds_count"), 1.0);
    assert_eq!(page.value("knockd_command_start_seconds_count"), 1.0);
}

#[test]
fn a_manual_opening_records_no_latency() {
    knock_tests::needs_bpf!();
    // The client name of a manual opening has brackets, which the commands' shell would interpret.
    let configuration = configuration().replace("%CLIENT%", "$KNOCK_CLIENT");
    let scene = Scene::with(&configuration).unwrap();
    let mut open = scene.watch("open").unwrap();
    let opened = open.args(["192.0.2.7", "ssh"]).output().unwrap();
    assert!(opened.status.success(), "{opened:?}");
    scene.opened("ssh", [192, 0, 2, 7].into()).unwrap();
    let page = Page::scrape(&scene.pair);
    assert_eq!(page.value("knockd_open_doors{door=\"ssh\"}"), 1.0);
    assert_eq!(page.value("knockd_gate_opening_seconds_count"), 0.0);
    assert_eq!(page.value("knockd_command_start_seconds_count"), 0.0);
}

#[test]
fn refusals_are_counted_by_reason_and_a_partial_knock_is_in_progress() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(&configuration()).unwrap();
    let server = Pair::SERVER_V4.into();
    let wrong = classic("wrong horse", SSH, STRANGER, server).unwrap();
    scene.send(&wrong).unwrap();
    let partial = classic("wrong horse", SSH, ([192, 0, 2, 67], 40_000).into(), server);
    scene.send(&partial.unwrap()[..7]).unwrap();
    scene.settle().unwrap();
    let page = Page::scrape(&scene.pair);
    assert_eq!(
        page.value("knockd_refusals_total{reason=\"bad_parity\"}"),
        1.0
    );
    assert_eq!(
        page.value("knockd_refusals_total{reason=\"replayed\"}"),
        0.0
    );
    assert_eq!(page.value("knockd_sources_in_progress"), 2.0);
    let tail = Running::spawn(scene.watch("tail").unwrap()).unwrap();
    tail.wait_for(|line| line.contains("following"), SOON)
        .unwrap();
    assert_eq!(Page::scrape(&scene.pair).value("knockd_tails"), 1.0);
}

#[test]
fn a_dry_run_exports_metrics_and_starts_no_command() {
    knock_tests::needs_bpf!();
    let pair = Pair::new().unwrap();
    let files = Files::new(&configuration()).unwrap();
    let mut command = knockd(&pair, &files).unwrap();
    command.args(["--dry-run", "--iface", "srv0"]);
    let knockd = Running::spawn(command).unwrap();
    knockd
        .wait_for(|line| line.contains("listening on srv0"), SOON)
        .unwrap();
    let sender = Sender::new(&pair.client, Pair::CLIENT_INTERFACE).unwrap();
    for frame in classic(LAPTOP, SSH, SOURCE, Pair::SERVER_V4.into()).unwrap() {
        sender.send(&frame.bytes().unwrap()).unwrap();
    }
    knockd
        .wait_for(|line| line.contains("would run run of door"), SOON)
        .unwrap();
    let page = Page::scrape(&pair);
    assert_eq!(page.value("knockd_accepted_total"), 1.0);
    assert_eq!(page.value("knockd_gate_info{mode=\"observe\"}"), 1.0);
    assert_eq!(page.value("knockd_gate_opening_seconds_count"), 1.0);
    assert_eq!(page.value("knockd_command_start_seconds_count"), 0.0);
}

#[test]
fn in_line_mode_latency_counts_from_the_last_line() {
    if !privilege::namespaces() {
        return;
    }
    let pair = Pair::new().unwrap();
    let metrics = format!("{CONFIGURATION}\n[metrics]\nlisten = \"{LISTEN}\"\n");
    let files = Files::new(&metrics).unwrap();
    let mut command = knockd(&pair, &files).unwrap();
    command.args(["--lines", "-"]);
    let (knockd, mut input) = Running::spawn_fed(command).unwrap();
    for frame in classic(LAPTOP, SSH, SOURCE, Pair::SERVER_V4.into()).unwrap() {
        let segment = Segment::read(&frame.bytes().unwrap()).unwrap();
        writeln!(input, "{} 192.0.2.7", segment.destination.port()).unwrap();
    }
    let run = "command run door=\"ssh\" source=192.0.2.7 succeeded";
    knockd.wait_for(|line| line.contains(run), SOON).unwrap();
    let page = Page::scrape(&pair);
    assert_eq!(page.value("knockd_command_start_seconds_count"), 1.0);
    assert!(page.value("knockd_command_start_seconds_sum") > 0.0);
    // Metrics that do not exist in line mode.
    for absent in [
        "knockd_packets_total{",
        "knockd_interface_info{",
        "knockd_gate_",
    ] {
        let mut samples = page.samples.keys();
        let sample =
            samples.find(|sample| sample.starts_with(absent) && !sample.contains("_seconds"));
        assert_eq!(sample, None);
    }
}

#[test]
fn a_restart_resets_counters_and_start_time() {
    knock_tests::needs_bpf!();
    let mut scene = Scene::with(&configuration()).unwrap();
    knock(&scene, SOURCE);
    let before = Page::scrape(&scene.pair);
    scene.stop().unwrap();
    scene.restart().unwrap();
    let after = Page::scrape(&scene.pair);
    assert_eq!(after.value("knockd_accepted_total"), 0.0);
    let start = "process_start_time_seconds";
    assert!(before.value(start) < after.value(start));
}
