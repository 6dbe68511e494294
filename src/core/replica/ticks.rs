//! The lease clock, as the one who moves it sees it.
//!
//! Only a leader moves it, by ticks that it proposes straight to its own log: a tick says how much
//! time has passed, by the leader's own clock, since the tick before. Nothing from outside of the
//! replica goes into one.
//!
//! ```text
//!   leader A    tick +300  grant 7     tick +4000  renew 7       dies
//!   follower B     applied here           applied here ──────────────── B leads ─ tick +2500
//!                                                   └ since then ────────────────┘
//! ```
//!
//! A new leader measures from when it applied the last tick itself. That is not before it was
//! proposed, so it never counts too much. It counts too little, and what runs lasts longer,
//! - by what passed between the proposal of that tick and its being applied here. That is a moment
//!   for who was there. For who was opened or given a snapshot since, it is [`CHECKPOINT`] at most,
//!   as the next tick would have come, and what the election took before anything was applied;
//! - by how long nobody has ticked beyond what one tick may make up for ([`Pace::cap`]), since who
//!   was stopped for an hour must not end everything at once when it goes on.
//!
//! This happens once for each change of leaders.
//!
//! Invariants:
//! * a leader ticks only when all there was before its term is applied here: else it would count
//!   again what a tick has counted that is not applied yet;
//! * what begins the time of a lease stands behind a tick of its own batch, from then on;
//! * without leases nothing is proposed;
//! * one tick of its own accord is under way at a time.

use std::time::Duration;

use crate::core::machine::lease::Leases;
use crate::ids::Term;
use crate::planted::{Bug, planted};
use crate::time::Instant;

/// How often a leader ticks when nothing is due, in election timeouts: a new one may have to do
/// without what came after the last tick.
const CHECKPOINT: u32 = 10;

/// What one tick makes up for at most, in election timeouts: a checkpoint and an election.
const CAP: u32 = 2 * CHECKPOINT;

/// How a lease clock is moved.
#[derive(Clone, Copy, Debug)]
struct Pace {
    checkpoint: Duration,
    cap: Duration,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Ticks {
    pace: Pace,
    /// When a tick was applied here last; or the state was opened, or replaced.
    applied_at: Instant,
    /// Once this member leads and has come to its term.
    led: Option<Led>,
    /// The log took nothing: not before this is it asked again.
    not_before: Instant,
}

/// The clock of a leader, as it is when all that it has proposed is applied.
#[derive(Clone, Copy, Debug)]
struct Led {
    term: Term,
    clock: u64,
    /// When it showed that.
    at: Instant,
    /// Ticks of this term that are not applied yet.
    under_way: u32,
}

impl Ticks {
    pub(super) fn new(now: Instant, election: Duration) -> Self {
        let pace = Pace { checkpoint: election * CHECKPOINT, cap: election * CAP };
        Self { pace, applied_at: now, led: None, not_before: Instant::default() }
    }

    /// A tick of this term was applied here.
    pub(super) fn applied(&mut self, now: Instant, term: Term) {
        self.applied_at = now;
        if let Some(led) = self.led.as_mut().filter(|led| led.term == term) {
            led.under_way = led.under_way.saturating_sub(1);
        }
    }

    /// The state was replaced by one whose last tick nobody knows the moment of.
    pub(super) fn replaced(&mut self, now: Instant) {
        self.applied_at = now;
    }

    /// This member leads no more, or another term.
    pub(super) fn stop(&mut self) {
        self.led = None;
    }

    pub(super) fn leads(&self) -> bool {
        self.led.is_some()
    }

    /// This member leads, and everything from before its term is applied here.
    pub(super) fn lead(&mut self, term: Term, leases: &Leases) {
        if self.led.is_none() {
            let (clock, at) = (leases.clock(), self.applied_at);
            self.led = Some(Led { term, clock, at, under_way: 0 });
        }
    }

    /// Is a tick to be proposed now, though nothing else is?
    pub(super) fn is_due(&self, now: Instant, leases: &Leases) -> bool {
        self.next(leases).is_some_and(|at| at <= now)
    }

