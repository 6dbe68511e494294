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
}
