//! Automatic compaction: what of the past is kept, and when the rest is proposed away.
//!
//! Every member notes which revision was current when (`CMP-14`), and how much had been superseded
//! by then. Only the leader acts on it (`CMP-16`): it proposes an ordinary compaction, as a write
//! of its own, and the machine decides on it as on anybody's. So a new leader knows the past as
//! well as the old one, and nothing is lost when an attempt is.
//!
//! ```text
//!   revision   ..  80    90    100   110   120 (now)
//!   moment     ..  8:00  8:10  8:20  8:30  8:40      time: 30 min   ─► up to 90
//!                                                    revisions: 25  ─► up to 95
//!                                                    both           ─► up to 90: more is kept
//!   superseded ..  4 MB  5 MB  6 MB  7 MB  8 MB      bytes: 2 MB    ─► up to 105, all the same
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use super::Replica;
use super::consensus::Role;
use super::proposals::Whose;
#[cfg(feature = "sim")]
use super::sizes::Size;
use crate::core::machine::Command;
use crate::core::mvcc::Pace;
use crate::ids::Revision;
use crate::planted::{Bug, planted};
use crate::time::Instant;

/// How often it is considered what to compact, unless the time to keep is shorter.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Samples within the time to keep.
const TIME_SAMPLES: u32 = 10;

/// Marks within the bytes to keep.
const BYTE_MARKS: u64 = 16;

/// Marks that are remembered when nobody compacts.
const MAX_MARKS: usize = 64;

/// How much of the past is kept. Nothing set: all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retain {
    /// So many revisions before the current one.
    pub(crate) revisions: Option<u64>,
    /// What was current within this time.
    pub(crate) time: Option<Duration>,
    /// At most so many bytes of superseded versions, even if the others ask for more.
    pub(crate) bytes: Option<u64>,
}

/// The store as it is at one look.
#[derive(Clone, Copy, Debug)]
struct Look {
    now: Instant,
    revision: Revision,
    compacted: Revision,
    /// See [`crate::core::mvcc::Mvcc::superseded`].
    superseded: u64,
    /// See [`crate::core::mvcc::Mvcc::history_bytes`].
    held: u64,
}

/// See the top of the file.
#[derive(Debug)]
pub(super) struct Retention {
    retain: Retain,
    /// Not before.
    look_at: Instant,
    /// Which revision was current when, oldest first: the first is the newest that is old enough,
    /// once there is one.
    samples: VecDeque<(Instant, Revision)>,
    /// How much had been superseded by which revision, oldest first: the first is not after the
    /// compacted revision, or the first there was.
    marks: VecDeque<(u64, Revision)>,
    /// What was proposed last, and how long it is waited for.
    asked: Option<(Revision, Instant)>,
}

impl Retention {
    pub(super) fn new(retain: Retain) -> Self {
        let (samples, marks) = (VecDeque::new(), VecDeque::new());
        Self { retain, look_at: Instant::default(), samples, marks, asked: None }
    }

    /// The state was replaced: what was superseded is counted anew.
    pub(super) fn replaced(&mut self) {
        self.marks.clear();
    }

    /// Takes note of the moment. Gives the revision to compact at, if it is time for that.
    fn look(&mut self, look: Look, leads: bool) -> Option<Revision> {
        if self.retain == Retain::default() || look.now < self.look_at {
            return None;
        }
        let span = self.retain.time.map_or(LOOK_EVERY, |time| time / TIME_SAMPLES);
        self.look_at = look.now.after(span.min(LOOK_EVERY));
        self.sample(look);
        self.mark(look);
        if self.asked.is_some_and(|(at, until)| look.compacted >= at || until <= look.now || !leads)
        {
            self.asked = None;
        }
        if !leads || self.asked.is_some() {
            return None;
        }
        let at = self.kept(look).max(self.affordable(look))?;
        (at > look.compacted).then_some(at)
    }

    fn sample(&mut self, look: Look) {
        let Some(time) = self.retain.time else { return };
        let age = |&(at, _): &(Instant, Revision)| look.now.since(at);
        if self.samples.back().is_none_or(|last| age(last) >= time / TIME_SAMPLES) {
            self.samples.push_back((look.now, look.revision));
        }
        while self.samples.get(1).is_some_and(|second| age(second) >= time) {
            self.samples.pop_front();
        }
    }

    fn mark(&mut self, look: Look) {
        let Some(bytes) = self.retain.bytes else { return };
        let since = |&(superseded, _): &(u64, Revision)| look.superseded.saturating_sub(superseded);
        if self.marks.back().is_none_or(|last| since(last) > bytes / BYTE_MARKS) {
            self.marks.push_back((look.superseded, look.revision));
        }
        while self.marks.len() > MAX_MARKS
            || self.marks.get(1).is_some_and(|(_, revision)| *revision <= look.compacted)
        {
            self.marks.pop_front();
        }
    }

