//! Measurements and their units.

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// One figure for one subject in one case.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// What was measured. Subjects of the same case are compared.
    pub(crate) case: String,
    /// The program that was measured.
    pub(crate) subject: String,
    /// The unit of the figure.
    pub(crate) unit: Unit,
    /// The figure.
    pub(crate) summary: Summary,
    /// The position on the horizontal axis of a line chart.
    pub(crate) x: Option<f64>,
    /// The subject with which it is compared, in the same case and unit.
    pub(crate) baseline: Option<String>,
    /// The target for the figure.
    pub(crate) target: Option<Target>,
}

/// A target, and whether the figure meets it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Target {
    pub(crate) text: String,
    pub(crate) reached: bool,
}

impl Measurement {
    /// A measurement with the summary of `samples`, at least one.
    pub(crate) fn new(
        case: impl Into<String>,
        subject: impl Into<String>,
        unit: Unit,
        samples: &[f64],
    ) -> Self {
        Self {
            case: case.into(),
            subject: subject.into(),
            unit,
            summary: Summary::of(samples),
            x: None,
            baseline: None,
            target: None,
        }
    }

    /// Sets the position on the horizontal axis.
    pub(crate) fn at(mut self, x: f64) -> Self {
        self.x = Some(x);
        self
    }

    /// Sets `subject` as the baseline: the table shows the ratio to its figure.
    pub(crate) fn beside(mut self, subject: impl Into<String>) -> Self {
        self.baseline = Some(subject.into());
        self
    }

    /// Sets the target.
    pub(crate) fn target(mut self, text: impl Into<String>, reached: bool) -> Self {
        self.target = Some(Target {
            text: text.into(),
            reached,
        });
        self
    }

    /// The median.
    pub(crate) fn median(&self) -> f64 {
        self.summary.median
    }
}

/// The median and the quartiles of samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The number of samples.
    pub(crate) samples: usize,
    /// The median.
    pub(crate) median: f64,
    /// The first quartile.
    pub(crate) lower: f64,
    /// The third quartile.
    pub(crate) upper: f64,
}

impl Summary {
    fn of(samples: &[f64]) -> Self {
        Self {
            samples: samples.len(),
            median: quantile(samples, 0.5),
            lower: quantile(samples, 0.25),
            upper: quantile(samples, 0.75),
        }
    }
}

/// The quantile `q` (0 to 1) of `samples`, interpolated linearly between two samples. NaN without
/// samples.
pub(crate) fn quantile(samples: &[f64], q: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the index is not negative and far below 2^52"
    )]
    let (below, part) = {
        let place = q * last as f64;
        (place as usize, place.fract())
    };
    let above = (below + 1).min(last);
    sorted[below] + (sorted[above] - sorted[below]) * part
}

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    /// Time, in nanoseconds.
    Nanoseconds,
    /// Memory, in bytes.
    Bytes,
    /// A share in percent.
    Percent,
    /// A rate per second.
    PerSecond,
}

impl Unit {
    /// Formats `value` with three significant digits, a unit prefix and the unit.
    pub(crate) fn show(self, value: f64) -> String {
        let (steps, names): (&[f64], &[&str]) = match self {
            Self::Nanoseconds => (&[1.0, 1e3, 1e6, 1e9], &["ns", "µs", "ms", "s"]),
            Self::Bytes => (
                &[1.0, 1024.0, 1_048_576.0, 1_073_741_824.0],
                &["B", "KiB", "MiB", "GiB"],
            ),
            Self::Percent => (&[1.0], &["%"]),
            Self::PerSecond => (&[1.0, 1e3, 1e6], &["/s", "k/s", "M/s"]),
        };
        let fits = steps.iter().rposition(|step| value.abs() >= *step);
        let step = fits.unwrap_or(0);
        format!("{} {}", digits(value / steps[step]), names[step])
    }
}

/// Formats `value` with three significant digits, or all digits of the integer part.
pub(crate) fn digits(value: f64) -> String {
    let size = value.abs();
    let places = match size {
        _ if size == 0.0 || size >= 99.95 => 0,
        _ if size >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.places$}")
}

/// Formats an integer with separators: `10,000`.
pub(crate) fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Takes one sample of a subject.
pub(crate) type Subject<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// Samples each of `subjects` in turn, `rounds` times, so that a disturbance of the machine affects
/// all of them. Returns the samples of each subject. The first round is a warm-up and not recorded.
pub(crate) fn interleave(rounds: usize, subjects: &mut [Subject<'_>]) -> Result<Vec<Vec<f64>>> {
    let mut samples = vec![Vec::with_capacity(rounds); subjects.len()];
    for round in 0..=rounds {
        for (subject, samples) in subjects.iter_mut().zip(&mut samples) {
            let sample = subject()?;
            if round > 0 {
                samples.push(sample);
            }
        }
    }
    Ok(samples)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(quantile(&samples, 0.5), 2.5);
        assert_eq!(quantile(&samples, 0.0), 1.0);
        assert_eq!(quantile(&samples, 1.0), 4.0);
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn figures_have_three_significant_digits_and_a_unit() {
        for (unit, value, shown) in [
            (Unit::Nanoseconds, 34.26, "34.3 ns"),
            (Unit::Nanoseconds, 1234.0, "1.23 µs"),
            (Unit::Nanoseconds, 2.5e9, "2.50 s"),
            (Unit::Bytes, 12.0 * 1024.0 * 1024.0, "12.0 MiB"),
            (Unit::Percent, 0.0, "0 %"),
            (Unit::Percent, 151.6, "152 %"),
        ] {
            assert_eq!(unit.show(value), shown);
        }
    }

    #[test]
    fn integers_have_thousands_separators() {
        for (value, shown) in [
            (1.0, "1"),
            (100.0, "100"),
            (10_000.0, "10,000"),
            (1e6, "1,000,000"),
        ] {
            assert_eq!(thousands(value), shown);
        }
    }

    #[test]
    fn subjects_are_sampled_in_turn() {
        let turns = std::cell::RefCell::new(String::new());
        let subject = |name: char| -> Subject<'_> {
            let turns = &turns;
            Box::new(move || {
                turns.borrow_mut().push(name);
                Ok(1.0)
            })
        };
        let samples = interleave(2, &mut [subject('a'), subject('b')]).unwrap();
        assert_eq!(*turns.borrow(), "ababab");
        assert_eq!(samples, [vec![1.0, 1.0], vec![1.0, 1.0]]);
    }
}
