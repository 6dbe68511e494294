//! (chapter follows)

mod hash;
mod history;
mod index;
mod leaf;
mod read;
mod record;
mod restore;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use self::history::{History, Records};
use self::index::Index;

pub(crate) use self::hash::Hash;
pub(crate) use self::read::{RangePage, Reader};
pub use self::record::KeyValue;
pub(crate) use self::record::Record;
pub(crate) use self::write::Write;

use crate::error::{Error, Result};
use crate::ids::Revision;

/// The revision of a store in which nothing has ever been written (`DM-3`).
const FIRST: Revision = Revision::new(1);

/// The writer's side of the store. There is one; it is not shared.
pub(crate) struct Mvcc {
    index: Arc<Index>,
    /// The same records as the index, by revision.
    history: History,
    /// The newest revision written, published or not. Never falls (`DM-5`).
    revision: Revision,
    /// Live keys.
    keys: usize,
    /// Records are put together here before they are allocated at their size.
    scratch: Vec<u8>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stats {
    /// Live keys.
    pub(crate) keys: usize,
    /// Records, tombstones included.
    pub(crate) versions: usize,
    /// What the records take, without the index.
    pub(crate) bytes: usize,
}

impl Mvcc {
    /// An empty store, at revision 1 and never compacted (`DM-3`).
    pub(crate) fn new() -> Self {
        let index = Arc::new(Index::default());
        index.publish(FIRST);
        let (history, scratch) = (History::default(), Vec::new());
        Self { index, history, revision: FIRST, keys: 0, scratch }
    }

    /// A reader of what is published, now and later.
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.index))
    }

    /// Begins a write transaction.
    pub(crate) fn begin(&mut self) -> Write<'_> {
        Write::new(self)
    }

    /// The newest revision written, published or not.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that can be read, if there has been a compaction.
    pub(crate) fn compacted(&self) -> Option<Revision> {
        self.index.compacted()
    }

    /// Makes everything written so far readable.
    pub(crate) fn publish(&mut self) {
        self.index.publish(self.revision);
    }

    /// How much there is.
    pub(crate) fn stats(&self) -> Stats {
        let (versions, bytes) = (self.history.versions(), self.history.bytes());
        Stats { keys: self.keys, versions, bytes }
    }

    /// Forgets what no read at `at` or later can see (`CMP-1`, `CMP-4`).
    ///
    /// Publishes first: readers must never be left without a revision that they may read.
    pub(crate) fn compact(&mut self, at: Revision) -> Result<()> {
        let before = self.compacted();
        if let Some(compacted) = before.filter(|compacted| at <= *compacted) {
            return Err(Error::compacted(at, compacted));
        }
        if at > self.revision {
            return Err(Error::future_revision(at, self.revision));
        }
        self.publish();
        self.index.set_compacted(Some(at));

        // Up to the compaction before, every key has one version left at most; so what can go now
        // belongs to a key that has changed since, or was deleted exactly there (`CMP-5`).
        let mut dropped = Vec::new();
        for record in self.history.between(before.unwrap_or_default(), at) {
            self.index.compact(record.key(), at, &mut dropped);
        }
        dropped.sort_unstable_by_key(Record::position);
        self.history.remove(&dropped);
        Ok(())
    }

    /// Holds the history as it is now: for an image or a hash, on any thread, while writes go on.
    pub(crate) fn pin(&self) -> Pinned {
        Pinned { records: self.history.pin(), revision: self.revision, compacted: self.compacted() }
    }

    /// Puts the content of `other` in the place of this one's, for all readers at once: each of
    /// their reads is of the old content or of the new (`DM-14`).
    ///
    /// Returns the old content, so that the caller chooses where to free it: that takes a while.
    pub(crate) fn replace(&mut self, other: Self) -> Self {
        let mut old = other;
        self.index.swap(&old.index);
        std::mem::swap(&mut self.index, &mut old.index);
        std::mem::swap(self, &mut old);
        old
    }
}

impl Default for Mvcc {
    fn default() -> Self {
        Self::new()
    }
}

/// The history as it was at some moment.
#[derive(Clone)]
pub(crate) struct Pinned {
    records: Records,
    revision: Revision,
    compacted: Option<Revision>,
}

impl Pinned {
    /// The newest revision held.
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// The oldest revision that can be read, if there has been a compaction.
    pub(crate) fn compacted(&self) -> Option<Revision> {
        self.compacted
    }

    /// How many records there are.
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// The records, by position.
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.records.iter()
    }

    /// The same, for whoever wants to keep the iterator.
    pub(crate) fn into_records(self) -> impl Iterator<Item = Record> + Send + 'static {
        self.records.into_iter()
    }
}
