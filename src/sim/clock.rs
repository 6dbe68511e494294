//! Time: one that is true, and each member's own.

use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;
use std::task::{Context, Poll};
use std::time::Duration;

use super::shared::Shared;
use crate::time::{Instant, nanos};

/// A member's clock: never goes back, runs at a rate of its own, and jumps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LocalClock {
    /// Where it was set last: the true time, in nanoseconds, and what it said then.
    truth: u64,
    local: u64,
    /// Millionths by which it is fast; slow if below 0.
    rate: i64,
}

const MILLION: i128 = 1_000_000;

impl LocalClock {
    /// What it says at a true time.
    pub(super) fn at(&self, truth: u64) -> Instant {
        let passed = i128::from(truth.saturating_sub(self.truth));
        let local = passed * (MILLION + i128::from(self.rate)) / MILLION;
        Instant::from_nanos(self.local.saturating_add(u64::try_from(local).unwrap_or(u64::MAX)))
    }

    /// The first true time at which it says this; at once if it has said it already.
    pub(super) fn when(&self, local: Instant) -> u64 {
        let ahead = i128::from(local.nanos().saturating_sub(self.local));
        let rate = MILLION + i128::from(self.rate);
        let passed = (ahead * MILLION + rate - 1) / rate;
        self.truth.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// From this true time on it is fast by so many millionths.
    pub(super) fn set_rate(&mut self, truth: u64, rate: i64) {
        self.local = self.at(truth).nanos();
        self.truth = truth;
        self.rate = rate;
    }

    /// It jumps ahead.
    pub(super) fn jump(&mut self, truth: u64, span: Duration) {
        self.local = self.at(truth).after(span).nanos();
        self.truth = truth;
    }
}

/// The time of a simulation, for what runs in it: true time, which no member knows.
///
/// ```
/// use quorate::sim::{Cluster, Seed};
/// use std::time::Duration;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = Cluster::new(Seed::new(7))?;
/// let clock = cluster.clock();
/// let before = clock.now();
/// cluster.block_on(async move { clock.sleep(Duration::from_secs(3600)).await })?;
/// assert!(cluster.clock().now() >= before + Duration::from_secs(3600));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Clock {
    pub(super) shared: Weak<Shared>,
}

impl Clock {
    /// How long the simulation has run. Stands still when its cluster is gone.
    pub fn now(&self) -> Duration {
        let now = self.shared.upgrade().map_or(0, |shared| shared.world.lock().now());
        Duration::from_nanos(now)
    }

    /// Ready when so much time has passed.
    pub fn sleep(&self, span: Duration) -> Sleep {
        let until = self.now().saturating_add(span);
        Sleep { shared: self.shared.clone(), until }
    }
}

/// Made by [`Clock::sleep`].
#[derive(Clone, Debug)]
#[must_use = "a future does nothing unless it is awaited"]
pub struct Sleep {
    shared: Weak<Shared>,
    until: Duration,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(shared) = Weak::upgrade(&self.shared) else { return Poll::Ready(()) };
        let until = nanos(self.until);
        let mut world = shared.world.lock();
        if world.now() >= until {
            return Poll::Ready(());
        }
        world.wake_at(until, context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_tells_when_it_will_say_what() {
        let mut clock = LocalClock::default();
        assert_eq!(clock.at(7), Instant::from_nanos(7));
        clock.set_rate(1_000, 500_000);
        assert_eq!(clock.at(1_000), Instant::from_nanos(1_000));
        assert_eq!(clock.at(3_000), Instant::from_nanos(4_000));
        clock.jump(3_000, Duration::from_nanos(96_000));
        assert_eq!(clock.at(3_000), Instant::from_nanos(100_000));
        clock.set_rate(3_000, -333_333);
        for local in [100_000, 100_001, 100_002, 123_456] {
            let truth = clock.when(Instant::from_nanos(local));
            assert!(clock.at(truth).nanos() >= local, "{local} not yet at {truth}");
            assert!(truth == 3_000 || clock.at(truth - 1).nanos() < local);
        }
        assert_eq!(clock.when(Instant::from_nanos(5)), 3_000, "long ago");
    }
}
