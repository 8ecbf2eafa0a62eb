//! The configuration of the other knockd, by Judd Vinet.

use std::path::Path;

use knockd_config::{Config, NO_CLIENT};

/// The result is a configuration, in which only the clients are missing.
pub(crate) fn run(input: &[u8]) {
    let Some(text) = knockd_cli::fuzz::imported(input) else {
        return;
    };
    let error = match Config::parse(&text, Path::new("/nowhere/knockd.toml")) {
        Ok(_) => panic!("there is no client:\n{text}"),
        Err(error) => error.to_string(),
    };
    assert!(
        error.lines().count() == 1 && error.contains(NO_CLIENT),
        "{error}:\n{text}"
    );
}
