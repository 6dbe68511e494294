//! The entries in memory, in blocks.
//!
//! ```text
//!   blocks    [41 .. 1023]  [1024 .. 2047]  [2048 .. 2100]      all with one index / 1,024
//! ```
//!
//! Behind a snapshot half a million entries may go at once, and to free one takes a third of a
//! microsecond: in a turn, all callers would wait for 150 ms. Cut from a list of blocks they are
//! one piece, which whoever has the time can free; and a log that grows moves none of them.

use std::collections::VecDeque;

use crate::entry::Entry;

/// Entries in a full block.
const BLOCK_ENTRIES: u64 = 1_024;

/// Entries without a gap, ascending by index.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Tail {
    /// None is empty. Those of one block, and of no other, have the same `index / BLOCK_ENTRIES`.
    blocks: VecDeque<Vec<Entry>>,
}

impl Tail {
    fn first(&self) -> Option<&Entry> {
        self.blocks.front().and_then(|block| block.first())
    }

    pub(crate) fn last(&self) -> Option<&Entry> {
        self.blocks.back().and_then(|block| block.last())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(crate) fn get(&self, index: u64) -> Option<&Entry> {
        self.from(index).next().filter(|entry| entry.index.get() == index)
    }

    /// The entries at and behind an index.
    pub(crate) fn from(&self, index: u64) -> impl DoubleEndedIterator<Item = &Entry> {
        let first = self.first().map_or(0, |entry| entry.index.get());
        let before = (index / BLOCK_ENTRIES).saturating_sub(first / BLOCK_ENTRIES);
        let before = usize::try_from(before).unwrap_or(usize::MAX).min(self.blocks.len());
        let blocks = self.blocks.range(before..).map(Vec::as_slice);
        blocks.flat_map(move |block| block.get(below(block, index)..).unwrap_or_default())
    }

    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.from(0)
    }

    /// Adds one behind the last.
    pub(super) fn push(&mut self, entry: Entry) {
        let number = |entry: &Entry| entry.index.get() / BLOCK_ENTRIES;
        let same = self.last().is_some_and(|last| number(last) == number(&entry));
        match self.blocks.back_mut().filter(|_| same) {
            Some(block) => block.push(entry),
            None => self.blocks.push_back(vec![entry]),
        }
    }

    /// Drops the entries at and behind an index.
    pub(super) fn truncate(&mut self, index: u64) {
        while let Some(block) = self.blocks.back_mut() {
            let keep = below(block, index);
            if keep > 0 {
                return block.truncate(keep);
            }
            self.blocks.pop_back();
        }
    }

    /// Frees some. Says whether there were any.
    pub(crate) fn free_some(&mut self) -> bool {
        self.blocks.pop_front().is_some()
    }

    /// Takes out the entries before an index, without touching more than a block of them.
    pub(super) fn take_before(&mut self, index: u64) -> Self {
        let mut blocks = VecDeque::new();
        while let Some(block) = self.blocks.front_mut() {
            let gone = below(block, index);
            if gone < block.len() {
                if gone > 0 {
                    let kept = block.split_off(gone);
                    blocks.push_back(std::mem::replace(block, kept));
                }
                break;
            }
            blocks.extend(self.blocks.pop_front());
        }
        Self { blocks }
    }
}

impl FromIterator<Entry> for Tail {
    fn from_iter<T: IntoIterator<Item = Entry>>(entries: T) -> Self {
        let mut tail = Self::default();
        entries.into_iter().for_each(|entry| tail.push(entry));
        tail
    }
}

/// How many entries of a block are before an index.
fn below(block: &[Entry], index: u64) -> usize {
    let first = block.first().map_or(index, |entry| entry.index.get());
    usize::try_from(index.saturating_sub(first)).unwrap_or(usize::MAX).min(block.len())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::entry::EntryKind;
    use crate::ids::{Index, Term};

    fn entry(index: u64) -> Entry {
        let (index, term) = (Index::new(index), Term::new(1));
        Entry { index, term, kind: EntryKind::Normal, data: bytes::Bytes::new() }
    }

    fn indexes<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<u64> {
        entries.map(|entry| entry.index.get()).collect()
    }

    proptest! {
        #[test]
        fn is_a_row_of_entries_without_the_blocks(
            first in 1..3_000_u64, len in 0..4_000_u64, cuts: [prop::sample::Index; 3],
        ) {
            let end = first + len;
            let mut tail: Tail = (first..end).map(entry).collect();
            let [cut, drop, look] = cuts.map(|cut| cut.index(8_000) as u64);
            tail.truncate(cut);
            let end = end.min(cut).max(first);
            let gone = tail.take_before(drop);
            let begin = drop.clamp(first, end);
            prop_assert_eq!(indexes(gone.iter()), (first..begin).collect::<Vec<_>>());
            prop_assert_eq!(indexes(tail.iter()), (begin..end).collect::<Vec<_>>());
            let behind: Vec<u64> = (look.clamp(begin, end)..end).collect();
            prop_assert_eq!(indexes(tail.from(look)), behind.clone());
            let back: Vec<u64> = behind.into_iter().rev().collect();
            prop_assert_eq!(indexes(tail.from(look).rev()), back);
            let found = tail.get(look).map(|entry| entry.index.get());
            prop_assert_eq!(found, (begin..end).contains(&look).then_some(look));
            prop_assert_eq!(tail.is_empty(), begin == end);
            let ends = [tail.first(), tail.last()].map(|it| it.map(|entry| entry.index.get()));
            let expected = (begin < end).then(|| [begin, end - 1]);
            prop_assert_eq!(ends, expected.map_or([None; 2], |ends| ends.map(Some)));
        }
    }
}
