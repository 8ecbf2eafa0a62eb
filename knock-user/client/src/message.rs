//! Messages of errors, as text for a person or a log.

use std::error::Error;

use knock_common::legible::escaped;

use crate::redaction::redacted;

/// The message of `error` and of its causes, on one line. Nothing in it controls a terminal, and what
/// looks like a key is replaced by an ellipsis.
#[must_use]
pub fn of(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    escaped(&redacted(&text)).collect()
}
