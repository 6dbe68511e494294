//! Time as the core sees it: a number that whoever drives the core passes in.

use std::time::Duration;

/// A moment, in nanoseconds since whatever moment the driver of the core calls zero.
///
/// The core never asks what time it is: the runtime reads the clock once for a batch of inputs,
/// the simulator makes time up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(u64);

impl Instant {
    /// A moment `nanos` nanoseconds after zero.
    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since zero.
    pub(crate) const fn nanos(self) -> u64 {
        self.0
    }

    /// This moment and a span more; stays at the end of time rather than wrap.
    pub(crate) fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(nanos(span)))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A span as nanoseconds; the longest there is, some 584 years, for one that does not fit.
pub(crate) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn saturates_at_both_ends() {
        let end = Instant::from_nanos(u64::MAX);
        assert_eq!(end.after(Duration::MAX), end);
        assert_eq!(Instant::default().since(end), Duration::ZERO);
        assert_eq!(end.since(Instant::from_nanos(u64::MAX - 5)), Duration::from_nanos(5));
    }
}
