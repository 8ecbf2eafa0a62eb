//! How many knocks of a browser open the door: `cargo xtask browsers` prints the table.

use std::{thread, time::Duration};

use knock_tests::{browser::Browser, needs_bpf, scene::SOON};

use crate::{
    page::{Data, written_with},
    stage::Stage,
};

/// The number of knocks of each kind that the table is made of.
const MANY: usize = 100;

/// How long one knock may take with everything around it.
const EACH: Duration = Duration::from_secs(20);

fn script(knocks: usize, retries: bool, patient: bool) -> String {
    let script = include_str!("knocks.js");
    format!(
        "const KNOCKS = {knocks};\nconst RETRIES = {retries};\nconst PATIENT = {patient};\n{script}"
    )
}

/// Presses the button `knocks` times, each time for fresh knocks until the port of the door answers.
/// With `patient`, presses it again if the port does not. Returns how often it answered.
pub(crate) fn with_retries(
    stage: &Stage,
    browser: Browser,
    data: &Data<'_>,
    knocks: usize,
    patient: bool,
) -> usize {
    let page = written_with(data, &script(knocks, true, patient));
    let _visit = stage.open(browser, &page);
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
    let page = written_with(data, &script(knocks, false, false));
    let _visit = stage.open(browser, &page);
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
    let opened = with_retries(&stage, browser, data, MANY, false);
    let version = browser.version().unwrap();
    format!("| {version} | {server} | `{verdict}` | {accepted} of {MANY} | {opened} of {MANY} |")
}

#[test]
#[ignore = "takes half an hour: `cargo xtask browsers` runs it"]
fn the_table() {
    needs_bpf!();
    let cases = [
        (Browser::Chromium, "address", Data::PLAIN),
        (Browser::Chromium, "name", Data::NAMED),
        // The others know one way only.
        (Browser::Firefox, "address", Data::PLAIN),
        (Browser::WebKit, "address", Data::PLAIN),
    ];
    let cases = cases
        .into_iter()
        .filter(|(browser, ..)| browser.is_installed());
    println!("| browser | server | `verdict` | single knocks | with retries |");
    println!("|---|---|---|---:|---:|");
    let rows = cases.flat_map(|case| ["drop", "pass"].map(|verdict| (case, verdict)));
    let rows: Vec<_> = rows.collect();
    // A browser that gets no processor sends the SYNs of a knock too late.
    let at_once = thread::available_parallelism().unwrap().get();
    for rows in rows.chunks(at_once) {
        thread::scope(|scope| {
            let lines: Vec<_> = rows
                .iter()
                .map(|((browser, server, data), verdict)| {
                    scope.spawn(|| line(*browser, server, data, verdict))
                })
                .collect();
            for line in lines {
                println!("{}", line.join().unwrap());
            }
        });
    }
}
