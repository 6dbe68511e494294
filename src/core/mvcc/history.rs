//! All records by revision: what images, hashes and late watchers read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::record::{Position, Record};

/// Records in a full block. Pinning costs one reference per block and the tail's records.
const BLOCK_RECORDS: usize = 1024;

/// A block looks for a neighbour to join whenever it has lost so many records: a look is cheap,
/// but not for nothing.
const LOOK_EVERY: usize = BLOCK_RECORDS / 8;

/// Records of a block that are laid out anew at a time: each costs a microsecond or three, and
/// writes wait for all of them. Together they fill some pieces of memory.
const LAY_OUT_RECORDS: usize = 64;

/// A full block. Shared with whoever has pinned it; a removal copies what is shared.
#[derive(Clone)]
pub(super) struct Block {
    /// Ascending by position.
    records: Vec<Record>,
    /// How many records there were when their memory was last laid out. Those that went since
    /// have left holes there which the allocator cannot give back.
    laid_out: usize,
}

impl Block {
    fn new(records: Vec<Record>) -> Self {
        Self { laid_out: records.len(), records }
    }
}

/// What a removal cost, and what is to be done about it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Removed {
    /// A block had to be copied, which is some ten times as dear as all else.
    pub(super) copied: bool,
    /// The block of this name has more holes than records: see [`History::lay_out`].
    pub(super) sparse: Option<Position>,
}

/// What [`History::lay_out`] has done.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LaidOut {
    /// How many records it looked at.
    pub(super) looked: usize,
    /// Where to go on. `None`: the block is done, or there is none of that name.
    pub(super) next: Option<Position>,
}

/// What [`History::find_holes`] has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    /// How many blocks it looked at.
    pub(super) looked: usize,
    /// The last of them, if that has holes.
    pub(super) found: Option<Position>,
    /// Where to look next. `None`: there was nothing to look at.
    pub(super) next: Option<Position>,
}

/// The records, ascending by position (`DM-2`): full blocks, then the tail that still grows.
#[derive(Default)]
pub(super) struct History {
    /// By a position that is after the block before and not after the block's first record. It
    /// stays when that record is removed.
    blocks: BTreeMap<Position, Arc<Block>>,
    tail: Vec<Record>,
    versions: usize,
    bytes: usize,
}

impl History {
    /// Adds the newest record. Its position is after all others.
    pub(super) fn push(&mut self, record: Record) {
        self.versions = self.versions.saturating_add(1);
        self.bytes = self.bytes.saturating_add(record.as_bytes().len());
        self.tail.push(record);
        if self.tail.len() >= BLOCK_RECORDS {
            let block = std::mem::replace(&mut self.tail, Vec::with_capacity(BLOCK_RECORDS));
            if let Some(first) = block.first().map(Record::position) {
                self.blocks.insert(first, Arc::new(Block::new(block)));
            }
        }
    }

