//! The index: every key, in order, shared by one writer and any number of readers.
//!
//! Two levels. The *tree* maps the first key of each leaf to the leaf and is locked exclusively
//! only when a leaf splits, empties or everything is replaced. Each *leaf* has a lock of its own,
//! so a reader waits for the writer only in the one leaf that is being written, and only for as
//! long as a slot takes to change.
//!
//! One lock around one map was measured first: beside a busy writer a reader waited 60 us there.
//!
//! No thread holds two tree locks or two leaf locks at once, and a leaf lock is held only under a
//! tree lock. So nothing here can deadlock, and whoever has the tree exclusively has every leaf.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::{ControlFlow, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{RwLock, RwLockUpgradableReadGuard as Upgradable};

use super::leaf::{LEAF_SLOTS, Leaf};
use super::pins::Pins;
use super::record::Record;
use crate::error::{Error, Result};
use crate::ids::Revision;
use crate::keys::KeyRange;

/// Leaves that a range reads before it lets go of the tree: a split waits no longer than that.
const LEAVES_PER_HOLD: usize = 8;

/// A leaf that a compaction leaves with this many keys is joined to its neighbour.
const SPARSE_SLOTS: usize = LEAF_SLOTS / 4;

/// Where a leaf's keys begin: no key of it is smaller, every key of the one before is.
type Fence = Arc<[u8]>;

#[derive(Default)]
pub(super) struct Tree {
    /// Which restored content this is: a walk that lets go of the tree and finds another epoch
    /// when it comes back has to start again.
    epoch: u64,
    /// Never without the empty fence once a key was written, so that every key has a leaf.
    leaves: BTreeMap<Fence, RwLock<Leaf>>,
}

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
}

/// The tree was replaced in the middle of a walk.
pub(super) struct Replaced;

/// Where a walk begins, ends and what it is called with.
pub(super) struct Span<'a> {
    range: &'a KeyRange,
    /// Skip keys up to this one.
    after: Option<&'a [u8]>,
}

impl<'a> Span<'a> {
    pub(super) fn new(range: &'a KeyRange) -> Self {
        Self { range, after: None }
    }

    pub(super) fn after(range: &'a KeyRange, after: Option<&'a [u8]>) -> Self {
        Self { range, after: after.filter(|after| *after >= range.start()) }
    }
}

/// How many bytes the two have in common at the front.
fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// The shortest byte string that is greater than `left` and not greater than `right`.
fn separator(left: &[u8], right: &[u8]) -> Fence {
    let len = shared_bytes(left, right).saturating_add(1);
    Arc::from(right.get(..len).unwrap_or(right))
}

impl Tree {
    /// The leaf that has `key` between its fences.
    fn leaf_of(&self, key: &[u8]) -> Option<(&Fence, &RwLock<Leaf>)> {
        self.leaves.range::<[u8], _>((Unbounded, Included(key))).next_back()
    }

    /// The fence behind `fence`.
    fn next_fence(&self, fence: &[u8]) -> Option<&Fence> {
        self.leaves.range::<[u8], _>((Excluded(fence), Unbounded)).next().map(|(next, _)| next)
    }

    /// Tells the leaf at `fence` what its fences share.
    fn set_shared(&mut self, fence: &[u8]) {
        let shared = self.next_fence(fence).map_or(0, |next| shared_bytes(fence, next));
        if let Some(leaf) = self.leaves.get_mut(fence) {
            leaf.get_mut().set_shared(shared);
        }
    }

    /// Adds a version whose key may need a new slot, where there may be no room for one.
    fn insert(&mut self, record: Record) {
        let key = record.key();
        let Some(fence) = self.leaf_of(key).map(|(fence, _)| Fence::clone(fence)) else {
            let mut leaf = Leaf::new();
            leaf.put(Err(0), record);
            self.leaves.insert(Fence::from([]), RwLock::new(leaf));
            return;
        };
        let Some(leaf) = self.leaves.get_mut(&fence).map(RwLock::get_mut) else { return };
        let place = leaf.find(key);
        let (Err(at), true) = (place, leaf.is_full()) else {
            leaf.put(place, record);
            return;
        };
        let right = leaf.split(at);
        let first = right.first_key().unwrap_or(key);
        let middle = separator(leaf.last_key().unwrap_or_default(), first);
        self.leaves.insert(Fence::clone(&middle), RwLock::new(right));
        self.set_shared(&fence);
        self.set_shared(&middle);
        let home = if key < middle.as_ref() { &fence } else { &middle };
        let Some(leaf) = self.leaves.get_mut(home).map(RwLock::get_mut) else { return };
        leaf.put(leaf.find(key), record);
    }

    /// Joins the leaf that has `key` to the one before it, if they fit and leave room.
    fn join(&mut self, key: &[u8]) {
        let Some(fence) = self.leaf_of(key).map(|(fence, _)| Fence::clone(fence)) else { return };
        let before = self.leaves.range::<[u8], _>((Unbounded, Excluded(fence.as_ref())));
        let Some((before, left)) = before.map(|(key, leaf)| (Fence::clone(key), leaf)).next_back()
        else {
            return;
        };
        let len = self.leaves.get(&fence).map_or(0, |leaf| leaf.read().len());
        let room = LEAF_SLOTS.saturating_sub(SPARSE_SLOTS);
        if len > 0 && left.read().len().saturating_add(len) > room {
            return;
        }
        let Some(right) = self.leaves.remove(&fence) else { return };
        // What the fences share shrinks, so the keys of both are within the new fences.
        self.set_shared(&before);
        if let Some(left) = self.leaves.get_mut(&before) {
            left.get_mut().merge(right.into_inner());
        }
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
        let (_, leaf) = tree.leaf_of(key)?;
        leaf.read().get(key, at).cloned()
    }

