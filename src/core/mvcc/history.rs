//! All records by revision: what images, hashes and late watchers read.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record::{Position, Record};

/// Records in a full block. Pinning costs one reference per block and the tail's records.
const BLOCK_RECORDS: usize = 1024;

/// A block looks for a neighbour to join whenever it has lost so many records: a look is cheap,
/// but not for nothing.
const LOOK_EVERY: usize = BLOCK_RECORDS / 8;

/// A full block, ascending by position. Shared with whoever has pinned it; a removal copies what
/// is shared.
type Block = Arc<Vec<Record>>;

/// The records, ascending by position (`DM-2`): full blocks, then the tail that still grows.
#[derive(Default)]
pub(super) struct History {
    /// By a position that is after the block before and not after the block's first record. It
    /// stays when that record is removed.
    blocks: BTreeMap<Position, Block>,
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
                self.blocks.insert(first, Arc::new(block));
            }
        }
    }

    /// How many records there are.
    pub(super) fn versions(&self) -> usize {
        self.versions
    }

    /// What the records take, without the index.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The records from `first` on.
    pub(super) fn since(&self, first: Position) -> impl Iterator<Item = &Record> {
        let home = self.home(first).unwrap_or(first);
        let blocks = self.blocks.range(home..).map(|(_, block)| block.as_slice());
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

    /// Removes a record that is in here, at the price of one block. Says whether a block had to be
    /// copied for it, which is some ten times as dear.
    pub(super) fn remove(&mut self, record: &Record) -> bool {
        let Some(name) = self.home(record.position()) else {
            let taken = take(&mut self.tail, record);
            self.forget(record, taken);
            return false;
        };
        let Some(block) = self.blocks.get_mut(&name) else { return false };
        let shared = Arc::get_mut(block).is_none();
        let records = Arc::make_mut(block);
        let taken = take(records, record);
        let left = records.len();
        if left.saturating_mul(2) <= records.capacity() {
            records.shrink_to_fit();
        }
        self.forget(record, taken);
        // Only what was there can have made the block smaller, so nothing is looked at twice.
        let joined = taken && left.is_multiple_of(LOOK_EVERY) && self.join(name, left);
        shared || joined
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
        let fits = |other: &Block| other.len().saturating_add(len) <= BLOCK_RECORDS;
        let before = self.blocks.range(..name).next_back().filter(|(_, block)| fits(block));
        let pair = before.map(|(before, _)| (*before, name)).or_else(|| {
            let (after, _) = self.blocks.range(name..).nth(1).filter(|(_, block)| fits(block))?;
            Some((name, *after))
        });
        let Some((left, right)) = pair else { return false };
        let Some(right) = self.blocks.remove(&right) else { return false };
        let Some(left) = self.blocks.get_mut(&left) else { return false };
        Arc::make_mut(left).extend(Arc::unwrap_or_clone(right));
        true
    }

    pub(super) fn pin(&self) -> Records {
        Records { blocks: self.blocks.values().cloned().collect(), tail: self.tail.clone() }
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
    blocks: Vec<Block>,
    tail: Vec<Record>,
}

impl Records {
    pub(super) fn len(&self) -> usize {
        let sealed: usize = self.blocks.iter().map(|block| block.len()).sum();
        sealed.saturating_add(self.tail.len())
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Record> {
        self.blocks.iter().flat_map(|block| block.iter()).chain(&self.tail)
    }
}
