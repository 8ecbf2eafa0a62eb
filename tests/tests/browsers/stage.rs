//! What a page of the tests meets.

use knock_tests::{
    browser::{Browser, Page, Visit, Web},
    scene::{SOON, Scene},
};

use crate::page::{Data, configuration, written_with};

/// Where pages report what they have seen.
const REPORTS: u16 = 8000;

/// The service behind the gate.
const SERVICE: u16 = 8080;

/// The daemon, the service behind the gate, and the server that pages report to.
pub(crate) struct Stage {
    pub(crate) scene: Scene,
    pub(crate) reports: Web,
    _service: Web,
}

impl Stage {
    pub(crate) fn new(verdict: &str) -> Self {
        let scene = Scene::with(&configuration(verdict)).unwrap();
        let server = &scene.pair.server;
        let reports = Web::start(server, REPORTS, Vec::new()).unwrap();
        let service = Web::start(server, SERVICE, Vec::new()).unwrap();
        Self {
            scene,
            reports,
            _service: service,
        }
    }

    /// Opens the page for `data` with `script`, and waits until it has passed.
    pub(crate) fn pass(&self, browser: Browser, data: &Data<'_>, script: &str) {
        let _visit = self.open(browser, &written_with(data, script));
        self.wait(browser);
    }

    /// Opens `url`, where a web server of the client's host has `pages`, and waits until the page has
    /// passed.
    pub(crate) fn visit(&self, browser: Browser, pages: Vec<Page>, url: &str) {
        let client = &self.scene.pair.client;
        let _host = Web::start(client, 8001, pages).unwrap();
        let _visit = browser.open(client, url).unwrap();
        self.wait(browser);
    }

    fn wait(&self, browser: Browser) {
        let outcome = self.reports.wait_for("passed", SOON);
        outcome.unwrap_or_else(|error| panic!("{browser:?}: {error:#}"));
    }

    /// Opens the page `html` as a file.
    pub(crate) fn open(&self, browser: Browser, html: &str) -> Visit {
        let file = self.scene.files.path(format!("{browser:?}.html"));
        std::fs::write(&file, html).unwrap();
        let url = format!("file://{}", file.display());
        browser.open(&self.scene.pair.client, &url).unwrap()
    }
}

/// The browsers of this machine.
pub(crate) fn installed() -> impl Iterator<Item = Browser> {
    Browser::ALL
        .into_iter()
        .filter(|browser| browser.is_installed())
}
