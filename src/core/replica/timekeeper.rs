//! From moments to ticks.
//!
//! Consensus counts ticks, two to a heartbeat. After a pause (the process was stopped, the
//! machine slept) the missed ticks are not replayed: that would depose a leader on the strength
//! of this node's own sleep, before the messages that waited meanwhile are looked at.

use std::time::Duration;

use crate::time::Instant;

/// See the top of the file.
#[derive(Debug)]
pub(crate) struct Timekeeper {
    tick: Duration,
    /// When the next tick is due.
    next: Instant,
    /// At most this many ticks are made up for at once: fewer than an election takes.
    burst: u32,
}

impl Timekeeper {
    pub(crate) fn new(now: Instant, tick: Duration, election_ticks: usize) -> Self {
        let burst = u32::try_from(election_ticks / 4).unwrap_or(u32::MAX).max(1);
        Self { tick, next: now.after(tick), burst }
    }

    /// How many ticks have come due.
    pub(crate) fn due(&mut self, now: Instant) -> u32 {
        let mut ticks = 0;
        while self.next <= now {
            if ticks == self.burst {
                self.next = now.after(self.tick);
                return ticks;
            }
            self.next = self.next.after(self.tick);
            ticks += 1;
        }
        ticks
    }

    pub(crate) fn next(&self) -> Instant {
        self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_come_evenly_and_a_long_pause_makes_few() {
        let tick = Duration::from_nanos(10);
        let mut time = Timekeeper::new(Instant::default(), tick, 20);
        assert_eq!(time.due(Instant::from_nanos(9)), 0);
        assert_eq!(time.due(Instant::from_nanos(10)), 1);
        assert_eq!(time.due(Instant::from_nanos(35)), 2);
        assert_eq!(time.due(Instant::from_nanos(1_000_000)), 5, "a quarter of an election");
        assert_eq!(time.next(), Instant::from_nanos(1_000_010));
    }
}
