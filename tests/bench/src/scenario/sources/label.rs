//! Names in tables.

use crate::record::thousands;

pub(super) const SUBJECT: &str = "knockd";

/// The case of `count` sources.
pub(super) fn sources(count: usize) -> String {
    match count {
        1 => "one source".to_owned(),
        _ => format!("{} sources", thousands(count as f64)),
    }
}
