//! Compaction: decided at once, carried out in slices.
//!
//! ```text
//!             removed           goal      compacted        published
//!   records ─────┼────────────────┼───────────┼─────────────────┼──►  by position
//!       one for  │  not looked at │ held by   │ history that    │
//!       each key │  yet           │ a pin     │ can be read     │
//! ```
//!
//! [`Mvcc::compact`] only moves the compacted revision, and with it what can be read (`CMP-3`). The
//! records go later, some at a time, whenever [`Mvcc::tidy`] is called (`CMP-8`). Each slice walks
//! on along the history, and of every key that it meets keeps one version of those it has passed:
//! so behind it everything is as the compaction leaves it, and where it has not been everything is
//! as it was.
//!
//! How far it has come is nobody's business but this member's. Reads do not see it, since they are
//! refused below the compacted revision; images and hashes leave out what is still to be removed
//! (`pinned.rs`).

use std::collections::BTreeSet;

use super::record::{Position, Record};
use super::{Mvcc, Revision};
use crate::error::{Error, Result};

/// What copying a block that an image holds costs, in records looked at.
const COPY_WORK: usize = 32;

/// How a removal goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Records that one slice looks at, at most. Each costs a microsecond or three.
    pub(crate) work: usize,
    /// How many revisions a pinned read or a watcher may be behind before it is no longer waited
    /// for.
    pub(crate) max_pinned: u64,
    /// The oldest revision that a watcher has yet to look at, of those from
    /// [`Mvcc::waits_from`] on.
    pub(crate) watched: Option<Revision>,
}

/// How far what was compacted has been removed.
#[derive(Debug, Default)]
pub(super) struct Removal {
    /// What a compaction here forgets is removed, or is being removed. Never above the compacted
    /// revision, and never falls.
    goal: Option<Revision>,
    /// Of the records before this position and up to the goal, those are left that a compaction
    /// at the goal keeps.
    next: Position,
    /// From here on blocks may have holes that are worth filling. `None`: nowhere.
    holes: Option<Position>,
}

impl Removal {
    /// For a store that has nothing below `compacted` but what is kept.
    pub(super) fn done(compacted: Option<Revision>) -> Self {
        Self {
            goal: compacted,
            next: (compacted.map_or(Revision::default(), after), 0),
            holes: None,
        }
    }

    /// Whether nothing is left to remove.
    pub(super) fn is_done(&self, compacted: Option<Revision>) -> bool {
        self.goal == compacted && self.is_there()
    }

    fn is_there(&self) -> bool {
        self.goal.is_none_or(|goal| goal < self.next.0)
    }

    fn aim(&mut self, goal: Revision) {
        if self.goal.is_none_or(|before| before < goal) {
            // A tombstone exactly at the goal before was kept, and goes now (`CMP-5`).
            self.next = self.next.min((self.goal.unwrap_or_default(), 0));
            self.goal = Some(goal);
        }
    }

    fn arrive(&mut self) {
        self.next = (self.goal.map_or(Revision::default(), after), 0);
        self.holes = Some(Position::default());
    }
}

impl Mvcc {
    /// Forgets what no read at `at` or later can see (`CMP-1`, `CMP-4`). What that is stays in
    /// memory until [`tidy`](Self::tidy) has come to it.
    ///
    /// Publishes first: readers must never be left without a revision that they may read.
    pub(crate) fn compact(&mut self, at: Revision) -> Result<()> {
        if let Some(compacted) = self.compacted().filter(|compacted| at <= *compacted) {
            return Err(Error::compacted(at, compacted));
        }
        if at > self.revision {
            return Err(Error::future_revision(at, self.revision));
        }
        self.publish();
        self.index.set_compacted(Some(at));
        Ok(())
    }

    /// The first revision from which on a watcher that has yet to look there is waited for.
    pub(crate) fn waits_from(&self, max_pinned: u64) -> Revision {
        self.index.pins.waits_from(self.oldest(max_pinned))
    }

    fn oldest(&self, max_pinned: u64) -> Revision {
        Revision::new(self.revision.get().saturating_sub(max_pinned))
    }

    /// Removes some of what was compacted. Says whether there is more that can be removed now.
    pub(crate) fn tidy(&mut self, pace: Pace) -> bool {
        let Some(compacted) = self.compacted() else { return false };
        if self.removal.is_done(Some(compacted)) {
            return self.fill_holes(pace.work);
        }
        let oldest = self.oldest(pace.max_pinned);
        let goal = self.index.pins.allow(compacted, oldest, pace.watched);
        self.removal.aim(goal);

        let history = self.index.history.read();
        let candidates = history.since(self.removal.next);
        let candidates = candidates.take_while(|record| record.main() <= goal).take(pace.work);
        let candidates: Vec<Record> = candidates.cloned().collect();
        drop(history);
        let upto = candidates.last().map_or(goal, Record::main);
        let (mut left, mut dropped) = (pace.work, Vec::new());
        for record in &candidates {
            // A key of many versions loses all that this slice has come to at once.
            self.index.compact(record.key(), (upto, goal), &mut dropped);
            left = left.saturating_sub(1).saturating_sub(self.remove(&mut dropped));
            let (main, sub) = record.position();
            self.removal.next = (main, sub.saturating_add(1));
            if left == 0 {
                return true;
            }
        }
        self.removal.arrive();
        self.removal.is_done(Some(compacted)) && self.fill_holes(left)
    }

    /// Fills the holes that a removal has left in the memory of blocks. Meanwhile only those were
    /// packed of which half went; now all has gone that will go, so once more is enough. Says
    /// whether there are more blocks to look at.
    fn fill_holes(&mut self, work: usize) -> bool {
        let mut left = work;
        while let Some(from) = self.removal.holes {
            if left == 0 {
                return true;
            }
            let look = self.index.history.read().find_holes(from, left);
            left = left.saturating_sub(look.looked);
            self.removal.holes = look.next;
            if let Some(block) = look.found {
                let mut history = self.index.history.write();
                let moved = history.lay_out(block, |old, new| self.index.relocate(old, new));
                left = left.saturating_sub(moved);
            }
        }
        false
    }

    /// Removes records from the history that the index has dropped. Says what more that cost than
    /// looking at one, in records looked at.
    fn remove(&mut self, dropped: &mut Vec<Record>) -> usize {
        let (mut cost, mut sparse) = (0_usize, BTreeSet::new());
        for gone in dropped.drain(..) {
            let removed = self.index.history.write().remove(&gone);
            cost = cost.saturating_add(if removed.copied { COPY_WORK } else { 0 });
            sparse.extend(removed.sparse);
        }
        // Behind all of them: a record is in both or in neither when it is moved.
        for block in sparse {
            let mut history = self.index.history.write();
            let moved = history.pack(block, |old, new| self.index.relocate(old, new));
            cost = cost.saturating_add(moved);
        }
        cost
    }

    /// The revision up to which everything that was compacted has been removed: the compacted one
    /// once nothing is left to do.
    pub(crate) fn removed(&self) -> Option<Revision> {
        let Removal { goal, next: (next, _), holes: _ } = self.removal;
        goal.map(|goal| goal.min(Revision::new(next.get().saturating_sub(1))))
    }
}

fn after(revision: Revision) -> Revision {
    Revision::new(revision.get().saturating_add(1))
}
