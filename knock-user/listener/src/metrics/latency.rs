//! Histograms of the time from a knock's last SYN to the opening.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, Result, core::Collector};

/// Upper bounds in seconds: from the latency of the ring buffer to an overloaded host.
const BUCKETS: [f64; 17] = [
    50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0,
    2.5, 5.0, 10.0,
];

/// The latencies of all openings since the start. Clones share the histograms.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    gate: Histogram,
    command: Histogram,
}

impl Latencies {
    /// Empty histograms.
    ///
    /// # Errors
    ///
    /// Returns an error if a name or a bucket is invalid, which a test rules out.
    pub(crate) fn new() -> Result<Self> {
        let histogram = |name, help| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(BUCKETS.to_vec()))
        };
        Ok(Self {
            gate: histogram(
                "knockd_gate_opening_seconds",
                "Time from the arrival of a knock's last SYN until the gate was open",
            )?,
            command: histogram(
                "knockd_command_start_seconds",
                "Time from the arrival of a knock's last SYN until the door's command was started",
            )?,
        })
    }

    /// Records that the gate was open `time` after the arrival of the knock's last SYN.
    pub(crate) fn gate_opened(&self, time: Duration) {
        self.gate.observe(time.as_secs_f64());
    }

    /// Records that the command was started `time` after the arrival of the knock's last SYN.
    pub(crate) fn command_started(&self, time: Duration) {
        self.command.observe(time.as_secs_f64());
    }

    pub(super) fn collectors(&self) -> [Box<dyn Collector>; 2] {
        [Box::new(self.gate.clone()), Box::new(self.command.clone())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cumulative count of each bucket.
    fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
        let families = histogram.collect();
        let buckets = families[0].get_metric()[0].get_histogram().get_bucket();
        buckets
            .iter()
            .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
            .collect()
    }

    #[test]
    fn what_was_opened_is_in_the_bucket_of_its_time() {
        let latencies = Latencies::new().unwrap();
        latencies.gate_opened(Duration::from_millis(501));
        for (bound, count) in buckets(&latencies.gate) {
            assert_eq!(count, u64::from(bound > 0.5), "{bound}");
        }
        assert!(latencies.gate.get_sample_sum() > 0.5);
        assert_eq!(latencies.command.get_sample_count(), 0);
    }

    #[test]
    fn the_buckets_reach_from_50_microseconds_to_10_seconds() {
        assert_eq!(BUCKETS.first(), Some(&50e-6));
        assert_eq!(BUCKETS.last(), Some(&10.0));
        assert!(BUCKETS.is_sorted_by(|a, b| a < b));
    }
}
