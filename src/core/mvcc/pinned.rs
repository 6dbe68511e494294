//! The history as it was at some moment: what images and hashes are made of.
//!
//! It is the same on every member that has applied the same, wherever each of them is with removing
//! what was compacted (`HSH-3`): what a finished removal would have taken away is left out. Which
//! records those are follows from the history alone, in one pass over what is pinned, on the thread
//! that asks.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::OnceLock;

use super::Record;
use super::history::Records;
use crate::ids::Revision;

/// See the top of the file.
#[derive(Clone)]
pub(crate) struct Pinned {
    /// What there was, what was still to be removed included.
    records: Records,
    revision: Revision,
    compacted: Option<Revision>,
    /// Which of `records` do not count. Found out when somebody first asks.
    left_out: OnceLock<Places>,
}

impl Pinned {
    /// `is_clean`: nothing was left to remove.
    pub(super) fn new(
        records: Records,
        revision: Revision,
        compacted: Option<Revision>,
        is_clean: bool,
    ) -> Self {
        let left_out = OnceLock::new();
        if is_clean {
            drop(left_out.set(Places::default()));
        }
        Self { records, revision, compacted, left_out }
    }

    /// The newest revision held.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that can be read, if there has been a compaction.
    pub(crate) fn compacted(&self) -> Option<Revision> {
        self.compacted
    }

    /// How many records there are. Like [`records`](Self::records) it may go through all of them.
    pub(crate) fn len(&self) -> usize {
        self.records.len().saturating_sub(self.left_out().count)
    }

    /// The records, by position: each that is above the compacted revision, and of those below
    /// what the compaction keeps (`CMP-4`, `CMP-5`).
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        let left_out = self.left_out();
        let records = self.records.iter().zip(0..);
        records.filter(|(_, place)| !left_out.has(*place)).map(|(record, _)| record)
    }

    fn left_out(&self) -> &Places {
        self.left_out.get_or_init(|| self.find_left_out())
    }

    /// From the newest to the oldest: the first that is met of a key is what the compaction keeps,
    /// unless it is a tombstone from before.
    fn find_left_out(&self) -> Places {
        let mut places = Places::default();
        let Some(at) = self.compacted else { return places };
        let mut met = BTreeSet::new();
        let mut place = self.records.len();
        for record in self.records.iter().rev() {
            place = place.saturating_sub(1);
            if record.main() > at {
                continue;
            }
            let is_newest = met.insert(record.key());
            if !is_newest || (record.is_tombstone() && record.main() < at) {
                places.add(place);
            }
        }
        places
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revision, compacted, .. } = self;
        let mut out = f.debug_struct("Pinned");
        out.field("revision", revision).field("compacted", compacted).finish_non_exhaustive()
    }
}

/// A set of places in a list, a bit for each.
#[derive(Clone, Default)]
struct Places {
    words: Vec<u64>,
    count: usize,
}

impl Places {
    fn add(&mut self, place: usize) {
        let word = place / 64;
        if self.words.len() <= word {
            self.words.resize(word.saturating_add(1), 0);
        }
        if let Some(word) = self.words.get_mut(word) {
            *word |= 1 << (place % 64);
            self.count = self.count.saturating_add(1);
        }
    }

    fn has(&self, place: usize) -> bool {
        self.words.get(place / 64).is_some_and(|word| word >> (place % 64) & 1 == 1)
    }
}
