//! Keys, their versions, and the history of both.
//!
//! # Revisions
//!
//! The store is one ordered map from keys to values that forgets nothing until it is told to.
//! There is one counter for all of it, the *revision*: every write transaction that changes
//! something takes the next one, and each change inside the transaction gets the next place
//! under it, from 0 (`DM-2`). Replicas agree because they apply the same commands in the same
//! order, and nothing else goes into this counter: no clock, no chance, no thread.
//!
//! A change writes a *record*: the key, its value, and where it stands in the key's life. Nothing
//! is changed in place, so whoever names a revision names a state that stays as it is:
//!
//! ```text
//!   call                          revision   record (main,sub)
//!   put a=1                           2      (2,0) a=1 create 2 version 1
//!   put a=2                           3      (3,0) a=2 create 2 version 2
//!   put b=x, put c=y, delete a        4      (4,0) b=x   (4,1) c=y   (4,2) a deleted
//!   delete zz (not there)             4      none: nothing has changed (DM-4)
//!   put a=3                           5      (5,0) a=3 create 5 version 1
//!
//!   revision    1      2      3      4      5
//!   a           .      1 ──── 2      †      3      a life from put to tombstone: a generation
//!   b           .      .      .      x ──── x
//!   c           .      .      .      y ──── y
//! ```
//!
//! Read a column and you have the state at that revision: of each key the last record at or
//! before it, and nothing if that is a tombstone (`DM-10`). A put after a tombstone begins a new
//! *generation*, with a new create revision, and counts its versions from 1 again (`DM-7`).
//!
//! # Two orders of the same records
//!
//! ```text
//!   index, by key (index.rs, tree.rs, leaf.rs)    history, by revision (history.rs)
//!
//!   fences     ""           "d"                    block    (2,0) (3,0) (4,0) ..   1,024 records
//!   live        3            8                     block    ..                     1,024 records
//!               |            |                     tail     (5,0)
//!   leaves   [a b c]      [d .. k]
//!             |
//!             +- newest (5,0), older (2,0) (3,0) (4,2)
//! ```
//!
//! Both point to the same bytes of a record (`record.rs`). The index answers reads, and knows how
//! many keys live below each of its nodes, so that it need not look at what is only counted. The
//! history answers "what happened since", and is what images and hashes are made of: a pin of it
//! costs one reference per block, and then needs nothing of the writer.
//!
//! # One writer, many readers
//!
//! [`Mvcc`] belongs to one thread at a time. A [`Reader`] is cloned to any thread, and reads at a
//! *published* revision: it sees records at or before it, and what the writer adds meanwhile is
//! after it. So a read of many leaves, one by one, is one snapshot, though the writer never
//! stops. Three things could break that, and each is caught:
//!
//! - A *compaction* removes records that the read still needs. It raises the compacted revision
//!   before it removes anything, and every read looks at that bound again when it is done: then
//!   it fails (`KV-2`), or, if it was to read the newest state, starts again. A read that is longer
//!   than a call *pins* its revision first, and what it needs stays (`pins.rs`).
//! - A *split or join* moves slots between leaves. A read remembers the key it has come to, not
//!   the leaf.
//! - A *replacement* (a snapshot from the leader) exchanges everything. It raises the epoch of
//!   the tree; a read that sees two epochs starts again.
//!
//! # Compaction
//!
//! Compacting at R forgets what no read at R or later can see: of each key, all records before
//! its last one at or before R (`CMP-4`). If that one is a tombstone it goes too, and with it the
//! generation; unless it is exactly at R, so that a watcher from R on still learns of it
//! (`CMP-5`). In the example, compacting at 4 leaves b, c, `(4,2) a deleted` and `(5,0)`.
//!
//! What can be read changes at once. The records go later, in slices of some hundred microseconds,
//! while writes go on between them (`compact.rs`). How far that has come is each member's own
//! affair: no read, no image and no hash shows it.
//!
//! Only keys that have changed since the compaction before can have anything to forget. So the
//! work is measured by the changes, not by the keys, and the history says which they are.
//!
//! # Invariants
//!
//! - Index and history hold the same records; per key and over all, positions ascend (`DM-2`).
//! - Every record at or before the published revision is in the index before it is published, and
//!   compacted ≤ published ≤ revision. All three never fall (`DM-5`).
//! - At or before the revision up to which everything was removed each key has at most one record,
//!   and a tombstone only exactly there. Of an image that is the compacted revision, and a restore
//!   refuses records that say otherwise.
//!
//! # What is not done
//!
//! - The lock of the tree is one word that all readers count themselves in. Beside some dozens of
//!   cores that word, not the leaves, will be what they wait for.
//! - There is no lease table here yet: a record only names its lease (`KV-32`).
//! - A range in another order than that of keys, or with filters, collects everything first.
//! - A restore puts keys in one by one, in the order of the history. Sorting them first and
//!   building whole leaves would be faster.

