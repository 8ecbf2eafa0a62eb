//! Checks by promtool, the validator of Prometheus.

use std::{
    env, fs,
    io::Write as _,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use knock_tests::scene::{SOURCE, Scene, program};
use serde_json::{Value, json};

use super::{Page, configuration, knock};

const DASHBOARD: &str = include_str!("../../../knock-user/packaging/grafana/knockd.json");

/// The `promtool` of `cargo xtask setup`, or an installed one.
fn promtool(arguments: &[&str]) -> Command {
    let knockd = program("knockd").unwrap();
    let target = knockd.ancestors().nth(2).unwrap();
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([target.join("tools").join("bin")]);
    let promtool = folders
        .map(|folder: PathBuf| folder.join("promtool"))
        .find(|promtool| promtool.is_file())
        .expect("there is no promtool: run `cargo xtask setup` first");
    let mut command = Command::new(promtool);
    command.args(arguments);
    command
}

/// Runs `promtool check metrics` on `page`.
fn check(page: &str) -> Output {
    let mut command = promtool(&["check", "metrics"]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = command.spawn().unwrap();
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(page.as_bytes()).unwrap();
    drop(stdin);
    promtool.wait_with_output().unwrap()
}

#[test]
fn promtool_accepts_the_metrics_page() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(&configuration()).unwrap();
    for _ in 0..2 {
        let page = Page::scrape(&scene.pair);
        let output = check(&page.text);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{errors}");
        knock(&scene, SOURCE);
    }
    // promtool rejects invalid input.
    assert!(!check("knockd_knocks 1\n").status.success());
    assert!(!check("knockd_knocks{ 1\n").status.success());
}

#[test]
fn promtool_accepts_the_queries_of_the_dashboard() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let rules: Vec<_> = targets
        .enumerate()
        .map(|(index, target)| {
            let query = target["expr"].as_str().unwrap();
            // The values that Grafana would substitute.
            let query = query
                .replace("$__rate_interval", "5m")
                .replace("$__range", "6h")
                .replace("$instance", "localhost:9811");
            assert!(!query.contains('$'), "{query}");
            json!({"record": format!("query:{index}"), "expr": query})
        })
        .collect();
    assert!(!rules.is_empty());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    let check_rules = |rules: &[Value]| {
        // JSON is valid YAML.
        let groups = json!({"groups": [{"name": "dashboard", "rules": rules}]});
        fs::write(&file, groups.to_string()).unwrap();
        promtool(&["check", "rules"]).arg(&file).output().unwrap()
    };
    let output = check_rules(&rules);
    assert!(output.status.success(), "{output:?}");
    let invalid = check_rules(&[json!({"record": "a", "expr": "sum by (knockd_tails"})]);
    assert!(!invalid.status.success(), "{invalid:?}");
}
