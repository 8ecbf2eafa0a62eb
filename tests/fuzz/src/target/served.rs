//! Requests to the servers: of the control socket, and over HTTP.

use std::cell::LazyCell;

use tokio::runtime::{Builder, Runtime};

thread_local! {
    static RUNTIME: LazyCell<Runtime> = LazyCell::new(|| {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime can be created")
    });
}

/// A request to the control socket.
pub(crate) fn control(input: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(knockd_listener::fuzz::control(input)));
}

/// A request for the page of metrics.
pub(crate) fn http(input: &[u8]) {
    RUNTIME.with(|runtime| runtime.block_on(knockd_exporter::fuzz::http(input)));
}
