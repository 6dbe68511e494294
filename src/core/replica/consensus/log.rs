//! The log in memory, as the `raft` crate reads it.
//!
//! ```text
//!            base            entries
//!   ... 40 | 41 (term 3) |  42  43  44  45
//!            term kept       ^ first_index  ^ last_index (may not be durable yet)
//! ```
//!
//! The tail holds every entry above `base`, whether durable or not: the crate demands that what
//! a `Ready` handed out is readable at once (R1), and durability is followed elsewhere
//! (`waiting.rs`). The crate treats every error but the documented ones as a reason to panic, so
//! nothing here does I/O and nothing here fails in another way (R15).

use std::cell::Cell;

use raft::eraftpb;
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use super::conf;
use super::tail::Tail;
use crate::entry::{ConfState, Entry, EntryKind, HardState, SnapshotMark};
use crate::error::{Error, Kind};
use crate::ids::{Index, NodeId, Term};

/// What an entry weighs in a message besides its data, about.
const ENTRY_OVERHEAD_BYTES: u64 = 24;

/// Everything the crate may ask of storage.
pub(super) struct LogView {
    /// The state at boot. The crate reads it once, in `RawNode::new`, and never again.
    boot: (HardState, ConfState),
    /// The position before the first entry; its term is kept for matching.
    base: (u64, u64),
    /// From `base.0 + 1` on; terms never fall.
    entries: Tail,
    /// The newest snapshot that is durable here and may be offered to a follower.
    saved: Option<SnapshotMark>,
    /// A follower needs a snapshot that `saved` is not. A cell, because `snapshot` is `&self`.
    want: Cell<Want>,
}

/// How far the wish for a newer snapshot has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Nothing,
    /// To be reported.
    Fresh,
    /// Reported; not again before another snapshot was saved.
    Reported,
}

impl LogView {
    /// The entries must be contiguous from `mark.index + 1`.
    pub(super) fn new(mark: SnapshotMark, hard_state: HardState, entries: Vec<Entry>) -> Self {
        Self {
            base: (mark.index.get(), mark.term.get()),
            boot: (hard_state, mark.conf),
            entries: entries.into_iter().collect(),
            saved: None,
            want: Cell::new(Want::Nothing),
        }
    }

    pub(super) fn first(&self) -> u64 {
        self.base.0.saturating_add(1)
    }

    pub(super) fn last(&self) -> u64 {
        self.entries.last().map_or(self.base.0, |entry| entry.index.get())
    }

    /// Takes the entries of a `Ready`: the first replaces whatever stood at its index and after.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), Error> {
        let Some(first) = entries.first() else { return Ok(()) };
        let first = first.index.get();
        if first <= self.base.0 || first > self.last().saturating_add(1) {
            return Err(Error::new(
                Kind::Halted,
                format!(
                    "entries from {first} do not continue the log, which spans {} to {}",
                    self.first(),
                    self.last()
                ),
            ));
        }
        self.entries.truncate(first);
        entries.iter().for_each(|entry| self.entries.push(entry.clone()));
        Ok(())
    }

    /// A snapshot replaces the whole log, which is given back: there may be much to free.
    pub(super) fn install(&mut self, mark: &SnapshotMark) -> Tail {
        self.base = (mark.index.get(), mark.term.get());
        std::mem::take(&mut self.entries)
    }

    /// Takes out entries up to and including `upto`; keeps the term of the last of them. The
    /// caller keeps R10.
    pub(super) fn compact(&mut self, upto: u64) -> Tail {
        let upto = upto.min(self.last());
        let term = self.term_of(upto).filter(|_| upto > self.base.0);
        let Some(term) = term else { return Tail::default() };
        self.base = (upto, term);
        self.entries.take_before(upto.saturating_add(1))
    }

    /// The position before the first entry, and the entries.
    #[cfg(feature = "sim")]
    pub(super) fn held(&self) -> ((Index, Term), &Tail) {
        ((Index::new(self.base.0), Term::new(self.base.1)), &self.entries)
    }

    /// The term at `index`, if it is still (or already) known.
    fn term_of(&self, index: u64) -> Option<u64> {
        if index == self.base.0 {
            return Some(self.base.1);
        }
        self.entries.get(index).map(|entry| entry.term.get())
    }

    /// A snapshot is durable and may be offered.
    pub(super) fn saved(&mut self, mark: SnapshotMark) {
        if self.saved.as_ref().is_none_or(|old| old.index <= mark.index) {
            self.saved = Some(mark);
        }
        self.want.set(Want::Nothing);
    }

    /// Whether a newer snapshot is wanted and nobody was told yet.
    pub(super) fn take_want(&mut self) -> bool {
        let fresh = self.want.get() == Want::Fresh;
        if fresh {
            self.want.set(Want::Reported);
        }
        fresh
    }

    /// A wish of an earlier leadership is void; a new leader asks anew.
    pub(super) fn forget_want(&mut self) {
        self.want.set(Want::Nothing);
    }

    /// Whether the saved snapshot would bring `to` to where the log here continues, with a
    /// configuration that `to` is part of: without itself in it, a member ignores the snapshot,
    /// and it would be sent for ever (raft-notes 4.1).
    fn usable(&self, mark: &SnapshotMark, request: u64, to: NodeId) -> bool {
        mark.index.get() >= self.base.0.max(request).max(1) && conf::contains(&mark.conf, to)
    }
}