    /// What need not be kept by number and by age: the lower of the two, where both are asked for.
    fn kept(&self, look: Look) -> Option<Revision> {
        let by_number = self.retain.revisions.map(|count| {
            let upto = look.revision.get().saturating_sub(count);
            // Not for every write anew: a tenth more than asked for may gather.
            let step = (count / 10).max(1);
            if upto < look.compacted.get().saturating_add(step) { 0 } else { upto }
        });
        let by_age = self.retain.time.map(|time| {
            let first = self.samples.front().filter(|(at, _)| look.now.since(*at) >= time);
            first.map_or(0, |(_, revision)| revision.get())
        });
        by_number.into_iter().chain(by_age).min().filter(|upto| *upto > 0).map(Revision::new)
    }

    /// Where to compact because history takes too much: far enough that a quarter is free again.
    fn affordable(&self, look: Look) -> Option<Revision> {
        let bytes = self.retain.bytes?;
        // Of what there was before the first mark nobody knows which revision superseded it.
        let first = self.marks.front().filter(|(_, revision)| *revision <= look.compacted);
        let base = first.map_or(0, |(superseded, _)| *superseded);
        // Nor how much of it a compaction since has removed: that is seen when it has.
        if look.superseded.saturating_sub(base).min(look.held) <= bytes {
            return None;
        }
        let fits = |(superseded, _): &&(u64, Revision)| {
            look.superseded.saturating_sub(*superseded) <= bytes / 4 * 3
        };
        let mark = self.marks.iter().find(fits);
        Some(mark.map_or(look.revision, |(_, revision)| *revision))
    }

    /// How much there is of what has a bound.
    #[cfg(feature = "sim")]
    pub(super) fn sizes(&self, out: &mut Vec<Size>) {
        let most = TIME_SAMPLES as usize + 2;
        out.push(Size::new("samples of revisions", self.samples.len(), most));
        out.push(Size::new("marks of what was superseded", self.marks.len(), MAX_MARKS));
    }
}

/// What was found out about watchers, when, and when this was compacted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    compacted: Revision,
    at: Instant,
    oldest: Option<Revision>,
}

impl Replica {
    /// Removes some of what was compacted: looks at up to `work` records. Says whether there is
    /// more. To be called between two rounds of `handle` and `poll`, whenever there is time.
    pub(crate) fn tidy(&mut self, work: usize) -> bool {
        let max_pinned = self.settings.max_pinned_revisions;
        let mvcc = self.machine.mvcc();
        let watched = if mvcc.is_tidy() { None } else { self.watched(mvcc.waited_for(max_pinned)) };
        self.machine.tidy(Pace { work, max_pinned, watched })
    }

    /// The oldest revision, not before `waited_for`, that a watcher has yet to look at. All of them
    /// have to be asked, so that is not done for every slice: who comes later needs nothing that is
    /// compacted now, and all others only go on.
    fn watched(&mut self, waited_for: Revision) -> Option<Revision> {
        let compacted = self.machine.mvcc().compacted()?;
        let known = self.watched.filter(|known| {
            known.compacted == compacted
                && self.now.since(known.at) < self.settings.tick
                && known.oldest.is_none_or(|oldest| oldest >= waited_for)
        });
        let known = known.unwrap_or_else(|| {
            let oldest = self.watches.oldest(waited_for);
            Watched { compacted, at: self.now, oldest }
        });
        self.watched = Some(known);
        known.oldest.filter(|_| !planted(Bug::HoldNothing))
    }

