//! All records by revision: what images, hashes and late watchers read.

use std::sync::Arc;

use super::record::{Position, Record};
use crate::ids::Revision;

/// Records in a full block. Pinning costs one reference per block and the tail's records.
const BLOCK_RECORDS: usize = 1024;

/// A full block. Shared with whoever has pinned it; a compaction copies what is shared.
#[derive(Clone)]
pub(super) struct Block {
    /// Not after the first record. Kept when that one is dropped: blocks are found by it.
    first: Position,
    /// Ascending by position.
    records: Vec<Record>,
}

/// The records, ascending by position (`DM-2`): full blocks, then the tail that still grows.
#[derive(Default)]
pub(super) struct History {
    blocks: Vec<Arc<Block>>,
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
            let records = std::mem::replace(&mut self.tail, Vec::with_capacity(BLOCK_RECORDS));
            self.seal(records);
        }
    }

    fn seal(&mut self, records: Vec<Record>) {
        if let Some(first) = records.first().map(Record::position) {
            self.blocks.push(Arc::new(Block { first, records }));
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

    /// The records from `first` to `last`, both included.
    pub(super) fn between(&self, first: Revision, last: Revision) -> impl Iterator<Item = &Record> {
        let before = self.blocks.partition_point(|block| block.first.0 < first);
        let blocks = self.blocks.get(before.saturating_sub(1)..).unwrap_or_default();
        let records = blocks.iter().flat_map(|block| &block.records).chain(&self.tail);
        records
            .skip_while(move |record| record.main() < first)
            .take_while(move |record| record.main() <= last)
    }

    /// Removes these records, which are in here, in this order.
    pub(super) fn remove(&mut self, dropped: &[Record]) {
        let gone = dropped.iter().map(|record| record.as_bytes().len()).sum();
        self.bytes = self.bytes.saturating_sub(gone);
        self.versions = self.versions.saturating_sub(dropped.len());

        let mut rest = dropped;
        let mut blocks = std::mem::take(&mut self.blocks).into_iter().peekable();
        while let Some(mut block) = blocks.next() {
            let next = blocks.peek().map(|next| next.first);
            let next = next.or_else(|| self.tail.first().map(Record::position));
            let here =
                rest.partition_point(|record| next.is_none_or(|next| record.position() < next));
            let (mine, others) = rest.split_at(here);
            rest = others;
            if !mine.is_empty() {
                retain(&mut Arc::make_mut(&mut block).records, mine);
            }
            self.keep(block);
        }
        retain(&mut self.tail, rest);
    }

    /// Puts a block that may have become small behind the others, or into the last of them.
    fn keep(&mut self, block: Arc<Block>) {
        if block.records.is_empty() {
            return;
        }
        match self.blocks.last_mut() {
            Some(last)
                if last.records.len().saturating_add(block.records.len()) <= BLOCK_RECORDS =>
            {
                Arc::make_mut(last).records.extend_from_slice(&block.records);
            }
            _ => self.blocks.push(block),
        }
    }

    pub(super) fn pin(&self) -> Records {
        Records { blocks: self.blocks.clone(), tail: self.tail.clone() }
    }
}

/// Drops the members of `dropped` from `records`. Both ascend, so one pass by identity does it,
/// without fetching the records that stay from memory.
fn retain(records: &mut Vec<Record>, dropped: &[Record]) {
    let mut dropped = dropped.iter().peekable();
    records.retain(|record| dropped.next_if(|next| next.is_same(record)).is_none());
    records.shrink_to_fit();
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

    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.blocks.iter().flat_map(|block| &block.records).chain(&self.tail)
    }
}
