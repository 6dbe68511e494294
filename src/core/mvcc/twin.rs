//! A twin that does what the store does in the plainest way, and what is asked of both.

use std::collections::BTreeMap;

use super::record::Draft;
use super::{KeyValue, Mvcc, Order, Pinned, Query, Reader, Record};
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;

/// Keys that make the index work: long shared beginnings, short keys, keys that differ only in
/// trailing zero bytes or only behind the bytes that a leaf compares as a number.
pub(super) fn key(number: u16) -> Vec<u8> {
    let text = format!("{:03}", number / 5);
    match number % 5 {
        0 => text.into_bytes(),
        1 => format!("directory/of/jobs/{text}").into_bytes(),
        2 => format!("directory/of/jobs/{text}\0\0").into_bytes(),
        3 => format!("directory/{text}/a long way behind").into_bytes(),
        _ => number.to_be_bytes().to_vec(),
    }
}

/// The numbers that stand for a key lie below.
pub(crate) const KEYS: u16 = 900;

/// What is done to both.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Put(u16, u8),
    /// Many puts in one transaction: leaves split.
    PutMany(u16, u16),
    Delete(u16, u16),
    /// So many tenths of the readable revisions are compacted away: leaves empty and join.
    Compact(u64),
    Pin,
    Restore,
}

/// Everything as lists of records, searched from end to end.
#[derive(Default)]
struct Twin {
    versions: BTreeMap<Vec<u8>, Vec<Record>>,
}

impl Twin {
    fn live_at(versions: &[Record], at: u64) -> Option<&Record> {
        let seen = versions.iter().rfind(|record| record.main().get() <= at)?;
        (!seen.is_tombstone()).then_some(seen)
    }

    fn put(&mut self, key: &[u8], value: &[u8], main: u64, sub: u32) -> Option<KeyValue> {
        let versions = self.versions.entry(key.to_vec()).or_default();
        let before = Self::live_at(versions, main).cloned();
        let position = (Revision::new(main), sub);
        let (create, version) = match &before {
            Some(before) => (before.create_revision(), before.version() + 1),
            None => (position.0, 1),
        };
        let lease = LeaseId::new(u64::from(sub));
        let draft = Draft { key, value, position, create, version, lease };
        versions.push(Record::build(&mut Vec::new(), &draft));
        before.map(KeyValue::new)
    }

    fn delete(&mut self, range: &KeyRange, main: u64) -> Vec<KeyValue> {
        let mut deleted = Vec::new();
        for (key, versions) in self.versions.iter_mut().filter(|(key, _)| range.contains(key)) {
            let Some(before) = Self::live_at(versions, main).cloned() else { continue };
            let position = (Revision::new(main), u32::try_from(deleted.len()).unwrap());
            versions.push(Record::tombstone(&mut Vec::new(), key, position));
            deleted.push(KeyValue::new(before));
        }
        deleted
    }

    fn range(&self, range: &KeyRange, at: u64) -> Vec<KeyValue> {
        let versions = self.versions.iter().filter(|(key, _)| range.contains(key));
        versions.filter_map(|(_, all)| Self::live_at(all, at)).cloned().map(KeyValue::new).collect()
    }

    /// `CMP-4`, `CMP-5`, `CMP-6`, as they are written.
    fn compact(&mut self, at: u64) {
        self.versions.retain(|_, versions| {
            let last = versions.iter().rfind(|record| record.main().get() <= at).cloned();
            versions.retain(|record| {
                let newest = last.as_ref().is_some_and(|last| last.position() == record.position());
                let main = record.main().get();
                main > at || (newest && (!record.is_tombstone() || main == at))
            });
            !versions.is_empty()
        });
    }

    fn history(&self) -> Vec<Record> {
        let mut all: Vec<_> = self.versions.values().flatten().cloned().collect();
        all.sort_by_key(Record::position);
        all
    }
}

fn assert_same<'a>(found: impl Iterator<Item = &'a Record>, wanted: &[Record]) {
    let found: Vec<_> = found.map(Record::as_bytes).collect();
    let wanted: Vec<_> = wanted.iter().map(Record::as_bytes).collect();
    assert_eq!(found, wanted);
}

