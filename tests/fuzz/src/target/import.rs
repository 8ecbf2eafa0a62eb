//! The configurations of other daemons: the knockd by Judd Vinet, and fwknopd.

use std::path::Path;

use knock_common::legible::misleads;
use knockd_config::{Config, NO_CLIENT};

/// The result is a configuration, in which only the clients are missing.
pub(crate) fn run(input: &[u8]) {
    if let Some(text) = knockd_cli::fuzz::imported(input) {
        expect_only(&text, |problem| problem.contains(NO_CLIENT));
    }
}

/// The result is a configuration without the server's key, in which all clients have the same key. It
/// shows nothing that misleads.
pub(crate) fn run_fwknop(input: &[u8]) {
    let Some(text) = knockd_cli::fuzz::imported_fwknop(input) else {
        return;
    };
    let hidden = text.chars().find(|c| *c != '\n' && misleads(*c));
    assert_eq!(hidden, None, "{text}");
    expect_only(&text, |problem| {
        problem.contains("server.key") || problem.contains(": public_key: ")
    });
}

/// Expects `text` to be a configuration with `is_expected` problems only.
fn expect_only(text: &str, is_expected: impl Fn(&str) -> bool) {
    let error = match Config::parse(text, Path::new("/nowhere/knockd.toml")) {
        Ok(_) => panic!("there is a problem:\n{text}"),
        Err(error) => error.to_string(),
    };
    assert!(error.lines().all(is_expected), "{error}:\n{text}");
}
