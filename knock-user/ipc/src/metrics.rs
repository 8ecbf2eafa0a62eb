//! The channel between the listener and the metrics exporter.
//!
//! A pair of connected Unix stream sockets. The first frame is the [`log::Choice`] of the
//! supervisor, which is in the exporter's end before the listener receives its own. From then on
//! the exporter sends the single byte [`REQUEST`], and the listener answers with a frame that holds
//! a [`Snapshot`]. The listener does not trust the exporter: any other byte closes the channel.
//!
//! A frame is its length in four bytes (little-endian) and that many bytes of JSON.
//!
//! [`log::Choice`]: knockd_runtime::log::Choice

use std::{collections::BTreeMap, io, time::Duration};

use knockd_types::{counters::Counters, status::Attachment};
use serde::{Deserialize, Serialize};

/// The `argv[0]` that selects the role of the metrics exporter.
pub const EXPORTER_NAME: &str = "knockd-metrics";

/// The only byte that the exporter sends: it requests a snapshot.
pub const REQUEST: u8 = b'?';

/// Bytes of a frame's length.
pub const PREFIX_LEN: usize = size_of::<u32>();

/// The longest frame without its prefix: room for far more than 10,000 doors.
pub const MAX_FRAME: usize = 4 * 1024 * 1024;

/// The state of the daemon at one moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The start of the daemon, in seconds since 1970.
    pub started: f64,
    /// The kernel's counters by [`knock_common::counters::Outcome::name`]; empty with `--lines`.
    pub kernel: BTreeMap<String, u64>,
    /// The daemon's counters.
    pub daemon: Counters,
    /// The name of every door, and the number of sources that it is open for.
    pub open_doors: Vec<(String, usize)>,
    /// The mode of the gate as in [`GateStatus`](knockd_types::status::GateStatus), if there is a
    /// gate.
    pub gate: Option<String>,
    /// The number of leases in the kernel, one per source and port, if they were counted.
    pub leases: Option<usize>,
    /// The interfaces, with the mode that the program runs in.
    pub attachments: Vec<Attachment>,
    /// Sources with an incomplete sequence.
    pub sources_in_progress: usize,
    /// The number of `tail` subscribers.
    pub tails: usize,
    /// Whether Landlock confines the processes that read network input.
    pub landlock: bool,
    /// The time from a knock's last packet until the gate was open.
    pub gate_opening: Histogram,
    /// The time from a knock's last packet until the door's command was started.
    pub command_start: Histogram,
}

/// Latencies, counted in buckets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// The observations in each bucket of [`Self::BOUNDS`]. They are not cumulative, and longer
    /// ones are in no bucket.
    pub buckets: [u64; 17],
    /// The number of all observations.
    pub count: u64,
    /// The sum of all observations, in seconds.
    pub sum: f64,
}

impl Histogram {
    /// Inclusive upper bounds in seconds: from the latency of the ring buffer to an overloaded
    /// host.
    pub const BOUNDS: [f64; 17] = [
        50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5,
        1.0, 2.5, 5.0, 10.0,
    ];

    /// Counts `time`.
    pub fn observe(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        if let Some(bucket) = Self::BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.buckets[bucket] += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }

    /// Each upper bound, with the number of observations up to it.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut count = 0;
        Self::BOUNDS
            .into_iter()
            .zip(self.buckets)
            .map(move |(bound, observations)| {
                // The exporter must not fail on counts that a compromised listener makes up.
                count = u64::saturating_add(count, observations);
                (bound, count)
            })
    }
}

/// The frame of `value`.
///
/// # Errors
///
/// Returns an error if `value` has no form in JSON or is longer than [`MAX_FRAME`].
pub fn frame(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; PREFIX_LEN];
    serde_json::to_writer(&mut frame, value)?;
    let prefix = prefix(frame.len() - PREFIX_LEN)?;
    frame[..PREFIX_LEN].copy_from_slice(&prefix);
    Ok(frame)
}

fn prefix(len: usize) -> io::Result<[u8; PREFIX_LEN]> {
    match u32::try_from(len) {
        Ok(prefix) if len <= MAX_FRAME => Ok(prefix.to_le_bytes()),
        _ => Err(too_long(len)),
    }
}

/// The length of the frame behind `prefix`.
///
/// # Errors
///
/// Returns an error if the frame is longer than [`MAX_FRAME`].
pub fn frame_len(prefix: [u8; PREFIX_LEN]) -> io::Result<usize> {
    let len = usize::try_from(u32::from_le_bytes(prefix)).unwrap_or(usize::MAX);
    if len <= MAX_FRAME {
        Ok(len)
    } else {
        Err(too_long(len))
    }
}

fn too_long(len: usize) -> io::Error {
    let error = format!("a frame of {len} bytes, but at most {MAX_FRAME} are allowed");
    io::Error::new(io::ErrorKind::InvalidData, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_is_in_the_bucket_of_its_time() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_millis(501));
        for (bound, count) in histogram.cumulative() {
            assert_eq!(count, u64::from(bound > 0.5), "{bound}");
        }
        histogram.observe(Duration::from_secs(11));
        assert_eq!(histogram.cumulative().last(), Some((10.0, 1)));
        assert_eq!(histogram.count, 2);
        assert!(histogram.sum > 11.5);
    }

    #[test]
    fn a_bound_is_in_its_own_bucket() {
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_millis(500));
        for (bound, count) in histogram.cumulative() {
            assert_eq!(count, u64::from(bound >= 0.5), "{bound}");
        }
    }

    #[test]
    fn the_buckets_reach_from_50_microseconds_to_10_seconds() {
        assert_eq!(Histogram::BOUNDS.first(), Some(&50e-6));
        assert_eq!(Histogram::BOUNDS.last(), Some(&10.0));
        assert!(Histogram::BOUNDS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_frame_survives_the_channel() {
        let mut snapshot = Snapshot {
            started: 1_800_000_000.25,
            open_doors: vec![("ssh".into(), 2), ("a \"door\"\\".into(), 0)],
            ..Snapshot::default()
        };
        snapshot
            .gate_opening
            .observe(Duration::from_nanos(123_456_789));
        let frame = frame(&snapshot).unwrap();
        let (prefix, json) = frame.split_at(PREFIX_LEN);
        assert_eq!(frame_len(prefix.try_into().unwrap()).unwrap(), json.len());
        let read: Snapshot = serde_json::from_slice(json).unwrap();
        assert_eq!(read, snapshot);
    }

    #[test]
    fn the_length_of_a_frame_is_bounded_in_both_directions() {
        assert!(frame(&"x".repeat(MAX_FRAME - 2)).is_ok());
        assert!(frame(&"x".repeat(MAX_FRAME - 1)).is_err());
        assert!(frame_len(prefix(MAX_FRAME).unwrap()).is_ok());
        assert!(frame_len([0xff; PREFIX_LEN]).is_err());
    }
}