    /// How many records there are, and what they take, without the index.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.versions, self.bytes)
    }

    /// Records from `first` on, at most `max` and perhaps fewer: none only if there are none. They
    /// are as they are now, whatever is removed later, and need the history no more.
    pub(super) fn piece(&self, first: Position, max: usize) -> Piece {
        let home = self.home(first).unwrap_or(first);
        let behind = |records: &[Record]| records.partition_point(|it| it.position() < first);
        for block in self.blocks.range(home..).map(|(_, block)| block) {
            let begin = behind(&block.records);
            let end = begin.saturating_add(max).min(block.records.len());
            if begin < end {
                return Piece::Block(Arc::clone(block), begin..end);
            }
        }
        let tail = self.tail.get(behind(&self.tail)..).unwrap_or_default();
        Piece::Tail(tail.iter().take(max).cloned().collect())
    }

    /// The records from `first` on.
    pub(super) fn since(&self, first: Position) -> impl Iterator<Item = &Record> {
        let home = self.home(first).unwrap_or(first);
        let blocks = self.blocks.range(home..).map(|(_, block)| block.records.as_slice());
        blocks.chain(std::iter::once(self.tail.as_slice())).flat_map(move |records| {
            let before = records.partition_point(|record| record.position() < first);
            records.get(before..).unwrap_or_default()
        })
    }

    /// The name of the block that has the position, if the tail does not.
    fn home(&self, position: Position) -> Option<Position> {
        if self.tail.first().is_some_and(|first| first.position() <= position) {
            return None;
        }
        self.blocks.range(..=position).next_back().map(|(name, _)| *name)
    }

    /// Removes a record that is in here, at the price of one block.
    pub(super) fn remove(&mut self, record: &Record) -> Removed {
        let Some(name) = self.home(record.position()) else {
            let taken = take(&mut self.tail, record);
            self.forget(record, taken);
            return Removed::default();
        };
        let Some(block) = self.blocks.get_mut(&name) else { return Removed::default() };
        let shared = Arc::get_mut(block).is_none();
        let block = Arc::make_mut(block);
        let taken = take(&mut block.records, record);
        let left = block.records.len();
        if left.saturating_mul(2) <= block.records.capacity() {
            block.records.shrink_to_fit();
        }
        let sparse = left > 0 && left.saturating_mul(2) <= block.laid_out;
        self.forget(record, taken);
        // Only what was there can have made the block smaller, so nothing is looked at twice.
        if taken && left.is_multiple_of(LOOK_EVERY) && !sparse {
            let copied = self.join(name, left);
            return Removed { copied: shared || copied, sparse: None };
        }
        Removed { copied: shared, sparse: sparse.then_some(name) }
    }

    /// Lays some records of a block out anew, from `from` on and side by side, so that the memory
    /// of those that went is in one piece. `move_there` moves the same record elsewhere, from where
    /// it was to where it is, and says whether it could; the others stay.
    pub(super) fn lay_out(
        &mut self,
        name: Position,
        from: Position,
        move_there: impl Fn(&Record, Record) -> bool,
    ) -> LaidOut {
        let Some(block) = self.blocks.get_mut(&name) else { return LaidOut::default() };
        let block = Arc::make_mut(block);
        let begin = block.records.partition_point(|record| record.position() < from);
        let end = begin.saturating_add(LAY_OUT_RECORDS).min(block.records.len());
        let records = block.records.get_mut(begin..end).unwrap_or_default();
        let packed = Record::pack(records);
        for (old, new) in records.iter_mut().zip(packed) {
            if move_there(old, new.clone()) {
                *old = new;
            }
        }
        let looked = records.len();
        let next = block.records.get(end).map(Record::position);
        if next.is_none() {
            block.laid_out = block.records.len();
        }
        LaidOut { looked, next }
    }

    /// Joins a block to a neighbour if both fit into one.
    pub(super) fn join_small(&mut self, name: Position) {
        if let Some(len) = self.blocks.get(&name).map(|block| block.records.len()) {
            self.join(name, len);
        }
    }

    /// Looks at blocks from `from` on, until one has a hole for every eight records or more.
    pub(super) fn find_holes(&self, from: Position, looks: usize) -> Look {
        let mut look = Look::default();
        for (name, block) in self.blocks.range(from..).take(looks) {
            look.looked = look.looked.saturating_add(1);
            look.next = Some((name.0, name.1.saturating_add(1)));
            let holes = block.laid_out.saturating_sub(block.records.len());
            if holes.saturating_mul(8) >= block.laid_out {
                look.found = Some(*name);
                break;
            }
        }
        look
    }

    fn forget(&mut self, record: &Record, taken: bool) {
        if taken {
            self.versions = self.versions.saturating_sub(1);
            self.bytes = self.bytes.saturating_sub(record.as_bytes().len());
        }
    }

    /// Joins a block that has become small to a neighbour where both fit into one. Says whether
    /// that copied a block.
    fn join(&mut self, name: Position, len: usize) -> bool {
        if len == 0 {
            self.blocks.remove(&name);
            return false;
        }
        let fits = |other: &Block| other.records.len().saturating_add(len) <= BLOCK_RECORDS;
        let before = self.blocks.range(..name).next_back().filter(|(_, block)| fits(block));
        let pair = before.map(|(before, _)| (*before, name)).or_else(|| {
            let (after, _) = self.blocks.range(name..).nth(1).filter(|(_, block)| fits(block))?;
            Some((name, *after))
        });
        let Some((left, right)) = pair else { return false };
        let Some(right) = self.blocks.remove(&right) else { return false };
        let Some(left) = self.blocks.get_mut(&left) else { return false };
        let (left, right) = (Arc::make_mut(left), Arc::unwrap_or_clone(right));
        left.records.extend(right.records);
        left.laid_out = left.laid_out.saturating_add(right.laid_out);
        true
    }

    pub(super) fn pin(&self) -> Records {
        Records { blocks: self.blocks.values().cloned().collect(), tail: self.tail.clone() }
    }
}

