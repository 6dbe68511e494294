//! The index: every key, in order, shared by one writer and any number of readers.
//!
//! The *tree* (`tree.rs`) leads from a key to its leaf and is locked exclusively only when a leaf
//! splits, empties or everything is replaced. Each *leaf* has a lock of its own, so a reader waits
//! for the writer only in the one leaf that is being written, and only for as long as a slot takes
//! to change.
//!
//! One lock around one map was measured first: beside a busy writer a reader waited 60 us there.
//!
//! No thread holds two tree locks or two leaf locks at once, and a leaf lock is held only under a
//! tree lock. So nothing here can deadlock, and whoever has the tree exclusively has every leaf.

use std::borrow::Cow;
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockUpgradableReadGuard as Upgradable};

use super::history::History;
use super::leaf::Leaf;
use super::pins::Pins;
use super::query::Order;
use super::record::{Position, Record};
use super::tree::{SPARSE_SLOTS, Stop, Tree, Visitor, Walk};
use crate::error::{Error, Result};
use crate::ids::Revision;
use crate::keys::KeyRange;

#[derive(Default)]
pub(super) struct Index {
    tree: RwLock<Tree>,
    /// The newest revision that may be read. Every record at or before it is in the tree before
    /// this is stored.
    published: AtomicU64,
    /// The compacted revision plus one; 0 for never. Stored before anything is removed, and never
    /// above `published`.
    compacted: AtomicU64,
    /// What long reads hold back from being removed.
    pub(super) pins: Pins,
    /// The same records as in the tree, by revision. While this is read-locked nothing is removed
    /// from it, and it, `published` and what `pins` says is removed are of one store.
    pub(super) history: RwLock<History>,
}

/// The tree was replaced in the middle of a walk.
pub(super) struct Replaced;

/// Where a walk begins, ends and what it is called with.
pub(super) struct Span<'a> {
    range: &'a KeyRange,
    /// Skip keys up to this one.
    after: Option<&'a [u8]>,
    /// Which end comes first.
    order: Order,
}

impl<'a> Span<'a> {
    pub(super) fn new(range: &'a KeyRange) -> Self {
        Self::ordered(range, Order::Ascending)
    }

    pub(super) fn ordered(range: &'a KeyRange, order: Order) -> Self {
        Self { range, after: None, order }
    }

    pub(super) fn after(range: &'a KeyRange, after: Option<&'a [u8]>) -> Self {
        Self { after: after.filter(|after| *after >= range.start()), ..Self::new(range) }
    }
}

/// For readers.
impl Index {
    pub(super) fn published(&self) -> Revision {
        Revision::new(self.published.load(Ordering::Acquire))
    }

    pub(super) fn compacted(&self) -> Option<Revision> {
        self.compacted.load(Ordering::Acquire).checked_sub(1).map(Revision::new)
    }

    /// Chooses the revision of a read (`KV-2`).
    pub(super) fn fix(&self, at: Option<Revision>) -> Result<Revision> {
        let Some(at) = at.filter(|at| at.get() > 0) else { return Ok(self.published()) };
        // In this order: what is published is never behind what is compacted.
        if let Some(compacted) = self.compacted().filter(|compacted| at < *compacted) {
            return Err(Error::compacted(at, compacted));
        }
        let published = self.published();
        if at > published {
            return Err(Error::future_revision(at, published));
        }
        Ok(at)
    }

    /// Fixes a revision, reads, and makes sure afterwards that it could still be read: a
    /// compaction says so before it drops anything, so who missed a record sees the new bound.
    ///
    /// A read of the newest state is done again instead. It can only happen once per compaction
    /// or replacement, so it ends.
    pub(super) fn read<T>(
        &self,
        at: Option<Revision>,
        read: impl Fn(Revision) -> Result<T, Replaced>,
    ) -> Result<(Revision, T)> {
        loop {
            let revision = self.fix(at)?;
            let found = read(revision);
            let readable = self.compacted().is_none_or(|compacted| compacted <= revision);
            if let (Ok(found), true) = (found, readable) {
                return Ok((revision, found));
            }
        }
    }

    pub(super) fn get(&self, key: &[u8], at: Revision) -> Option<Record> {
        let tree = self.tree.read();
        tree.leaf_of(key)?.read().get(key, at).cloned()
    }

    /// The versions of `key` from `first` on up to `last`, at most `max`.
    pub(super) fn versions(
        &self,
        key: &[u8],
        (first, last): (Position, Revision),
        max: usize,
    ) -> Vec<Record> {
        let tree = self.tree.read();
        let Some(leaf) = tree.leaf_of(key) else { return Vec::new() };
        let leaf = leaf.read();
        let slot = leaf.find(key).ok().and_then(|at| leaf.slot(at));
        let versions = slot.into_iter().flat_map(|slot| slot.versions(first));
        versions.take_while(|record| record.main() <= last).take(max).cloned().collect()
    }

    /// Shows the visitor the leaves that may have keys of `span`, in order, each with the slots
    /// that do.
    ///
    /// The tree is let go now and then. By then every key on this side of some leaf's fence has
    /// been visited, and the walk goes on from that fence, whichever leaf has it now: splits and
    /// joins meanwhile neither hide a key nor show one twice.
    pub(super) fn walk(&self, span: &Span<'_>, visitor: &mut impl Visitor) -> Result<(), Replaced> {
        // The key right behind a single one is the same with a zero byte added.
        let behind = |key: &[u8]| [key, &[0]].concat();
        let mut end = span.range.end().map(Cow::Borrowed);
        if let Some(key) = span.range.single() {
            end = Some(behind(key).into());
        }
        let mut start = Cow::Borrowed(span.range.start());
        if let Some(key) = span.after {
            start = behind(key).into();
        }
        let mut epoch = None;
        while end.as_ref().is_none_or(|end| start.as_ref() < end.as_ref()) {
            let tree = self.tree.read();
            if *epoch.get_or_insert(tree.epoch) != tree.epoch {
                return Err(Replaced);
            }
            match tree.visit(&mut Walk::new(&start, end.as_deref(), span.order, visitor)) {
                ControlFlow::Break(Stop::Pause(fence)) => match span.order {
                    Order::Ascending => start = Vec::from(fence).into(),
                    Order::Descending => end = Some(Vec::from(fence).into()),
                },
                ControlFlow::Break(Stop::Enough) | ControlFlow::Continue(()) => break,
            }
        }
        Ok(())
    }

