//! Revisions that somebody still needs, and how long they are waited for.
//!
//! A long read (a range in many pieces) needs its revision to stay. It *pins* it: from then on a
//! compaction above the pin forgets the revision for everybody else, but this member keeps the
//! records until the pin is dropped. Not for ever: a pin that has fallen further behind than the
//! configured distance is no longer waited for, and its reads fail as any read of a compacted
//! revision does.
//!
//! What is promised: either a pinned read gives exactly what its revision had, or it fails. For
//! that the writer says what it is about to remove *before* it removes anything, and a read looks
//! at that bound when it is done.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::index::{Index, Replaced};
use crate::error::{Error, Result};
use crate::ids::Revision;

/// The pins of a store, and what is removed regardless of them.
#[derive(Default)]
pub(super) struct Pins {
    /// How many pins there are of each revision. None of 0.
    held: Mutex<BTreeMap<Revision, usize>>,
    /// What a compaction at the revision before this one forgets may be gone; 0: nothing. Stored
    /// before anything is removed, and never above the compacted revision plus one.
    removed: AtomicU64,
}

impl Pins {
    /// How far what was compacted may be removed: to `compacted`, but not beyond a pin that is not
    /// before `oldest`, nor beyond the revision before `watched`, if that may be
    /// [waited for](Self::waits_from). From then on reads before that are refused, pinned or not.
    pub(super) fn allow(
        &self,
        compacted: Revision,
        oldest: Revision,
        watched: Option<Revision>,
    ) -> Revision {
        let held = self.held.lock();
        let gone = self.gone();
        let first = held.range(oldest.max(gone)..).next().map(|(revision, _)| *revision);
        // A watcher is told what a key was before, too (`WAT-19`), if that is still there.
        let before = |watched: Revision| Revision::new(watched.get().saturating_sub(1)).max(gone);
        let watched = watched.filter(|watched| *watched >= self.waits_from(oldest)).map(before);
        let goal = first.into_iter().chain(watched).fold(compacted, Revision::min);
        // While the list is locked: who pins later finds what is compacted, which is not below.
        self.removed.fetch_max(goal.get().saturating_add(1), Ordering::AcqRel);
        goal
    }

    /// The first revision from which on a watcher that has yet to look there is waited for: what is
    /// still here, and was not before `oldest` already when it began.
    pub(super) fn waits_from(&self, oldest: Revision) -> Revision {
        oldest.next().max(self.gone())
    }

    /// What came before is gone: perhaps because another store was put in this one's place. Nobody
    /// brings it back.
    fn gone(&self) -> Revision {
        Revision::new(self.removed.load(Ordering::Acquire).saturating_sub(1))
    }

    /// For a store that has nothing below `compacted` but what is kept.
    pub(super) fn set_removed(&self, compacted: Option<Revision>) {
        let stored = compacted.map_or(0, |revision| revision.get().saturating_add(1));
        self.removed.store(stored, Ordering::Release);
    }

    /// The contents of two stores were exchanged. The pins stay: they belong to the readers.
    pub(super) fn swap_removed(&self, other: &Self) {
        let ours = self.removed.swap(other.removed.load(Ordering::Acquire), Ordering::AcqRel);
        other.removed.store(ours, Ordering::Release);
    }

    /// Whether everything from `at` on is still here, and what it came after at `at`.
    pub(super) fn has(&self, at: Revision) -> bool {
        self.removed.load(Ordering::Acquire) <= at.get().saturating_add(1)
    }

    fn release(&self, revision: Revision) {
        let mut held = self.held.lock();
        if let Some(count) = held.get_mut(&revision) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.remove(&revision);
            }
        }
    }
}

/// A revision that stays readable through this, unless it falls too far behind. Dropping it lets
/// go of it.
pub(crate) struct Pin {
    index: Arc<Index>,
    revision: Revision,
}

impl Pin {
    /// Pins `at`, or the newest revision if that is `None` or 0 (`KV-2`).
    pub(super) fn new(index: &Arc<Index>, at: Option<Revision>) -> Result<Self> {
        let mut held = index.pins.held.lock();
        let revision = index.fix(at)?;
        let count = held.entry(revision).or_default();
        *count = count.saturating_add(1);
        drop(held);
        Ok(Self { index: Arc::clone(index), revision })
    }

    /// The revision that it holds.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// Reads at the pinned revision, whatever has been compacted meanwhile.
    pub(super) fn read<T>(
        &self,
        read: impl Fn(&Index, Revision) -> Result<T, Replaced>,
    ) -> Result<T> {
        loop {
            let found = read(&self.index, self.revision);
            if !self.index.pins.has(self.revision) {
                let compacted = self.index.compacted().unwrap_or_default();
                return Err(Error::compacted(self.revision, compacted));
            }
            if let Ok(found) = found {
                return Ok(found);
            }
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.index.pins.release(self.revision);
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pin").field("revision", &self.revision).finish_non_exhaustive()
    }
}