    /// When that will be, if nothing happens before.
    pub(super) fn next(&self, leases: &Leases) -> Option<Instant> {
        let led = self.led.filter(|led| led.under_way == 0 && !leases.is_empty())?;
        let at = if leases.ticked() < led.term {
            // The first one of a term: what it was given before that is fresh.
            led.at
        } else {
            let checkpoint = led.at.after(self.pace.checkpoint);
            leases.next_due().map_or(checkpoint, |due| {
                let left = Duration::from_millis(due.saturating_sub(led.clock));
                led.at.after(left).min(checkpoint)
            })
        };
        Some(at.max(self.not_before))
    }

    /// How many milliseconds a tick that is proposed now has to say; nothing if this member may not
    /// tick.
    pub(super) fn advance(&self, now: Instant) -> Option<u64> {
        let led = self.led?;
        if planted(Bug::ExpireByOwnClock) {
            return Some(millis(now.since(Instant::default())).saturating_sub(led.clock));
        }
        let passed = now.since(led.at).min(self.pace.cap);
        Some(millis(passed))
    }

    /// It was taken.
    pub(super) fn proposed(&mut self, now: Instant, advance: u64) {
        let cap = self.pace.cap;
        let Some(led) = &mut self.led else { return };
        // What is left of a millisecond counts for the next one; what is beyond the cap does not.
        let capped = now.since(led.at) > cap;
        led.at = if capped { now } else { led.at.after(Duration::from_millis(advance)) };
        led.clock = led.clock.saturating_add(advance);
        led.under_way = led.under_way.saturating_add(1);
    }

    /// Nothing was taken.
    pub(super) fn refused(&mut self, until: Instant) {
        self.not_before = until;
    }

    /// Milliseconds that have passed since the clock here showed what it shows, as far as a tick
    /// would count them.
    pub(super) fn since_applied(&self, now: Instant) -> u64 {
        millis(now.since(self.applied_at).min(self.pace.cap))
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::machine::lease::Lease;
    use crate::ids::{Index, LeaseId};

    const ELECTION: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn term() -> Term {
        Term::new(4)
    }

    /// One that is due behind `until`; ticked in the term before.
    fn leases(until: u64) -> Leases {
        let lease = Lease::new(5000, Index::new(9), Some(until));
        Leases::restore(1000, Term::new(3), [(LeaseId::new(7), lease)])
    }

    fn leader() -> (Ticks, Leases) {
        let (mut ticks, leases) = (Ticks::new(at(0), ELECTION), leases(5000));
        assert_eq!((ticks.next(&leases), ticks.advance(at(9))), (None, None), "it does not lead");
        ticks.lead(term(), &leases);
        (ticks, leases)
    }

    #[test]
    fn lse_8_a_log_that_takes_nothing_is_not_asked_again_at_once() {
        let (mut ticks, leases) = leader();
        assert!(ticks.is_due(at(10), &leases), "the first one of a term");
        ticks.refused(at(60));
        assert!(!ticks.is_due(at(59), &leases));
        assert_eq!(ticks.next(&leases), Some(at(60)));
        assert!(ticks.is_due(at(60), &leases));
        assert_eq!(ticks.advance(at(60)), Some(60), "and no time is lost by it");
    }

    #[test]
    fn lse_8_one_tick_is_under_way_at_a_time_and_none_of_another_term_counts() {
        let (mut ticks, leases) = leader();
        ticks.proposed(at(10), 10);
        assert_eq!(ticks.next(&leases), None);
        ticks.applied(at(11), Term::new(3));
        assert_eq!(ticks.next(&leases), None);
        ticks.applied(at(12), term());
        assert!(ticks.next(&leases).is_some());
    }

    #[test]
    fn lse_11_what_is_left_of_a_millisecond_counts_for_the_next_tick() {
        let (mut ticks, _) = leader();
        let now = Instant::from_nanos(1_900_000);
        assert_eq!(ticks.advance(now), Some(1));
        ticks.proposed(now, 1);
        assert_eq!(ticks.advance(at(3)), Some(2));
    }

    #[test]
    fn lse_16_a_tick_makes_up_for_twenty_election_timeouts_at_most() {
        let (mut ticks, _) = leader();
        assert_eq!(ticks.advance(at(19_999)), Some(19_999));
        assert_eq!(ticks.advance(at(3_600_000)), Some(20_000));
        ticks.proposed(at(3_600_000), 20_000);
        assert_eq!(ticks.advance(at(3_600_007)), Some(7), "what is beyond that never counts");
    }
}
