//! A leaf of the index: up to 64 keys in order, each with its versions.

use std::ops::Range;

use super::record::Record;
use crate::ids::Revision;
use crate::planted::{Bug, planted};

/// Keys in a leaf. More makes the index flatter, but a writer keeps readers out of one leaf for
/// as long as it takes to move this many slots.
pub(super) const LEAF_SLOTS: usize = 64;

/// So many slots a full vector grows by. Doubling would leave a third of the room unused.
const GROWTH_SLOTS: usize = LEAF_SLOTS / 8;

/// One key: its newest version at hand, the older ones behind a pointer that most keys never need.
pub(super) struct Slot {
    newest: Record,
    /// What of `newest` decides whether it is seen, copied here: a count over many keys, or a
    /// read of the current state, must not fetch every record from memory to know.
    stamp: Stamp,
    /// Ascending, all before `newest`. Boxed as a whole: 8 bytes per key instead of 24.
    older: Option<Box<Older>>,
}

struct Older(Vec<Record>);

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
        older.get(..seen)?.last().filter(|record| !record.is_tombstone())
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
        self.older.get_or_insert_with(|| Box::new(Older(Vec::new()))).0.push(before);
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

    /// Drops what a compaction at `at` does not keep (`CMP-4`, `CMP-5`). Returns false when
    /// nothing is left of the key (`CMP-6`).
    fn compact(&mut self, at: Revision, dropped: &mut Vec<Record>) -> bool {
        let gone = |record: &Record| record.is_tombstone() && record.main() < at;
        let newest_is_old = self.stamp.main() <= at.get();
        if let Some(older) = self.older.as_deref_mut() {
            let old = older.0.partition_point(|record| record.main() <= at);
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
            } else {
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
pub(super) struct Leaf {
    /// How many bytes the fences share. Only keys between the fences may be searched for.
    shared: usize,
    /// `heads[i]` is the head of `slots[i]`'s key; never falls from one to the next.
    heads: Vec<u64>,
    /// Ascending by key, at most [`LEAF_SLOTS`].
    slots: Vec<Slot>,
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
        Self::of(0, Vec::new())
    }

    fn of(shared: usize, slots: Vec<Slot>) -> Self {
        let mut leaf = Self { shared, heads: Vec::new(), slots };
        leaf.index();
        leaf
    }

    /// Computes anew what is derived from the slots.
    fn index(&mut self) {
        self.heads.clear();
        self.heads.extend(self.slots.iter().map(|slot| head(slot.key(), self.shared)));
    }

    /// Tells the leaf what its fences share now.
    pub(super) fn set_shared(&mut self, shared: usize) {
        if self.shared != shared {
            self.shared = shared;
            self.index();
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.slots.len() >= LEAF_SLOTS
    }

    /// Where `key` is, or where it belongs. It must lie between the leaf's fences.
    pub(super) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let head = head(key, self.shared);
        let from = self.heads.partition_point(|&other| other < head);
        let alike = self.heads.iter().skip(from).take_while(|&&other| other == head).count();
        let run = self.slots.get(from..from.saturating_add(alike)).unwrap_or_default();
        run.binary_search_by(|slot| slot.key().cmp(key))
            .map(|at| from.saturating_add(at))
            .map_err(|at| from.saturating_add(at))
    }

    pub(super) fn slot(&self, at: usize) -> Option<&Slot> {
        self.slots.get(at)
    }

    pub(super) fn get(&self, key: &[u8], at: Revision) -> Option<&Record> {
        self.slots.get(self.find(key).ok()?)?.live_at(at)
    }

    /// Adds a version at the place that [`Leaf::find`] gave for its key. Says whether the key came
    /// to life or died by it.
    pub(super) fn put(&mut self, place: Result<usize, usize>, record: Record) -> Option<Change> {
        let change = Change { at: record.main(), born: !record.is_tombstone() };
        let before = match place {
            Ok(at) => {
                let slot = self.slots.get_mut(at)?;
                let before = slot.stamp.is_live();
                slot.push(record);
                before
            }
            Err(at) => {
                let at = at.min(self.slots.len());
                self.grow();
                self.heads.insert(at, head(record.key(), self.shared));
                self.slots.insert(at, Slot::new(record));
                false
            }
        };
        (before != change.born).then_some(change)
    }

    /// Makes room for one more slot.
    fn grow(&mut self) {
        if self.slots.len() == self.slots.capacity() {
            self.slots.reserve_exact(GROWTH_SLOTS);
            self.heads.reserve_exact(GROWTH_SLOTS);
        }
    }

    /// The slots of `span` that are live at `at`, in key order.
    pub(super) fn live(
        &self,
        span: Range<usize>,
        at: Revision,
    ) -> impl DoubleEndedIterator<Item = &Record> {
        let slots = self.slots.get(span).unwrap_or_default();
        slots.iter().filter_map(move |slot| slot.live_at(at))
    }

    /// How many slots of `span` are live at `at`, without touching a record if that can be helped.
    pub(super) fn count(&self, span: Range<usize>, at: Revision) -> usize {
        let slots = self.slots.get(span).unwrap_or_default();
        slots.iter().filter(|slot| slot.is_live_at(at)).count()
    }

    /// How many slots are live at their newest version.
    pub(super) fn live_slots(&self) -> usize {
        self.slots.iter().filter(|slot| slot.stamp.is_live()).count()
    }

    /// The main revision of the newest version.
    pub(super) fn newest(&self) -> Revision {
        let newest = self.slots.iter().map(|slot| slot.stamp.main()).max();
        Revision::new(newest.unwrap_or(0))
    }

    /// Compacts the key in slot `place`; its slot goes when nothing is left.
    pub(super) fn compact(&mut self, place: usize, at: Revision, dropped: &mut Vec<Record>) {
        let Some(slot) = self.slots.get_mut(place) else { return };
        if !slot.compact(at, dropped) {
            // Only a tombstone leaves nothing behind, and a tombstone was not counted as live.
            self.heads.remove(place);
            self.slots.remove(place);
        }
    }

    /// Puts `new` in the place of `old`, of which it is a copy, if that is here.
    pub(super) fn relocate(&mut self, old: &Record, new: Record) -> bool {
        let slot = self.find(old.key()).ok().and_then(|at| self.slots.get_mut(at));
        slot.is_some_and(|slot| slot.relocate(old, new))
    }

    /// Cuts the leaf in two for a key that belongs at `place`: `self` keeps the first part, and
    /// what is returned begins the second. Keys that arrive in order leave full leaves behind.
    pub(super) fn split(&mut self, place: usize) -> Self {
        let len = self.slots.len();
        let middle = if place >= len { len } else { len / 2 };
        let right = Self::of(self.shared, self.slots.split_off(middle));
        self.fit();
        self.index();
        right
    }

    /// Takes the slots of the next leaf to the right.
    pub(super) fn merge(&mut self, right: Self) {
        self.slots.reserve_exact(right.slots.len());
        self.slots.extend(right.slots);
        self.fit();
        self.index();
    }

    /// Gives back the room that is not needed soon. What is left is new memory, so that a leaf of
    /// which a compaction has left little does not stay in the middle of what it has freed.
    fn fit(&mut self) {
        let room = self.slots.len().saturating_add(GROWTH_SLOTS);
        self.slots.shrink_to(room);
        self.heads = Vec::with_capacity(room);
    }

    pub(super) fn first_key(&self) -> Option<&[u8]> {
        self.slots.first().map(Slot::key)
    }

    pub(super) fn last_key(&self) -> Option<&[u8]> {
        self.slots.last().map(Slot::key)
    }
}

#[cfg(any(test, fuzzing))]
#[expect(clippy::indexing_slicing, reason = "pairs have two elements")]
impl Leaf {
    /// Asserts what the fields promise, for a leaf between these fences.
    pub(super) fn verify(&self, fence: &[u8], next: Option<&[u8]>) {
        assert!(self.slots.len() <= LEAF_SLOTS);
        let keys: Vec<_> = self.slots.iter().map(Slot::key).collect();
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]), "keys ascend");
        assert!(keys.iter().all(|key| *key >= fence && next.is_none_or(|next| *key < next)));
        let heads: Vec<_> = keys.iter().map(|key| head(key, self.shared)).collect();
        assert_eq!(self.heads, heads);
        assert!(heads.is_sorted(), "heads order as keys do");
        for slot in &self.slots {
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
        self.slots.iter().map(changed).max().unwrap_or(0)
    }
}
