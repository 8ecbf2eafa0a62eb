//! Metrics for Prometheus, over HTTP.
//!
//! The event loop is asked for a [`snapshot`], as it is for `status`; everything else, from the
//! connection to the text, happens beside it.

pub(crate) mod exporter;
pub(crate) mod latency;
pub(crate) mod page;
pub(crate) mod snapshot;
