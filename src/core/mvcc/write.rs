//! One write transaction.

use super::index::Span;
use super::record::{Draft, Record};
use super::{KeyValue, Mvcc, View};
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;
use crate::planted::{Bug, mood, planted};

/// A write transaction: any number of changes that share one main revision (`DM-2`).
///
/// There is no way back: whoever compares does so before the first change. Readers see nothing of
/// it before [`Mvcc::publish`]. Ending it is all [`Write::finish`] does, so one that is dropped
/// counts as finished.
pub(crate) struct Write<'a> {
    mvcc: &'a mut Mvcc,
    /// The revision of this transaction's changes.
    main: Revision,
    /// The place of the next change among them; 0 before the first.
    sub: u32,
}

impl<'a> Write<'a> {
    pub(super) fn new(mvcc: &'a mut Mvcc) -> Self {
        let main = mvcc.revision.next();
        Self { mvcc, main, sub: 0 }
    }

    /// Puts a key, always as a new version (`KV-30`), and returns the one before (`KV-33`).
    pub(crate) fn put(&mut self, key: &[u8], value: &[u8], lease: LeaseId) -> Option<KeyValue> {
        if self.sub > 0 && planted(Bug::SplitTxn) {
            (self.main, self.sub) = (self.main.next(), 0);
        }
        let position = (self.main, self.sub);
        let value = if planted(Bug::ApplyByMood) { &mood(value) } else { value };
        let scratch = &mut self.mvcc.scratch;
        let (record, before) = self.mvcc.index.update(key, |before| {
            // A live key goes on with its life, any other begins one (`DM-7`).
            let (create, version) = match before {
                Some(before) => (before.create_revision(), before.version().saturating_add(1)),
                None => (position.0, 1),
            };
            Record::build(scratch, &Draft { key, value, position, create, version, lease })
        });
        self.mvcc.supersede(before.as_ref());
        self.changed(record);
        if before.is_none() {
            self.mvcc.keys = self.mvcc.keys.saturating_add(1);
        }
        before.map(KeyValue::new)
    }

    /// Deletes the live keys of `range` in key order and returns what they were (`KV-50`,
    /// `KV-51`). Deleting nothing changes nothing (`KV-52`).
    pub(crate) fn delete(&mut self, range: &KeyRange) -> Vec<KeyValue> {
        let found = match range.single() {
            Some(key) => self.mvcc.index.get(key, self.main).into_iter().collect(),
            // Only this transaction could replace the tree.
            None => self.mvcc.index.live(&Span::new(range), self.main).unwrap_or_default(),
        };
        for before in &found {
            let position = (self.main, self.sub);
            let tombstone = Record::tombstone(&mut self.mvcc.scratch, before.key(), position);
            self.mvcc.index.insert(&tombstone);
            self.mvcc.supersede([before, &tombstone]);
            self.changed(tombstone);
        }
        if found.is_empty() && planted(Bug::CountEmptyDelete) {
            self.mvcc.revision = self.main;
        }
        self.mvcc.keys = self.mvcc.keys.saturating_sub(found.len());
        found.into_iter().map(KeyValue::new).collect()
    }

    /// The revision that reads inside the transaction see: one more once something has changed
    /// (`DM-15`).
    pub(crate) fn revision(&self) -> Revision {
        self.mvcc.revision
    }

    /// The state with this transaction's own changes so far (`DM-15`).
    pub(crate) fn view(&self) -> View<'_> {
        self.mvcc.view()
    }

    /// Ends the transaction. Returns its revision, or the one before if nothing has changed
    /// (`DM-4`).
    pub(crate) fn finish(self) -> Revision {
        self.mvcc.revision
    }

    fn changed(&mut self, record: Record) {
        self.mvcc.push(record);
        self.mvcc.revision = self.main;
        // A transaction of four thousand million changes does not fit into memory.
        self.sub = self.sub.saturating_add(1);
    }
}
