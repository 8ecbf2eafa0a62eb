//! How many knocks of a browser open the door: `cargo xtask browsers` prints the table.

use std::{thread, time::Duration};

use knock_tests::{browser::Browser, needs_bpf, scene::SOON};

use super::{
    Stage, installed,
    page::{Data, written_with},
};

/// The number of knocks of each kind that the table is made of.
const MANY: usize = 100;

/// How long one knock may take with everything around it.
const EACH: Duration = Duration::from_secs(20);

fn script(knocks: usize, retries: bool) -> String {
    let script = include_str!("knocks.js");
    format!("const KNOCKS = {knocks};\nconst RETRIES = {retries};\n{script}")
}

/// Knocks `knocks` times, each time with fresh knocks until the port of the door answers. Returns how
/// often it did.
pub(crate) fn with_retries(
    stage: &Stage,
    browser: Browser,
    data: &Data<'_>,
    knocks: usize,
) -> usize {
    let page = written_with(data, &script(knocks, true));
    let _visit = stage.open(browser, &page, "");
    let mut opened = 0;
    for _ in 0..knocks {
        let said = stage.reports.wait_for("knocked", SOON);
        let said = said.unwrap_or_else(|error| panic!("{browser:?}: {error:#}"));
        opened += usize::from(said.starts_with("open"));
    }
    opened
}

/// Knocks `knocks` times, once each. Returns how many the daemon has accepted.
fn single(stage: &Stage, browser: Browser, data: &Data<'_>, knocks: usize) -> usize {
    let before = stage.scene.accepted().len();
    let page = written_with(data, &script(knocks, false));
    let _visit = stage.open(browser, &page, "");
    let time = EACH * u32::try_from(knocks).unwrap();
    let done = stage.reports.wait_for("passed", time);
    done.unwrap_or_else(|error| panic!("{browser:?}: {error:#}"));
    stage.scene.settle().unwrap();
    stage.scene.accepted().len() - before
}

/// A line of the table.
fn line(browser: Browser, server: &str, data: &Data<'_>, verdict: &str) -> String {
    let stage = Stage::new(verdict);
    let accepted = single(&stage, browser, data, MANY);
    let opened = with_retries(&stage, browser, data, MANY);
    let version = browser.version().unwrap();
    format!("| {version} | {server} | `{verdict}` | {accepted} of {MANY} | {opened} of {MANY} |")
}

#[test]
#[ignore = "takes half an hour: `cargo xtask browsers` runs it"]
fn the_table() {
    needs_bpf!();
    println!("| browser | server | `verdict` | single knocks | with retries |");
    println!("|---|---|---|---:|---:|");
    for browser in installed() {
        // Firefox knows one way only.
        let named = match browser {
            Browser::Chromium => Some(("name", Data::NAMED)),
            Browser::Firefox => None,
        };
        for (server, data) in named.into_iter().chain([("address", Data::PLAIN)]) {
            let lines = thread::scope(|scope| {
                ["drop", "pass"]
                    .map(|verdict| scope.spawn(move || line(browser, server, &data, verdict)))
                    .map(|line| line.join().unwrap())
            });
            println!("{}", lines.join("\n"));
        }
    }
}
