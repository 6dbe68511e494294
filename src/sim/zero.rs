//! The moment that simulations call zero, for those who ask in the system's terms.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A moment of a simulated clock as if the system's clock told it. Only the differences between two
/// of them mean something: nothing that is decided in a simulation may depend on one.
#[expect(
    clippy::disallowed_methods,
    reason = "the time of the world, read once and never looked at"
)]
pub(super) fn system_time(at: crate::time::Instant) -> Instant {
    static ZERO: OnceLock<Instant> = OnceLock::new();
    let zero = *ZERO.get_or_init(Instant::now);
    zero.checked_add(Duration::from_nanos(at.nanos())).unwrap_or(zero)
}
