//! What a cache holds, and how that is kept up to date.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::mem;
use std::ops::Bound;
use std::task::Waker;

use super::tell::{CacheChange, Callback, News, Telling};
use crate::core::mvcc::{Event, EventKind, KeyValue};
use crate::error::Result;
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::service::watch::{Listing, WatchEnd, Watcher};

/// What is behind the lock.
pub(super) struct State {
    watcher: Watcher,
    kvs: BTreeSet<Entry>,
    /// Everything up to here is in `kvs`, and nothing from behind it.
    revision: Revision,
    /// The revision of the last change, or of the listing in which it was found.
    newest: Revision,
    pub(super) telling: Telling,
}

/// Found by its key: it has that, so none is kept beside it.
struct Entry(KeyValue);

/// Which keys.
pub(super) type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Where a range begins and ends, if it can have keys.
pub(super) fn bounds(range: &KeyRange) -> Option<Bounds<'_>> {
    let start = range.start();
    if range.single().is_some() {
        return Some((Bound::Included(start), Bound::Included(start)));
    }
    match range.end() {
        Some(end) => (start < end).then_some((Bound::Included(start), Bound::Excluded(end))),
        None => Some((Bound::Included(start), Bound::Unbounded)),
    }
}

impl State {
    pub(super) fn new(listing: Listing) -> Self {
        let Listing { header, kvs, watcher } = listing;
        Self {
            watcher,
            kvs: kvs.into_iter().map(Entry).collect(),
            revision: header.revision,
            newest: header.revision,
            telling: Telling::default(),
        }
    }

    pub(super) fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn newest(&self) -> Revision {
        self.newest
    }

    pub(super) fn len(&self) -> usize {
        self.kvs.len()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<&KeyValue> {
        self.kvs.get(key).map(|entry| &entry.0)
    }

    pub(super) fn range(&self, bounds: Bounds<'_>) -> Vec<KeyValue> {
        self.kvs.range::<[u8], _>(bounds).map(|entry| entry.0.clone()).collect()
    }

    /// A callback that is told what is there, and then what comes.
    pub(super) fn join(&mut self, callback: Callback) {
        let kvs = self.kvs.iter().map(|entry| entry.0.clone()).collect();
        self.telling.push(News::Callback(callback, kvs));
    }

    /// Takes in everything that has happened. `waker` is called when there is more.
    pub(super) fn pull(&mut self, waker: &Waker) -> Result<()> {
        loop {
            match self.watcher.pull_marked(Some(waker)) {
                Ok(Some(batch)) => batch.into_iter().for_each(|event| self.apply(&event)),
                Ok(None) => break,
                Err(WatchEnd::Compacted(_)) => self.relist()?,
                Err(end) => return Err(end.into()),
            }
        }
        let next = self.watcher.next_revision().get();
        self.revision = Revision::new(next.saturating_sub(1));
        Ok(())
    }

    fn apply(&mut self, event: &Event) {
        let revision = event.revision();
        match event.kind() {
            EventKind::Put => self.put(event.kv().clone(), revision),
            EventKind::Delete => {
                if let Some(Entry(prev)) = self.kvs.take(event.key()) {
                    self.note(CacheChange::Delete { prev, revision }, revision);
                }
            }
        }
    }

    fn put(&mut self, kv: KeyValue, revision: Revision) {
        let prev = self.kvs.replace(Entry(kv.clone())).map(|entry| entry.0);
        self.note(CacheChange::Put { kv, prev }, revision);
    }

    fn note(&mut self, change: CacheChange, revision: Revision) {
        self.newest = revision;
        if self.telling.is_wanted() {
            self.telling.push(News::Change(change));
        }
    }

    /// Some of what comes next is compacted: takes in what holds now instead. It is read here, as
    /// the events would have been, so that nobody has to be asked.
    fn relist(&mut self) -> Result<()> {
        let mut watcher = self.watcher.again().start()?;
        let (revision, listed) = watcher.list()?;
        self.watcher = watcher;
        let mut before = mem::take(&mut self.kvs).into_iter().peekable();
        let gone = |state: &mut Self, Entry(prev): Entry| {
            state.note(CacheChange::Delete { prev, revision }, revision);
        };
        for kv in listed {
            while let Some(entry) = before.next_if(|entry| entry.0.key() < kv.key()) {
                gone(self, entry);
            }
            match before.next_if(|entry| entry.0.key() == kv.key()) {
                Some(same) if same.0.mod_revision() == kv.mod_revision() => {
                    self.kvs.insert(Entry(kv));
                }
                prev => {
                    self.kvs.insert(Entry(kv.clone()));
                    let prev = prev.map(|entry| entry.0);
                    self.note(CacheChange::Put { kv, prev }, revision);
                }
            }
        }
        for entry in before {
            gone(self, entry);
        }
        Ok(())
    }
}

impl Borrow<[u8]> for Entry {
    fn borrow(&self) -> &[u8] {
        self.0.key()
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key().cmp(other.0.key())
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Entry {}
