//! The only reading of a clock.

use std::time::Duration;

use crate::time::{Instant, nanos};

/// A clock of the runtime: counts from when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(std::time::Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clock")]
    pub(crate) fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub(crate) fn now(&self) -> Instant {
        let elapsed = Self::start().0.saturating_duration_since(self.0);
        Instant::from_nanos(nanos(elapsed))
    }

    /// A moment of this clock as the system tells it; of one that the system has no number for,
    /// when this clock was made.
    pub(crate) fn system_time(&self, at: Instant) -> std::time::Instant {
        self.0.checked_add(Duration::from_nanos(at.nanos())).unwrap_or(self.0)
    }
}
