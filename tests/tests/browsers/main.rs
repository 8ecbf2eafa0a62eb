//! The page of the client in real browsers, against the real daemon.
//!
//! A test adds a script to the page that the programs write, and to what its policy allows. The bookmark
//! test uses the page as it is.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod figures;
mod page;
mod stage;

use std::time::Duration;

use knock_tests::{
    browser::{Browser, Web},
    link::Pair,
    needs_bpf,
    scene::{SOON, program},
};

use self::{
    page::{Data, Lack, hosted_pages, hosted_with, written_with},
    stage::{Stage, installed},
};

/// The number of knocks in each browser.
const KNOCKS: usize = 5;

/// How often the bookmark is opened.
const ATTEMPTS: usize = 3;

#[test]
fn the_page_computes_the_vectors_of_the_protocol_and_reads_invitations_as_knock_does() {
    needs_bpf!();
    let stage = Stage::new("drop");
    for browser in installed() {
        stage.pass(browser, &Data::PLAIN, &page::vectors_script());
        stage.pass(browser, &Data::HOSTILE, include_str!("invitations.js"));
    }
}

#[test]
fn the_page_of_a_new_client_knocks_from_a_bookmark() {
    needs_bpf!();
    let stage = Stage::new("drop");
    // On a busy machine, many knocks of WebKit come too late. It is tested with fresh ones.
    let is_late = |browser: &Browser| *browser == Browser::WebKit;
    for browser in installed().filter(|browser| !is_late(browser)) {
        let client = format!("of-{browser:?}").to_lowercase();
        let file = stage.scene.files.path(format!("{client}.html"));
        let mut add = stage.scene.pair.server.command(program("knockd").unwrap());
        add.args(["client", "add", &client, "--server"]);
        add.arg(Pair::SERVER_V4.to_string());
        add.arg("--config")
            .arg(stage.scene.files.path("knockd.toml"));
        let added = add.arg("--page").arg(&file).output().unwrap();
        assert!(added.status.success(), "{added:?}");
        let url = format!("file://{}#door=job&knock", file.display());
        let accepted = format!("accepted door=\"job\" client={client:?}");
        // A browser that gets no processor sends too late.
        let opened = (0..ATTEMPTS).any(|_| {
            let _visit = browser.open(&stage.scene.pair.client, &url).unwrap();
            let knockd = &stage.scene.knockd;
            knockd
                .wait_for(|line| line.contains(&accepted), SOON / 2)
                .is_ok()
        });
        assert!(opened, "{browser:?}");
    }
}

#[test]
fn the_page_of_a_client_on_a_web_server_does_not_knock_by_itself() {
    needs_bpf!();
    let stage = Stage::new("drop");
    for browser in installed() {
        let html = written_with(&Data::PLAIN, include_str!("served.js"));
        let url = "http://localhost:8001/#door=web&knock";
        stage.visit(browser, vec![("/", html)], url);
    }
    stage.scene.settle().unwrap();
    assert_eq!(stage.scene.accepted(), Vec::<String>::new());
}

/// Browsers trust no page of this address, unless it came with https.
fn insecure(path: &str) -> String {
    format!("http://{}:8001{path}", Pair::CLIENT_V4)
}

#[test]
fn the_page_of_a_client_knocks_without_https() {
    needs_bpf!();
    let stage = Stage::new("drop");
    for browser in installed() {
        let html = written_with(&Data::PLAIN, include_str!("insecure.js"));
        stage.visit(browser, vec![("/", html)], &insecure("/#door=web&knock"));
    }
    assert!(stage.scene.accepted().len() >= installed().count());
}

#[test]
fn the_page_without_a_key_says_that_one_that_it_stores_without_https_can_be_read() {
    needs_bpf!();
    let stage = Stage::new("drop");
    for browser in installed() {
        let pages = hosted_with(include_str!("readable.js"));
        let url = insecure(&format!("/app/#{}", Data::PLAIN.invitation));
        stage.visit(browser, pages, &url);
    }
    assert!(stage.scene.accepted().len() >= installed().count());
}

#[test]
fn the_page_says_that_nothing_can_compute_a_knock() {
    needs_bpf!();
    let stage = Stage::new("drop");
    for browser in installed() {
        for lack in Lack::ALL {
            stage.visit(browser, vec![("/", lack.page())], &insecure("/"));
        }
    }
}

#[test]
fn fresh_knocks_open_the_door_until_its_port_answers() {
    needs_bpf!();
    let stage = Stage::new("drop");
    for browser in installed() {
        let opened = figures::with_retries(&stage, browser, &Data::PLAIN, KNOCKS, true);
        assert_eq!(opened, KNOCKS, "{browser:?}");
    }
}

#[test]
fn the_page_without_a_key_runs_under_its_own_policy() {
    needs_bpf!();
    let pair = Pair::new().unwrap();
    for browser in installed() {
        // Browsers trust a page of this host as if it came with https.
        let host = Web::start(&pair.client, 8001, hosted_pages()).unwrap();
        let _visit = browser
            .open(&pair.client, "http://localhost:8001/app/")
            .unwrap();
        // The script has started the worker, which stores the page.
        for file in ["app/worker.js", "app/index.html"] {
            let asked = host.wait_for(file, SOON);
            asked.unwrap_or_else(|error| panic!("{browser:?}: {error:#}"));
        }
    }
}

#[test]
fn the_page_without_a_key_stores_one_that_no_script_can_read() {
    needs_bpf!();
    let stage = Stage::new("drop");
    // Whose keys are those of the module: see `vectors.js`.
    let readable = |browser: &Browser| *browser == Browser::WebKit;
    for browser in installed().filter(|browser| !readable(browser)) {
        let client = &stage.scene.pair.client;
        let pages = hosted_with(include_str!("hosted.js"));
        let _host = Web::start(client, 8001, pages).unwrap();
        let before = stage.scene.accepted().len();
        let link = Data::PLAIN.invitation;
        let url = format!("http://localhost:8001/app/#{link}");
        let _visit = browser.open(client, &url).unwrap();
        let wait = |word, timeout: Duration| {
            let said = stage.reports.wait_for(word, timeout);
            said.unwrap_or_else(|error| panic!("{browser:?}: {error:#}"));
        };
        wait("quiet", SOON);
        // Everything that was sent until now is processed before the next knock.
        stage.scene.settle().unwrap();
        assert_eq!(stage.scene.accepted().len(), before, "{browser:?}");
        wait("passed", SOON);
        assert!(stage.scene.accepted().len() > before, "{browser:?}");
    }
}

#[test]
fn the_page_is_written_for_its_owner_alone_and_never_over_a_file() {
    needs_bpf!();
    let stage = Stage::new("drop");
    page::check_files(&stage.scene);
}
