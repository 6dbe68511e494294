//! A histogram of durations, the one of the peer's program: 32 steps per power of two, so a
//! quantile is at most 3 % off.

use std::time::Duration;

const STEPS: u64 = 32;

/// Counts durations in nanoseconds.
#[derive(Debug)]
pub(crate) struct Hist {
    counts: Vec<u32>,
    total: u64,
    max: u64,
}

impl Hist {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; 64 * 32], total: 0, max: 0 }
    }

    pub(crate) fn add(&mut self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        if let Some(count) = self.counts.get_mut(bucket(nanos)) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn max_us(&self) -> f64 {
        self.max as f64 / 1e3
    }

    /// The duration that the share `q` of all stays below, in microseconds.
    pub(crate) fn quantile_us(&self, q: f64) -> f64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count is a count"
        )]
        let wanted = ((q * self.total as f64) as u64).min(self.total.saturating_sub(1));
        let mut passed = 0;
        for (place, &count) in self.counts.iter().enumerate() {
            passed += u64::from(count);
            if passed > wanted {
                return middle(place) as f64 / 1e3;
            }
        }
        self.max_us()
    }
}

fn bucket(nanos: u64) -> usize {
    let place = if nanos < STEPS {
        nanos
    } else {
        let shift = 58 - u64::from(nanos.leading_zeros());
        (shift + 1) * STEPS + (nanos >> shift) - STEPS
    };
    usize::try_from(place).unwrap_or(usize::MAX)
}

fn middle(place: usize) -> u64 {
    let place = place as u64;
    if place < STEPS {
        return place;
    }
    let shift = place / STEPS - 1;
    ((place % STEPS + STEPS) << shift) + (1 << shift) / 2
}