/// Some records in a row.
pub(super) enum Piece {
    Block(Arc<Block>, Range<usize>),
    Tail(Vec<Record>),
}

impl Piece {
    pub(super) fn records(&self) -> &[Record] {
        match self {
            Self::Block(block, span) => block.records.get(span.clone()).unwrap_or_default(),
            Self::Tail(records) => records,
        }
    }
}

/// Takes a record out, if it is there. Found by identity, without fetching those that stay from
/// memory.
fn take(records: &mut Vec<Record>, record: &Record) -> bool {
    let place = records.iter().position(|other| other.is_same(record));
    place.map(|place| records.remove(place)).is_some()
}

/// The history as it was at some moment.
#[derive(Clone)]
pub(super) struct Records {
    blocks: Vec<Arc<Block>>,
    tail: Vec<Record>,
}

impl Records {
    pub(super) fn len(&self) -> usize {
        let sealed: usize = self.blocks.iter().map(|block| block.records.len()).sum();
        sealed.saturating_add(self.tail.len())
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.blocks.iter().flat_map(|block| &block.records).chain(&self.tail)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::core::mvcc::record::Draft;
    use crate::ids::{LeaseId, Revision};

    fn record(main: u64) -> Record {
        let (create, lease) = (Revision::new(main), LeaseId::new(0));
        let draft =
            Draft { key: b"k", value: b"v", position: (create, 0), create, version: 1, lease };
        Record::build(&mut Vec::new(), &draft)
    }

    /// CMP-8: writes wait for no more than so many.
    #[test]
    fn cmp_8_a_block_is_laid_out_anew_some_records_at_a_time() {
        let mut history = History::default();
        (2..2 + BLOCK_RECORDS as u64).map(record).for_each(|record| history.push(record));
        let before: Vec<Record> = history.since(Position::default()).cloned().collect();
        let (name, moved) = (before[0].position(), RefCell::new(Vec::new()));
        let mut next = Some(Position::default());
        while let Some(from) = next {
            let had = moved.borrow().len();
            // Every third is not where it was any more.
            let laid_out = history.lay_out(name, from, |old, _| {
                moved.borrow_mut().push(old.clone());
                old.main().get() % 3 > 0
            });
            assert_eq!(laid_out.looked, moved.borrow().len() - had);
            assert!((1..=LAY_OUT_RECORDS).contains(&laid_out.looked), "{laid_out:?}");
            next = laid_out.next;
        }
        let once = moved.borrow().iter().zip(&before).all(|(moved, old)| moved.is_same(old));
        assert!(once && moved.borrow().len() == before.len(), "each of them once");
        for (old, new) in before.iter().zip(history.since(Position::default())) {
            assert_eq!(old.as_bytes(), new.as_bytes());
            assert_eq!(old.is_same(new), old.main().get() % 3 == 0);
        }
        assert_eq!(
            history.lay_out((Revision::new(1), 0), (Revision::new(1), 0), |_, _| true).looked,
            0
        );
    }
}