    /// Once a tick: does history take more than it should?
    pub(super) fn retain(&mut self) {
        let mvcc = self.machine.mvcc();
        let look = Look {
            now: self.now,
            revision: mvcc.revision(),
            compacted: mvcc.compacted().unwrap_or_default(),
            superseded: mvcc.superseded(),
            held: mvcc.history_bytes(),
        };
        let leads = self.standing.role == Role::Leader;
        let Some(revision) = self.retention.look(look, leads) else { return };
        let deadline = self.now.after(self.settings.patience());
        // If there is no room for it now, there will be at another look.
        if self
            .proposals
            .push(Whose::Nobody, Command::Compact { revision }.encode(), deadline, self.now)
            .is_ok()
        {
            tracing::debug!(%revision, "compacts by itself");
            self.retention.asked = Some((revision, deadline));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3600;

    fn retention(revisions: u64, seconds: u64, bytes: u64) -> Retention {
        let set = |value: u64| (value > 0).then_some(value);
        Retention::new(Retain {
            revisions: set(revisions),
            time: set(seconds).map(Duration::from_secs),
            bytes: set(bytes),
        })
    }

    /// The store `seconds` after the start.
    fn look(seconds: u64, revision: u64, compacted: u64, superseded: u64) -> Look {
        Look {
            now: Instant::from_nanos(seconds * 1_000_000_000),
            revision: Revision::new(revision),
            compacted: Revision::new(compacted),
            superseded,
            held: u64::MAX,
        }
    }

    fn leads(retention: &mut Retention, look: Look) -> Option<u64> {
        retention.look(look, true).map(Revision::get)
    }

    #[test]
    fn cmp_14_time_compacts_what_was_current_so_long_ago() {
        let mut retention = retention(0, HOUR, 0);
        for minute in 0..60 {
            let found = leads(&mut retention, look(minute * 60, 100 + minute, 0, 0));
            assert_eq!(found, None, "nothing before a full hour was seen");
        }
        assert_eq!(leads(&mut retention, look(HOUR, 160, 0, 0)), Some(100));
        // Afterwards every tenth of it, and not twice at one revision.
        assert_eq!(leads(&mut retention, look(HOUR + 60, 161, 100, 0)), None);
        assert_eq!(leads(&mut retention, look(HOUR + 360, 166, 100, 0)), Some(106));
        let later = look(9 * HOUR, 166, 106, 0);
        assert_eq!(leads(&mut retention, later), Some(166), "the newest that is old enough");
        assert!(retention.samples.len() <= 12);
    }

    #[test]
    fn cmp_15_revisions_keep_the_last_ones() {
        let mut retention = retention(100, 0, 0);
        assert_eq!(leads(&mut retention, look(1, 50, 0, 0)), None);
        assert_eq!(leads(&mut retention, look(2, 109, 0, 0)), None, "a tenth may gather");
        assert_eq!(leads(&mut retention, look(3, 110, 0, 0)), Some(10));
        assert_eq!(leads(&mut retention, look(3, 400, 0, 0)), None, "once a second is enough");
        assert_eq!(leads(&mut retention, look(4, 119, 10, 0)), None);
        assert_eq!(leads(&mut retention, look(5, 400, 10, 0)), Some(300));
    }

    #[test]
    fn of_number_and_age_the_one_that_keeps_more_wins() {
        let mut retention = retention(100, HOUR, 0);
        assert_eq!(leads(&mut retention, look(0, 500, 0, 0)), None, "no hour has passed");
        assert_eq!(leads(&mut retention, look(HOUR, 550, 0, 0)), Some(450));
        assert_eq!(leads(&mut retention, look(HOUR + 2, 5_000, 450, 0)), Some(500));
    }

    #[test]
    fn bytes_are_a_ceiling_whatever_is_to_be_kept() {
        let mut retention = retention(1_000_000, 0, 1_600);
        for step in 1..=16 {
            let found = leads(&mut retention, look(step, 10 * step, 0, 100 * step));
            assert_eq!(found, None, "no more than 1,600");
        }
        let found = leads(&mut retention, look(17, 170, 0, 1_700));
        assert_eq!(found, Some(50), "1,200 stay: what 50 to 170 superseded");
        assert_eq!(leads(&mut retention, look(18, 180, 50, 2_000)), None);
        assert_eq!(leads(&mut retention, look(19, 190, 50, 9_000)), Some(190), "all at once");
        retention.replaced();
        assert_eq!(leads(&mut retention, look(40, 200, 190, 1_500)), None);
    }

    /// A member that was just opened knows how much there is, and not since which revisions.
    #[test]
    fn what_a_compaction_has_removed_counts_no_more() {
        let mut retention = retention(0, 0, 256);
        assert_eq!(leads(&mut retention, look(0, 1000, 1, 200)), None);
        let removed = Look { held: 76, ..look(2, 1100, 900, 256 + 20) };
        assert_eq!(leads(&mut retention, removed), None, "76 are left of 276");
        let full = Look { held: 300, ..look(4, 1500, 900, 520) };
        assert!(leads(&mut retention, full).is_some());
    }

    #[test]
    fn cmp_16_only_the_leader_acts_and_a_new_one_has_the_samples() {
        let mut retention = retention(0, HOUR, 0);
        assert!(retention.look(look(0, 100, 0, 0), false).is_none());
        assert!(retention.look(look(HOUR, 200, 0, 0), false).is_none());
        assert_eq!(leads(&mut retention, look(HOUR + 1, 201, 0, 0)), Some(100));
    }

    #[test]
    fn cmp_14_a_failed_attempt_is_made_again() {
        let mut retention = retention(10, 0, 0);
        assert_eq!(leads(&mut retention, look(1, 50, 0, 0)), Some(40));
        let until = Instant::from_nanos(10_000_000_000);
        retention.asked = Some((Revision::new(40), until));
        assert_eq!(leads(&mut retention, look(5, 70, 0, 0)), None, "it is under way");
        assert_eq!(leads(&mut retention, look(10, 70, 0, 0)), Some(60));
        retention.asked = Some((Revision::new(60), until.after(LOOK_EVERY * 60)));
        assert_eq!(leads(&mut retention, look(12, 90, 60, 0)), Some(80), "it was done");
    }
}
