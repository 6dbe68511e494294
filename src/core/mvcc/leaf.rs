//! A leaf of the index: up to 64 keys in order, each with its versions.

use std::collections::VecDeque;
use std::ops::Range;

use super::record::{Position, Record};
use crate::ids::Revision;
use crate::planted::{Bug, planted};

/// Keys in a leaf. More makes the index flatter, but a writer keeps readers out of one leaf for
/// as long as it takes to move this many slots.
pub(super) const LEAF_SLOTS: usize = 64;

/// One key: its newest version at hand, the older ones behind a pointer that most keys never need.
pub(super) struct Slot {
    newest: Record,
    /// What of `newest` decides whether it is seen, copied here: a count over many keys, or a
    /// read of the current state, must not fetch every record from memory to know.
    stamp: Stamp,
    /// Ascending, all before `newest`. Boxed as a whole: 8 bytes per key instead of 24.
    older: Option<Box<Older>>,
}

/// A queue: a removal takes some from the front at a time, of which there may be many more.
struct Older(VecDeque<Record>);

/// Main revision and liveness of a record in one word. 63 bits last for
/// 290,000 years at a change every microsecond.
#[derive(Clone, Copy)]
struct Stamp(u64);

impl Stamp {
    fn of(record: &Record) -> Self {
        Self(record.main().get() << 1 | u64::from(!record.is_tombstone()))
    }

    fn main(self) -> u64 {
        self.0 >> 1
    }

    fn is_live(self) -> bool {
        self.0 & 1 == 1
    }
}

impl Slot {
    fn new(newest: Record) -> Self {
        Self { stamp: Stamp::of(&newest), newest, older: None }
    }

    pub(super) fn key(&self) -> &[u8] {
        self.newest.key()
    }

    /// The newest version, tombstones included.
    pub(super) fn newest(&self) -> &Record {
        &self.newest
    }

    /// The newest version, if it is no tombstone.
    pub(super) fn newest_live(&self) -> Option<&Record> {
        self.stamp.is_live().then_some(&self.newest)
    }

    /// What a reader at `at` sees (`DM-10`): the last version at or before it, unless that ended
    /// the key's life. Of several changes in one revision the last counts (`DM-11`).
    pub(super) fn live_at(&self, at: Revision) -> Option<&Record> {
        if self.stamp.main() <= at.get() {
            return self.newest_live();
        }
        let older = &self.older.as_deref()?.0;
        let seen = older.partition_point(|record| record.main() <= at);
        older.get(seen.checked_sub(1)?).filter(|record| !record.is_tombstone())
    }

    /// All versions from `first` on, ascending.
    pub(super) fn versions(&self, first: Position) -> impl Iterator<Item = &Record> {
        let older = self.older.as_deref().map(|older| &older.0);
        let older = older.into_iter().flat_map(move |older| {
            older.range(older.partition_point(|record| record.position() < first)..)
        });
        older.chain(Some(&self.newest).filter(|newest| newest.position() >= first))
    }

    fn is_live_at(&self, at: Revision) -> bool {
        if self.stamp.main() <= at.get() {
            return self.stamp.is_live();
        }
        self.live_at(at).is_some()
    }

    fn push(&mut self, record: Record) {
        self.stamp = Stamp::of(&record);
        let before = std::mem::replace(&mut self.newest, record);
        self.older.get_or_insert_with(|| Box::new(Older(VecDeque::new()))).0.push_back(before);
    }

    /// Puts `new` in the place of `old`, if that is here.
    fn relocate(&mut self, old: &Record, new: Record) -> bool {
        let version = if self.newest.is_same(old) {
            Some(&mut self.newest)
        } else {
            let older = self.older.as_deref_mut().map(|older| &mut older.0);
            older.and_then(|older| {
                let at = older.partition_point(|record| record.position() < old.position());
                older.get_mut(at).filter(|record| record.is_same(old))
            })
        };
        version.map(|version| *version = new).is_some()
    }

    /// Drops of the versions up to `upto` what a compaction at `at` does not keep (`CMP-4`,
    /// `CMP-5`). Returns false when nothing is left of the key (`CMP-6`).
    fn compact(&mut self, upto: Revision, at: Revision, dropped: &mut Vec<Record>) -> bool {
        let gone = |record: &Record| record.is_tombstone() && record.main() < at;
        let newest_is_old = self.stamp.main() <= upto.get();
        if let Some(older) = self.older.as_deref_mut() {
            let old = older.0.partition_point(|record| record.main() <= upto);
            let last = old.checked_sub(1).and_then(|last| older.0.get(last));
            let superseded = match last {
                _ if newest_is_old => old,
                Some(last) if !gone(last) && !planted(Bug::DropKeptVersion) => {
                    old.saturating_sub(1)
                }
                _ => old,
            };
            dropped.extend(older.0.drain(..superseded));
            if older.0.is_empty() {
                self.older = None;
            } else if older.0.len() <= older.0.capacity() / 2 {
                older.0.shrink_to_fit();
            }
        }
        if newest_is_old && gone(&self.newest) {
            dropped.push(self.newest.clone());
            return false;
        }
        true
    }
}

