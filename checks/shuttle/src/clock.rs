//! The clock of a node, as a test runs it: see `sync/time.rs`.

use crate::sync::time;
use crate::time::Instant;

/// In the place of the runtime's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(());

impl Clock {
    pub(crate) fn start() -> Self {
        Self(())
    }

    #[expect(clippy::unused_self, reason = "as the one it stands for")]
    pub(crate) fn now(&self) -> Instant {
        time::read()
    }

    /// The system's clock does not go with the one of a test: only differences mean something.
    #[expect(clippy::unused_self, reason = "as the one it stands for")]
    pub(crate) fn system_time(&self, at: Instant) -> std::time::Instant {
        static ZERO: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        let zero = *ZERO.get_or_init(std::time::Instant::now);
        zero.checked_add(std::time::Duration::from_nanos(at.nanos())).unwrap_or(zero)
    }
}
