//! A histogram whose buckets were counted by another process.

use knockd_ipc::metrics::Histogram;
use prometheus::{
    Opts, Result,
    core::{Collector, Desc, Describer as _},
    proto,
};

/// A [`Histogram`] with its name and explanation.
#[derive(Debug)]
pub(crate) struct Counted {
    desc: Desc,
    histogram: Histogram,
}

impl Counted {
    /// The metric `name`, explained by `help`.
    ///
    /// # Errors
    ///
    /// Returns an error if the name is invalid. A test checks every name.
    pub(crate) fn new(name: &str, help: &str, histogram: Histogram) -> Result<Self> {
        Ok(Self {
            desc: Opts::new(name, help).describe()?,
            histogram,
        })
    }
}

impl Collector for Counted {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let buckets = self.histogram.cumulative().map(|(bound, count)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(count);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(self.histogram.count);
        histogram.set_sample_sum(self.histogram.sum);
        let mut metric = proto::Metric::default();
        metric.set_histogram(histogram);
        let mut family = proto::MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(proto::MetricType::HISTOGRAM);
        family.set_metric(vec![metric]);
        vec![family]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::{HistogramOpts, TextEncoder};

    use super::*;

    #[test]
    fn the_text_is_that_of_a_histogram_counted_here() {
        let times = [10e-6, 0.5, 0.501, 11.0].map(Duration::from_secs_f64);
        let bounds = Histogram::BOUNDS.to_vec();
        let local = prometheus::Histogram::with_opts(HistogramOpts::new("a", "b").buckets(bounds));
        let local = local.unwrap();
        let mut counted = Histogram::default();
        for time in times {
            local.observe(time.as_secs_f64());
            counted.observe(time);
        }
        let counted = Counted::new("a", "b", counted).unwrap();
        let text = |families: &[_]| TextEncoder::new().encode_to_string(families).unwrap();
        assert_eq!(text(&counted.collect()), text(&local.collect()));
    }
}