    /// Visits the leaves that may have keys of `span`, in order, each with the slots that do.
    ///
    /// The tree is let go now and then. By then every key before the next leaf's fence has been
    /// visited, and the walk goes on from that fence, whichever leaf has it now: splits and joins
    /// meanwhile neither hide a key nor show one twice.
    pub(super) fn walk(
        &self,
        span: &Span<'_>,
        mut visit: impl FnMut(&Leaf, Range<usize>) -> ControlFlow<()>,
    ) -> Result<(), Replaced> {
        // The key right behind a single one is the same with a zero byte added.
        let behind = span.range.single().map(|key| [key, &[0]].concat());
        let end = behind.as_deref().or(span.range.end());
        let skip = span.after.map(|after| [after, &[0]].concat());
        let start = skip.as_deref().unwrap_or(span.range.start());
        if end.is_some_and(|end| end <= start) {
            return Ok(());
        }
        let mut from: Option<Fence> = None;
        let mut epoch = None;
        loop {
            let tree = self.tree.read();
            if *epoch.get_or_insert(tree.epoch) != tree.epoch {
                return Err(Replaced);
            }
            from = match tree.visit(from.as_deref().unwrap_or(start), end, &mut visit) {
                ControlFlow::Continue(next) => Some(next),
                ControlFlow::Break(()) => return Ok(()),
            };
        }
    }

    /// The live records of `range` at `at`.
    pub(super) fn live(&self, span: &Span<'_>, at: Revision) -> Result<Vec<Record>, Replaced> {
        let mut found = Vec::new();
        self.walk(span, |leaf, slots| {
            found.extend(leaf.live(slots, at).cloned());
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}

impl Tree {
    /// Visits some leaves from the one that has `from` on. Continues with the next one's fence,
    /// breaks when nothing is left or the visitor has enough.
    fn visit(
        &self,
        from: &[u8],
        end: Option<&[u8]>,
        visit: &mut impl FnMut(&Leaf, Range<usize>) -> ControlFlow<()>,
    ) -> ControlFlow<(), Fence> {
        let Some((fence, _)) = self.leaf_of(from) else { return ControlFlow::Break(()) };
        let mut leaves = self.leaves.range::<[u8], _>((Included(fence.as_ref()), Unbounded));
        let mut leaf = leaves.next();
        for held in 0.. {
            let Some((fence, slots)) = leaf else { break };
            if held >= LEAVES_PER_HOLD {
                return ControlFlow::Continue(Fence::clone(fence));
            }
            leaf = leaves.next();
            let slots = slots.read();
            // A bound between the fences is searched for; one outside takes in the whole leaf.
            let first = if from <= fence.as_ref() { 0 } else { place(&slots, from) };
            let ends = end.filter(|end| leaf.is_none_or(|(next, _)| *end < next.as_ref()));
            let last = ends.map_or(slots.len(), |end| place(&slots, end));
            visit(&slots, first..last)?;
            if ends.is_some() {
                break;
            }
        }
        ControlFlow::Break(())
    }
}

/// How many keys of the leaf are before `key`.
fn place(leaf: &Leaf, key: &[u8]) -> usize {
    leaf.find(key).unwrap_or_else(|place| place)
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
        let mut before = None;
        let record;
        'new: {
            let Some((_, leaf)) = tree.leaf_of(key) else {
                record = build(None);
                break 'new;
            };
            // Readers go on while the record is allocated and filled.
            let leaf = leaf.upgradable_read();
            let place = leaf.find(key);
            let slot = place.ok().and_then(|at| leaf.slot(at));
            before = slot.and_then(|slot| slot.newest_live()).cloned();
            record = build(before.as_ref());
            if place.is_ok() || !leaf.is_full() {
                Upgradable::upgrade(leaf).put(place, record.clone());
                return (record, before);
            }
        }
        drop(tree);
        self.tree.write().insert(record.clone());
        (record, before)
    }

    /// The newest version of `key`, tombstones included.
    pub(super) fn newest(&self, key: &[u8]) -> Option<Record> {
        let tree = self.tree.read();
        let leaf = tree.leaf_of(key)?.1.read();
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
            let Some((_, leaf)) = tree.leaf_of(key) else { return };
            let mut leaf = leaf.write();
            let Ok(place) = leaf.find(key) else { return };
            let before = leaf.len();
            leaf.compact(place, (upto, at), dropped);
            // Tried once on the way down, and again when nothing is left.
            leaf.len() < before && (leaf.len() == SPARSE_SLOTS || leaf.len() == 0)
        };
        if sparse {
            self.tree.write().join(key);
        }
    }

    /// Exchanges the contents of the two. Readers of `self` see the old or the new, never both.
    pub(super) fn swap(&self, other: &Self) {
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
        let tree = self.tree.read();
        let mut leaves = tree.leaves.iter().peekable();
        while let Some((fence, leaf)) = leaves.next() {
            leaf.read().verify(fence, leaves.peek().map(|(next, _)| next.as_ref()));
        }
        assert!(tree.leaves.keys().next().is_none_or(|first| first.is_empty()));
        tree.leaves.len()
    }
}