impl Storage for LogView {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let (hard_state, conf_state) = &self.boot;
        let hard_state = eraftpb::HardState {
            term: hard_state.term.get(),
            vote: hard_state.vote.get(),
            commit: hard_state.commit.get(),
            ..Default::default()
        };
        Ok(RaftState { hard_state, conf_state: conf::to_raft(conf_state) })
    }

    /// Clones are cheap: an entry's data is a share of one buffer.
    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<eraftpb::Entry>> {
        if low < self.first() {
            return Err(StorageError::Compacted.into());
        }
        if high > self.last().saturating_add(1) {
            return Err(StorageError::Unavailable.into());
        }
        let take = usize::try_from(high.saturating_sub(low)).unwrap_or(usize::MAX);
        let mut left = max_size.into().unwrap_or(u64::MAX);
        let mut out = Vec::new();
        for entry in self.entries.from(low).take(take) {
            let bytes = ENTRY_OVERHEAD_BYTES.saturating_add(entry.data.len() as u64);
            // One entry always goes, or the crate would ask for ever.
            if bytes > left && !out.is_empty() {
                break;
            }
            left = left.saturating_sub(bytes);
            out.push(to_raft(entry));
        }
        Ok(out)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        match self.term_of(index) {
            Some(term) => Ok(term),
            None if index < self.base.0 => Err(StorageError::Compacted.into()),
            None => Err(StorageError::Unavailable.into()),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.first())
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// Called for every heartbeat answer and proposal while a follower is behind the log, so it
    /// only looks, and asks once.
    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<eraftpb::Snapshot> {
        let mark = self.saved.as_ref();
        if let Some(mark) = mark.filter(|m| self.usable(m, request_index, NodeId::new(to))) {
            return Ok(snapshot_of(mark));
        }
        if self.want.get() == Want::Nothing {
            self.want.set(Want::Fresh);
        }
        Err(StorageError::SnapshotTemporarilyUnavailable.into())
    }
}

/// The crate's form of a mark. `data` stays empty: the image travels on its own way.
pub(super) fn snapshot_of(mark: &SnapshotMark) -> eraftpb::Snapshot {
    let mut metadata = eraftpb::SnapshotMetadata {
        index: mark.index.get(),
        term: mark.term.get(),
        ..Default::default()
    };
    metadata.set_conf_state(conf::to_raft(&mark.conf));
    let mut snapshot = eraftpb::Snapshot::default();
    snapshot.set_metadata(metadata);
    snapshot
}

/// Our form of the crate's snapshot.
pub(super) fn mark_of(snapshot: &eraftpb::Snapshot) -> SnapshotMark {
    let metadata = snapshot.get_metadata();
    SnapshotMark {
        index: Index::new(metadata.index),
        term: Term::new(metadata.term),
        conf: conf::from_raft(metadata.get_conf_state()),
    }
}

/// The crate's form of an entry.
pub(super) fn to_raft(entry: &Entry) -> eraftpb::Entry {
    eraftpb::Entry {
        entry_type: match entry.kind {
            EntryKind::Normal => eraftpb::EntryType::EntryNormal,
            EntryKind::ConfChange => eraftpb::EntryType::EntryConfChangeV2,
        },
        term: entry.term.get(),
        index: entry.index.get(),
        data: entry.data.clone(),
        ..Default::default()
    }
}

/// Our form of the crate's entry. The first version of conf changes is never proposed and is
/// refused on the wire, so every conf change here is of the second.
pub(super) fn from_raft(entry: eraftpb::Entry) -> Entry {
    Entry {
        index: Index::new(entry.index),
        term: Term::new(entry.term),
        kind: match entry.entry_type {
            eraftpb::EntryType::EntryNormal => EntryKind::Normal,
            _ => EntryKind::ConfChange,
        },
        data: entry.data,
    }
}
