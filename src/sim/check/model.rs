//! What the store is meant to be: one object, one call at a time.
//!
//! It is written to be seen through, not to be fast: every key has the list of its versions, and
//! nothing is ever forgotten, not even by a compaction, which only says how far back one may look.

#[cfg(any(test, fuzzing))]
mod kept;
mod page;
mod transact;

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;

#[cfg(any(test, fuzzing))]
pub(crate) use self::kept::Kept;
pub(crate) use self::page::{is_plain, page_doubt};
use crate::core::machine::txn::{Delete, Put};
use crate::error::WriteOutcome;
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::sim::history::{Answer, Kv, Op, Why};

/// The whole store. A new one is at revision 1, empty and never compacted (`DM-3`, `INV-2`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Model {
    revision: Revision,
    compacted: Option<Revision>,
    /// Of each key its versions, ascending by revision. No list is empty.
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// Every change ever made, in order: what [`Model::go_back`] takes away.
    changes: Vec<(Revision, Bytes)>,
}

/// A key from one revision on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) revision: Revision,
    /// `None`: deleted.
    pub(crate) live: Option<Live>,
}

/// A key that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Live {
    pub(crate) create: Revision,
    pub(crate) version: u64,
    pub(crate) value: Bytes,
}

/// Which key an answer is wrong about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// This one.
    Key(Bytes),
    /// Nobody can say: a count or a mark is wrong. Any key that the call selects may be the cause.
    Some,
}

impl Default for Model {
    fn default() -> Self {
        let revision = Revision::new(1);
        Self { revision, compacted: None, keys: BTreeMap::new(), changes: Vec::new() }
    }
}

impl Model {
    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    /// Does what is asked, and says what a client must be told.
    pub(crate) fn apply(&mut self, op: &Op) -> Answer {
        match op {
            Op::Put(put) => match self.can_put(put) {
                Ok(()) => self.put(put, self.revision.next()),
                Err(why) => refused(why),
            },
            Op::Delete(delete) => self.delete(delete, self.revision.next()),
            Op::Txn { txn, .. } => self.transact(txn),
            Op::Compact { revision } => match self.compact(*revision) {
                Ok(()) => Answer::Compacted { revision: self.revision },
                Err(why) => refused(why),
            },
            Op::Get { .. } | Op::Range { .. } => self.read(op),
        }
    }

    /// No lease exists yet (`KV-31`). What is to be kept must be there (`KV-34`, `KV-35`, `KV-38`).
    fn can_put(&self, put: &Put) -> Result<(), Why> {
        if put.lease.get() > 0 {
            return Err(Why::Other);
        }
        let keeps = put.ignore_value || put.ignore_lease;
        let missing = keeps && self.get(&put.key, self.revision).is_none();
        if missing { Err(Why::KeyNotFound) } else { Ok(()) }
    }

    /// A put is always a change (`KV-30`): it goes on with the key's life, or begins one (`DM-7`).
    fn put(&mut self, put: &Put, at: Revision) -> Answer {
        let before = self.get(&put.key, self.revision);
        let (create, version) = match &before {
            Some(before) => (before.create, before.version.saturating_add(1)),
            None => (at, 1),
        };
        let kept = before.as_ref().filter(|_| put.ignore_value);
        let value = kept.map_or(&put.value, |kept| &kept.value).clone();
        self.change(&put.key, at, Some(Live { create, version, value }));
        Answer::Put { revision: self.revision, prev: before.filter(|_| put.prev) }
    }

    /// All at one revision (`KV-51`); nothing to delete is no change (`KV-52`).
    fn delete(&mut self, delete: &Delete, at: Revision) -> Answer {
        let mut prev: Vec<Kv> = self.live(&delete.range, self.revision).map(shown).collect();
        for kv in &prev {
            self.change(&kv.key, at, None);
        }
        let deleted = length(&prev);
        if !delete.prev {
            prev.clear();
        }
        Answer::Deleted { revision: self.revision, deleted, prev }
    }

    fn change(&mut self, key: &Bytes, revision: Revision, live: Option<Live>) {
        self.revision = revision;
        self.changes.push((revision, key.clone()));
        match self.keys.get_mut(key) {
            Some(versions) => versions.push(Version { revision, live }),
            None => drop(self.keys.insert(key.clone(), vec![Version { revision, live }])),
        }
    }

    /// Makes no revision (`CMP-2`), and never goes back or repeats itself (`CMP-1`).
    fn compact(&mut self, at: Revision) -> Result<(), Why> {
        if let Some(compacted) = self.compacted.filter(|compacted| at <= *compacted) {
            return Err(Why::Compacted(compacted));
        }
        if at > self.revision {
            return Err(Why::FutureRevision(self.revision));
        }
        self.compacted = Some(at);
        Ok(())
    }

    fn read(&self, op: &Op) -> Answer {
        let at = op.view().and_then(|view| view.at);
        match self.readable(at) {
            Ok(at) => self.look(op, at),
            Err(why) => refused(why),
        }
    }

    /// The revision to read (`KV-2`).
    fn readable(&self, at: Option<Revision>) -> Result<Revision, Why> {
        let at = at.unwrap_or(self.revision);
        if let Some(compacted) = self.compacted.filter(|compacted| at < *compacted) {
            return Err(Why::Compacted(compacted));
        }
        if at > self.revision { Err(Why::FutureRevision(self.revision)) } else { Ok(at) }
    }