/// Keys in order, found by eight of their bytes.
///
/// All keys of a leaf lie between two fences of the index, so all begin with the bytes that the
/// two fences share. The eight bytes behind those are kept apart for every key, as a number: a
/// search touches a few cache lines of numbers and then, mostly, the one slot it was looking for.
///
/// Everything is in the leaf itself, and the leaves of a node are in one piece. So no small
/// allocation, left in the middle of what a compaction has freed, keeps its pages from the system.
pub(super) struct Leaf {
    /// How many bytes the fences share. Only keys between the fences may be searched for.
    shared: usize,
    /// How many slots are taken.
    len: usize,
    /// `heads[i]` is the head of `slots[i]`'s key; never falls from one to the next, up to `len`.
    heads: [u64; LEAF_SLOTS],
    /// Ascending by key. Those before `len` are there, the others are not.
    slots: [Option<Slot>; LEAF_SLOTS],
}

/// A key that came to life or died.
#[derive(Clone, Copy)]
pub(super) struct Change {
    pub(super) at: Revision,
    pub(super) born: bool,
}

/// The eight bytes of `key` behind the first `shared`, such that heads order as keys do.
pub(super) fn head(key: &[u8], shared: usize) -> u64 {
    let rest = key.get(shared..).unwrap_or_default();
    if let Some(bytes) = rest.first_chunk() {
        return u64::from_be_bytes(*bytes);
    }
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(rest) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

impl Leaf {
    pub(super) fn new() -> Self {
        Self { shared: 0, len: 0, heads: [0; LEAF_SLOTS], slots: [const { None }; LEAF_SLOTS] }
    }

    /// Computes anew what is derived from the slots.
    fn index(&mut self) {
        for (head_of, slot) in self.heads.iter_mut().zip(self.slots.iter().flatten()) {
            *head_of = head(slot.key(), self.shared);
        }
    }

    /// Tells the leaf what its fences share now.
    pub(super) fn set_shared(&mut self, shared: usize) {
        if self.shared != shared {
            self.shared = shared;
            self.index();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_full(&self) -> bool {
        self.len >= LEAF_SLOTS
    }

    /// Where `key` is, or where it belongs. It must lie between the leaf's fences.
    pub(super) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let head = head(key, self.shared);
        let heads = self.heads.get(..self.len).unwrap_or_default();
        let from = heads.partition_point(|&other| other < head);
        let alike = heads.iter().skip(from).take_while(|&&other| other == head).count();
        let run = self.slots.get(from..from.saturating_add(alike)).unwrap_or_default();
        run.binary_search_by(|slot| slot.as_ref().map(Slot::key).cmp(&Some(key)))
            .map(|at| from.saturating_add(at))
            .map_err(|at| from.saturating_add(at))
    }

    pub(super) fn slot(&self, at: usize) -> Option<&Slot> {
        self.slots.get(at)?.as_ref()
    }

    fn slots(&self, span: Range<usize>) -> impl DoubleEndedIterator<Item = &Slot> {
        self.slots.get(span).unwrap_or_default().iter().flatten()
    }

    /// Puts a slot in its place and moves those behind it. There must be room.
    fn insert(&mut self, at: usize, slot: Slot) {
        let room = at..self.len.saturating_add(1);
        if let (Some(heads), Some(slots)) =
            (self.heads.get_mut(room.clone()), self.slots.get_mut(room))
        {
            heads.rotate_right(1);
            slots.rotate_right(1);
            self.len = self.len.saturating_add(1);
        }
        if let (Some(head_of), Some(empty)) = (self.heads.get_mut(at), self.slots.get_mut(at)) {
            *head_of = head(slot.key(), self.shared);
            *empty = Some(slot);
        }
    }

    /// Takes a slot away and closes the gap.
    fn remove(&mut self, at: usize) {
        let rest = at..self.len;
        if let (Some(heads), Some(slots)) =
            (self.heads.get_mut(rest.clone()), self.slots.get_mut(rest))
        {
            heads.rotate_left(1);
            slots.rotate_left(1);
            if let Some(last) = slots.last_mut() {
                *last = None;
                self.len = self.len.saturating_sub(1);
            }
        }
    }

    pub(super) fn get(&self, key: &[u8], at: Revision) -> Option<&Record> {
        self.slot(self.find(key).ok()?)?.live_at(at)
    }

    /// Adds a version at the place that [`Leaf::find`] gave for its key. Says whether the key came
    /// to life or died by it.
    pub(super) fn put(&mut self, place: Result<usize, usize>, record: Record) -> Option<Change> {
        let change = Change { at: record.main(), born: !record.is_tombstone() };
        let before = match place {
            Ok(at) => {
                let slot = self.slots.get_mut(at)?.as_mut()?;
                let before = slot.stamp.is_live();
                slot.push(record);
                before
            }
            Err(at) => {
                self.insert(at, Slot::new(record));
                false
            }
        };
        (before != change.born).then_some(change)
    }

    /// The slots of `span` that are live at `at`, in key order.
    pub(super) fn live(
        &self,
        span: Range<usize>,
        at: Revision,
    ) -> impl DoubleEndedIterator<Item = &Record> {
        self.slots(span).filter_map(move |slot| slot.live_at(at))
    }

    /// How many slots of `span` are live at `at`, without touching a record if that can be helped.
    pub(super) fn count(&self, span: Range<usize>, at: Revision) -> usize {
        self.slots(span).filter(|slot| slot.is_live_at(at)).count()
    }

    /// How many slots are live at their newest version.
    pub(super) fn live_slots(&self) -> usize {
        self.slots(0..self.len).filter(|slot| slot.stamp.is_live()).count()
    }

    /// The main revision of the newest version.
    pub(super) fn newest(&self) -> Revision {
        let newest = self.slots(0..self.len).map(|slot| slot.stamp.main()).max();
        Revision::new(newest.unwrap_or(0))
    }

    /// Compacts the key in slot `place`, as [`super::index::Index::compact`] says; its slot goes
    /// when nothing is left.
    pub(super) fn compact(
        &mut self,
        place: usize,
        (upto, at): (Revision, Revision),
        dropped: &mut Vec<Record>,
    ) {
        let Some(Some(slot)) = self.slots.get_mut(place) else { return };
        if !slot.compact(upto, at, dropped) {
            // Only a tombstone leaves nothing behind, and a tombstone was not counted as live.
            self.remove(place);
        }
    }

    /// Puts `new` in the place of `old`, of which it is a copy, if that is here.
    pub(super) fn relocate(&mut self, old: &Record, new: Record) -> bool {
        let slot = self.find(old.key()).ok().and_then(|at| self.slots.get_mut(at)?.as_mut());
        slot.is_some_and(|slot| slot.relocate(old, new))
    }

    /// Cuts the leaf in two for a key that belongs at `place`: `self` keeps the first part, and
    /// what is returned begins the second. Keys that arrive in order leave full leaves behind.
    pub(super) fn split(&mut self, place: usize) -> Self {
        let middle = if place >= self.len { self.len } else { self.len / 2 };
        let mut right = Self { shared: self.shared, ..Self::new() };
        right.take(self, middle);
        right
    }

    /// Takes the slots of the next leaf to the right, which fit.
    pub(super) fn merge(&mut self, right: &mut Self) {
        self.take(right, 0);
    }

    /// Takes the slots of `other` from `from` on, which fit.
    fn take(&mut self, other: &mut Self, from: usize) {
        let taken = other.slots.get_mut(from..other.len).unwrap_or_default();
        let room = self.slots.get_mut(self.len..).unwrap_or_default();
        self.len = self.len.saturating_add(taken.len());
        other.len = from;
        for (to, from) in room.iter_mut().zip(taken) {
            *to = from.take();
        }
        self.index();
    }

    pub(super) fn first_key(&self) -> Option<&[u8]> {
        self.slot(0).map(Slot::key)
    }

    pub(super) fn last_key(&self) -> Option<&[u8]> {
        self.slot(self.len.checked_sub(1)?).map(Slot::key)
    }
}

#[cfg(any(test, fuzzing))]
#[expect(clippy::indexing_slicing, reason = "pairs have two elements")]
impl Leaf {
    /// Asserts what the fields promise, for a leaf between these fences.
    pub(super) fn verify(&self, fence: &[u8], next: Option<&[u8]>) {
        assert!(self.slots.iter().take(self.len).all(Option::is_some));
        assert!(self.slots.iter().skip(self.len).all(Option::is_none));
        let keys: Vec<_> = self.slots(0..self.len).map(Slot::key).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "keys ascend");
        assert!(keys.iter().all(|key| *key >= fence && next.is_none_or(|next| *key < next)));
        let heads: Vec<_> = keys.iter().map(|key| head(key, self.shared)).collect();
        assert_eq!(self.heads[..self.len], heads);
        assert!(heads.is_sorted(), "heads order as keys do");
        for slot in self.slots(0..self.len) {
            assert_eq!(slot.stamp.main(), slot.newest.main().get());
            assert_eq!(slot.stamp.is_live(), !slot.newest.is_tombstone());
        }
    }
    /// The last main revision at which a key came to life or died, as far as versions tell.
    pub(super) fn changed(&self) -> u64 {
        let changed = |slot: &Slot| {
            let older = slot.older.iter().flat_map(|older| &older.0);
            let (mut live, mut changed) = (false, 0);
            for record in older.chain([&slot.newest]) {
                // Of a life that a compaction has cut, the first put is not there.
                let at = match (live, record.is_tombstone()) {
                    (false, false) => record.create_revision().get(),
                    (true, true) => record.main().get(),
                    _ => 0,
                };
                (live, changed) = (!record.is_tombstone(), at.max(changed));
            }
            changed
        };
        self.slots(0..self.len).map(changed).max().unwrap_or(0)
    }
}
