//! The only reading of a clock.

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
}