mod changes;
mod compact;
mod count;
mod fences;
mod hash;
mod history;
mod index;
mod key_value;
mod leaf;
mod pinned;
mod pins;
mod query;
mod read;
mod record;
mod restore;
#[cfg(test)]
pub(crate) mod script;
#[cfg(test)]
mod tests;
mod tree;
#[cfg(any(test, fuzzing))]
#[expect(clippy::indexing_slicing, clippy::unwrap_used, reason = "says by a panic what differs")]
pub(crate) mod twin;
mod view;
mod write;

use std::sync::Arc;

use self::compact::Removal;
use self::index::{Index, Span};

pub(crate) use self::changes::{Changed, Changes, Filter};
pub use self::changes::{Event, EventKind};
pub(crate) use self::compact::Pace;
pub use self::key_value::KeyValue;
pub(crate) use self::pinned::Pinned;
pub(crate) use self::pins::Pin;
pub(crate) use self::query::{Bounds, Query, RangePage};
pub use self::query::{Order, SortBy};
pub(crate) use self::read::Reader;
pub(crate) use self::record::{Position, Record};
pub(crate) use self::view::{Blind, View};
pub(crate) use self::write::Write;

use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;

/// The revision of a store in which nothing has ever been written (`DM-3`).
const FIRST: Revision = Revision::new(1);

/// The writer's side of the store. There is one; it is not shared.
pub(crate) struct Mvcc {
    index: Arc<Index>,
    /// The newest revision written, published or not. Never falls (`DM-5`).
    revision: Revision,
    /// Live keys.
    keys: usize,
    /// Bytes of all records that were overwritten or deleted here so far, tombstones included,
    /// removed or not. Never falls.
    superseded: u64,
    /// Bytes of the records of live keys that are their newest.
    live_bytes: usize,
    /// How far what was compacted has been removed.
    removal: Removal,
    /// Records are put together here before they are allocated at their size.
    scratch: Vec<u8>,
}

/// How much there is in memory: what was compacted counts until it has been removed here, so two
/// members may differ.
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
        Self {
            index,
            revision: FIRST,
            keys: 0,
            superseded: 0,
            live_bytes: 0,
            removal: Removal::default(),
            scratch: Vec::new(),
        }
    }

    /// A reader of what is published, now and later.
    pub(crate) fn reader(&self) -> Reader {
        Reader::new(Arc::clone(&self.index))
    }

    /// The newest state, published or not.
    pub(crate) fn view(&self) -> View<'_> {
        View::new(&self.index, self.revision, self.compacted())
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
        let (versions, bytes) = self.index.history.read().size();
        Stats { keys: self.keys, versions, bytes }
    }

    /// These records are history from now on: nothing but a read of the past needs them.
    fn supersede<'r>(&mut self, records: impl IntoIterator<Item = &'r Record>) {
        for record in records {
            let bytes = record.as_bytes().len();
            let total = self.superseded.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
            self.superseded = total;
            if !record.is_tombstone() {
                self.live_bytes = self.live_bytes.saturating_sub(bytes);
            }
        }
    }

    /// Adds the newest record, which is in the index.
    fn push(&mut self, record: Record) {
        if !record.is_tombstone() {
            self.live_bytes = self.live_bytes.saturating_add(record.as_bytes().len());
        }
        self.index.history.write().push(record);
    }

    /// Bytes of the records that nothing but a read of the past needs and that are still here,
    /// those included that are to be removed.
    pub(crate) fn history_bytes(&self) -> u64 {
        let bytes = self.index.history.read().size().1.saturating_sub(self.live_bytes);
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }

    /// Bytes of all records that were overwritten or deleted so far, tombstones included. A
    /// compaction does not lower it: the difference of two moments is what was superseded between
    /// them.
    pub(crate) fn superseded(&self) -> u64 {
        self.superseded
    }

    /// The live keys that name a lease, and which.
    pub(crate) fn leased(&self) -> Vec<(Vec<u8>, LeaseId)> {
        let all = KeyRange::all();
        // Only the writer could replace the tree.
        let live = self.index.live(&Span::new(&all), self.revision).unwrap_or_default();
        let leased = live.into_iter().filter(|record| record.lease() != LeaseId::new(0));
        leased.map(|record| (record.key().to_vec(), record.lease())).collect()
    }

    /// Holds the history as it is now: for an image or a hash, on any thread, while writes go on.
    pub(crate) fn pin(&self) -> Pinned {
        let compacted = self.compacted();
        let records = self.index.history.read().pin();
        Pinned::new(records, self.revision, compacted, self.removal.is_done(compacted))
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
