//! What a check needs and a machine may not be able to have.

use std::env;

use anyhow::Result;

use crate::interrupt;

/// What was `provided` for the checks of `what`. If nothing was, `None`, and prints that they are skipped
/// and why.
///
/// # Errors
///
/// With `CI` set in the environment, what is missing is an error.
pub(crate) fn or_skip<T>(what: &str, provided: Result<T>) -> Result<Option<T>> {
    match provided {
        Ok(provided) => Ok(Some(provided)),
        // After a signal, what failed was ended by it.
        Err(error) if env::var_os("CI").is_some() || interrupt::status().is_some() => Err(error),
        Err(error) => {
            println!("skipped: {what}: {error:#}");
            Ok(None)
        }
    }
}