    /// What a read sees at `at`, compacted or not. The header has the current revision (`SEL-7`).
    fn look(&self, op: &Op, at: Revision) -> Answer {
        let revision = self.revision;
        match op {
            Op::Range { query, .. } => self.page(query, at),
            Op::Get { key, .. } => Answer::Got { revision, kv: self.get(key, at) },
            Op::Put(_) | Op::Delete(_) | Op::Txn { .. } | Op::Compact { .. } => refused(Why::Other),
        }
    }

    /// Is this what a read at `at` shows? The header is not looked at. Says the same as a
    /// comparison with the answer of [`Model::look`] would, without making that answer.
    pub(crate) fn differs(&self, op: &Op, at: Revision, answer: &Answer) -> Option<Doubt> {
        match (op, answer) {
            (Op::Get { key, .. }, Answer::Got { kv, .. }) => {
                let version = self
                    .at(key, at)
                    .and_then(|version| version.live.as_ref().map(|live| (version, live)));
                let same = match (version, kv) {
                    (Some((version, live)), Some(kv)) => {
                        kv.key == key && is_shown(kv, version, live)
                    }
                    (None, None) => true,
                    _ => false,
                };
                (!same).then(|| Doubt::Key(key.clone()))
            }
            (Op::Range { query, .. }, Answer::Ranged { kvs, more, count, .. }) => {
                if !is_plain(query) {
                    let Answer::Ranged { kvs: told, more: cut, count: all, .. } =
                        self.page(query, at)
                    else {
                        return Some(Doubt::Some);
                    };
                    let same = *count == all && *more == cut;
                    return page_doubt(query, &told, kvs)
                        .or_else(|| (!same).then_some(Doubt::Some));
                }
                let room = match (query.count_only, query.limit) {
                    (true, _) => 0,
                    (false, 0) => usize::MAX,
                    (false, limit) => limit,
                };
                self.page_differs(&query.range, at, kvs, room).or_else(|| {
                    let all = self.live(&query.range, at).count();
                    let cut = !query.count_only && all > room;
                    let same = *count == u64::try_from(all).unwrap_or(u64::MAX) && *more == cut;
                    (!same).then_some(Doubt::Some)
                })
            }
            _ => Some(Doubt::Some),
        }
    }

    fn page_differs(
        &self,
        range: &KeyRange,
        at: Revision,
        kvs: &[Kv],
        room: usize,
    ) -> Option<Doubt> {
        let mut shown = kvs.iter();
        for (key, version, live) in self.live(range, at).take(room) {
            match shown.next() {
                Some(kv) if kv.key != key => return Some(Doubt::Key(key.min(&kv.key).clone())),
                Some(kv) if is_shown(kv, version, live) => {}
                _ => return Some(Doubt::Key(key.clone())),
            }
        }
        // What is shown beyond that is not there, or is one too many.
        shown
            .next()
            .map(|kv| if kvs.len() > room { Doubt::Some } else { Doubt::Key(kv.key.clone()) })
    }

    /// A key as it was at `at`, compacted or not.
    pub(crate) fn get(&self, key: &Bytes, at: Revision) -> Option<Kv> {
        let version = self.at(key, at)?;
        version.live.as_ref().map(|live| shown((key, version, live)))
    }

    /// The first key of a range that is there now.
    pub(crate) fn first_in(&self, range: &KeyRange) -> Option<Bytes> {
        self.live(range, self.revision).next().map(|(key, _, _)| key.clone())
    }

    /// The newest version of a key at or before `at` (`DM-10`).
    pub(crate) fn at(&self, key: &[u8], at: Revision) -> Option<&Version> {
        newest(self.keys.get(key)?, at)
    }

    /// The keys of a range that are there at `at`, in order (`KV-1`).
    fn live(
        &self,
        range: &KeyRange,
        at: Revision,
    ) -> impl Iterator<Item = (&Bytes, &Version, &Live)> {
        let from = (Bound::Included(range.start()), Bound::Unbounded);
        let keys = self.keys.range::<[u8], _>(from).take_while(|(key, _)| range.contains(key));
        keys.filter_map(move |(key, versions)| {
            let version = newest(versions, at)?;
            Some((key, version, version.live.as_ref()?))
        })
    }

    /// The keys that the newest revision has changed.
    pub(crate) fn changed(&self) -> impl Iterator<Item = &Bytes> {
        let now = self.revision;
        self.changes.iter().rev().take_while(move |(at, _)| *at == now).map(|(_, key)| key)
    }

    /// Undoes every change after `revision`.
    pub(crate) fn go_back(&mut self, revision: Revision) {
        while let Some((_, key)) = self.changes.pop_if(|(at, _)| *at > revision) {
            let Some(versions) = self.keys.get_mut(&key) else { continue };
            versions.pop();
            if versions.is_empty() {
                self.keys.remove(&key);
            }
        }
        self.revision = self.revision.min(revision);
    }
}

/// Mostly it is the last one that is asked for.
fn newest(versions: &[Version], at: Revision) -> Option<&Version> {
    versions.iter().rev().find(|version| version.revision <= at)
}

fn shown((key, version, live): (&Bytes, &Version, &Live)) -> Kv {
    Kv {
        key: key.clone(),
        value: live.value.clone(),
        create: live.create,
        modified: version.revision,
        version: live.version,
    }
}

fn is_shown(kv: &Kv, version: &Version, live: &Live) -> bool {
    kv.modified == version.revision
        && (kv.create, kv.version) == (live.create, live.version)
        && kv.value == live.value
}

fn refused(why: Why) -> Answer {
    Answer::Failed { outcome: WriteOutcome::NotApplied, why }
}

fn length(kvs: &[Kv]) -> u64 {
    u64::try_from(kvs.len()).unwrap_or(u64::MAX)
}
