//! The judgement of Prometheus' own tool.

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

/// `promtool`, from where `cargo xtask setup` puts it or from where it is installed.
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

/// What promtool says of `page`.
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
fn promtool_has_nothing_to_say_of_what_is_scraped() {
    knock_tests::needs_bpf!();
    let scene = Scene::with(&configuration()).unwrap();
    for _ in 0..2 {
        let page = Page::scrape(&scene.pair);
        let output = check(&page.text);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
        knock(&scene, SOURCE);
    }
    // Of something else it has.
    assert!(!check("knockd_knocks 1\n").status.success());
    assert!(!check("knockd_knocks{ 1\n").status.success());
}

#[test]
fn promtool_understands_what_the_dashboard_asks() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let rules: Vec<_> = targets
        .enumerate()
        .map(|(index, target)| {
            let query = target["expr"].as_str().unwrap();
            // What Grafana puts in their place.
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
    let says = |rules: &[Value]| {
        // YAML contains JSON.
        let groups = json!({"groups": [{"name": "dashboard", "rules": rules}]});
        fs::write(&file, groups.to_string()).unwrap();
        promtool(&["check", "rules"]).arg(&file).output().unwrap()
    };
    let output = says(&rules);
    assert!(output.status.success(), "{output:?}");
    let wrong = says(&[json!({"record": "a", "expr": "sum by (knockd_tails"})]);
    assert!(!wrong.status.success(), "{wrong:?}");
}