/// The store, its twin, and what was pinned on the way.
pub(crate) struct Pair {
    mvcc: Mvcc,
    reader: Reader,
    twin: Twin,
    pins: Vec<(Pinned, Vec<Record>)>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let mvcc = Mvcc::new();
        Self { reader: mvcc.reader(), mvcc, twin: Twin::default(), pins: Vec::new() }
    }

    pub(crate) fn apply(&mut self, op: &Op) {
        let main = self.mvcc.revision().get() + 1;
        match *op {
            Op::Put(number, value) => {
                let found = self.mvcc.begin().put(&key(number), &[value], LeaseId::new(0));
                assert_eq!(found, self.twin.put(&key(number), &[value], main, 0));
            }
            Op::PutMany(from, count) => {
                let mut write = self.mvcc.begin();
                for sub in 0..u32::from(count) {
                    let key = key((from + u16::try_from(sub).unwrap() * 7) % KEYS);
                    let found = write.put(&key, b"many", LeaseId::new(u64::from(sub)));
                    assert_eq!(found, self.twin.put(&key, b"many", main, sub));
                }
                let changed = u64::from(count > 0);
                assert_eq!(write.finish().get(), main - 1 + changed, "DM-4");
            }
            Op::Delete(from, to) => {
                let range = KeyRange::from(key(from)..key(to));
                let mut write = self.mvcc.begin();
                let found = write.delete(&range);
                assert_eq!(found, self.twin.delete(&range, main));
                assert_eq!(write.finish().get(), main - u64::from(found.is_empty()), "KV-52");
            }
            Op::Compact(tenths) => {
                let oldest = self.mvcc.compacted().map_or(1, Revision::get);
                let at = oldest + (self.mvcc.revision().get() - oldest) * tenths / 10;
                let again = self.mvcc.compacted().is_some_and(|compacted| compacted.get() == at);
                assert_eq!(self.mvcc.compact(Revision::new(at)).is_err(), again, "CMP-1");
                self.twin.compact(at);
            }
            Op::Pin => self.pins.push((self.mvcc.pin(), self.twin.history())),
            Op::Restore => {
                let pinned = self.mvcc.pin();
                let stored: Vec<_> = pinned.records().map(|r| r.as_bytes().to_vec()).collect();
                let records = stored.iter().map(|bytes| Ok(Record::from_bytes(bytes).unwrap()));
                let restored = Mvcc::restore(pinned.compacted(), pinned.revision(), records);
                let old = self.mvcc.replace(restored.unwrap());
                assert_eq!(self.mvcc.stats(), old.stats());
            }
        }
        self.mvcc.publish();
    }

    /// Compares what readers see, of some range, at some revision, with some limit.
    pub(crate) fn compare(&self, from: u16, to: u16, tenths: u64, limit: usize) {
        let oldest = self.mvcc.compacted().map_or(1, Revision::get);
        let at = oldest + (self.mvcc.revision().get() - oldest) * tenths / 10;
        let revision = Some(Revision::new(at));
        for range in [KeyRange::all(), KeyRange::from(key(from)..key(to)), KeyRange::key(key(to))] {
            let wanted = self.twin.range(&range, at);
            let page = self
                .reader
                .query(&Query { at: revision, limit, ..Query::new(range.clone()) })
                .unwrap();
            let shown = if limit == 0 { wanted.len() } else { limit.min(wanted.len()) };
            assert_eq!(page.kvs, wanted[..shown]);
            assert_eq!(page.more, shown < wanted.len(), "KV-4");
            assert_eq!(page.count, wanted.len() as u64, "KV-5");
            let order = Order::Descending;
            let query = Query { at: revision, limit, order, ..Query::new(range.clone()) };
            let page = self.reader.query(&query).unwrap();
            assert!(page.kvs.iter().eq(wanted.iter().rev().take(shown)), "KV-10");
            assert_eq!((page.more, page.count), (shown < wanted.len(), wanted.len() as u64));
            assert_eq!(self.reader.count(&range, revision).unwrap().1, page.count, "KV-6");
            assert_eq!(chunks(&self.reader, &range, at, limit + 1), wanted, "KV-18");
        }
        let wanted = self.twin.range(&KeyRange::key(key(to)), at).pop();
        assert_eq!(self.reader.get(&key(to), revision).unwrap().1, wanted);
    }

    /// Compares everything that is kept, and what was pinned on the way.
    pub(crate) fn finish(&self) {
        assert_same(self.mvcc.pin().records(), &self.twin.history());
        for (pinned, history) in &self.pins {
            assert_same(pinned.records(), history);
        }
        self.mvcc.index.verify();
        let live = self.twin.range(&KeyRange::all(), u64::MAX).len();
        assert_eq!(self.mvcc.stats().keys, live);
    }
}

fn chunks(reader: &Reader, range: &KeyRange, at: u64, size: usize) -> Vec<KeyValue> {
    let mut all: Vec<KeyValue> = Vec::new();
    loop {
        let after = all.last().map(|kv| kv.key().to_vec());
        let chunk = reader.chunk(range, Revision::new(at), after.as_deref(), size).unwrap();
        let done = chunk.len() < size;
        all.extend(chunk);
        if done {
            return all;
        }
    }
}