    /// The live records of `range` at `at`.
    pub(super) fn live(&self, span: &Span<'_>, at: Revision) -> Result<Vec<Record>, Replaced> {
        let mut found = Vec::new();
        self.walk(span, &mut |leaf: &Leaf, slots: Range<usize>| {
            found.extend(leaf.live(slots, at).cloned());
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}

/// For the writer, of which there is one: only it changes what it has just read.
impl Index {
    /// Adds the version of `key` that `build` makes of the live one before, if there is one.
    /// Returns what was added and what was before.
    pub(super) fn update(
        &self,
        key: &[u8],
        build: impl FnOnce(Option<&Record>) -> Record,
    ) -> (Record, Option<Record>) {
        let tree = self.tree.read();
        let (record, before, fits) = tree.change(key, |leaf| {
            let Some(leaf) = leaf else { return ((build(None), None, false), None) };
            // Readers go on while the record is allocated and filled.
            let leaf = leaf.upgradable_read();
            let place = leaf.find(key);
            let slot = place.ok().and_then(|at| leaf.slot(at));
            let before = slot.and_then(|slot| slot.newest_live()).cloned();
            let record = build(before.as_ref());
            if place.is_err() && leaf.is_full() {
                return ((record, before, false), None);
            }
            let change = Upgradable::upgrade(leaf).put(place, record.clone());
            ((record, before, true), change)
        });
        drop(tree);
        if !fits {
            let mut tree = self.tree.write();
            tree.split(key);
            tree.change(key, |leaf| {
                let put = |leaf: &mut Leaf| leaf.put(leaf.find(key), record.clone());
                ((), leaf.and_then(|leaf| put(&mut leaf.write())))
            });
        }
        (record, before)
    }

    /// The newest version of `key`, tombstones included.
    pub(super) fn newest(&self, key: &[u8]) -> Option<Record> {
        let tree = self.tree.read();
        let leaf = tree.leaf_of(key)?.read();
        leaf.slot(leaf.find(key).ok()?).map(|slot| slot.newest().clone())
    }

    /// Adds a version as it is.
    pub(super) fn insert(&self, record: &Record) -> Option<Record> {
        self.update(record.key(), |_| record.clone()).1
    }

    /// Makes everything up to `revision` readable.
    pub(super) fn publish(&self, revision: Revision) {
        self.published.store(revision.get(), Ordering::Release);
    }

    /// Refuses reads before `revision` from now on.
    pub(super) fn set_compacted(&self, revision: Option<Revision>) {
        let stored = revision.map_or(0, |revision| revision.get().saturating_add(1));
        self.compacted.store(stored, Ordering::Release);
    }

    /// Drops of the versions of `key` up to `upto` what a compaction at `at` does not keep. Reads
    /// below `at` must have been refused before.
    pub(super) fn compact(
        &self,
        key: &[u8],
        (upto, at): (Revision, Revision),
        dropped: &mut Vec<Record>,
    ) {
        let sparse = {
            let tree = self.tree.read();
            let Some(leaf) = tree.leaf_of(key) else { return };
            let mut leaf = leaf.write();
            let Ok(place) = leaf.find(key) else { return };
            let before = leaf.len();
            leaf.compact(place, (upto, at), dropped);
            // Tried now and then on the way down: there may be no room beside it at first.
            leaf.len() < before && leaf.len() <= SPARSE_SLOTS && leaf.len().is_multiple_of(4)
        };
        if sparse {
            self.tree.write().join(key);
        }
    }

    /// Puts `new` in the place of `old`, of which it is a copy. Returns false if `old` is not here.
    pub(super) fn relocate(&self, old: &Record, new: Record) -> bool {
        let tree = self.tree.read();
        tree.leaf_of(old.key()).is_some_and(|leaf| leaf.write().relocate(old, new))
    }

    /// Exchanges the contents of the two. Readers of `self` see the old or the new, never both.
    pub(super) fn swap(&self, other: &Self) {
        let mut history = std::mem::take(&mut *other.history.write());
        let mut ours = self.history.write();
        std::mem::swap(&mut *ours, &mut history);
        self.swap_trees(other);
        drop(ours);
        *other.history.write() = history;
    }

    fn swap_trees(&self, other: &Self) {
        let mut tree = std::mem::take(&mut *other.tree.write());
        let (published, compacted) = (other.published(), other.compacted());
        let mut ours = self.tree.write();
        tree.epoch = ours.epoch.saturating_add(1);
        std::mem::swap(&mut *ours, &mut tree);
        // Under the lock: who sees the new tree sees the new bounds too.
        other.publish(self.published());
        other.set_compacted(self.compacted());
        self.pins.swap_removed(&other.pins);
        self.publish(published);
        self.set_compacted(compacted);
        drop(ours);
        *other.tree.write() = tree;
    }
}

#[cfg(any(test, fuzzing))]
impl Index {
    /// Asserts what the fields promise. Returns how many leaves there are.
    pub(super) fn verify(&self) -> usize {
        self.tree.read().verify()
    }
}
