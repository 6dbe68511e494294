//! A twin that does what the store does in the plainest way, and what is asked of both.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use super::record::Draft;
use super::{
    Bounds, KeyValue, Mvcc, Order, Pace, Pin, Pinned, Query, RangePage, Reader, Record, SortBy,
};
use crate::error::Result;
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
    /// So many records of what was compacted are looked at, and removed where that is due.
    Tidy(usize),
    /// A long read begins, so many tenths into the readable revisions.
    Read(u64),
    /// The long read that began first ends.
    EndRead,
}

/// A pin that is further behind than this is not waited for: few, so that some are.
const MAX_PINNED: u64 = 12;

/// How removals go on here.
fn pace(work: usize) -> Pace {
    Pace { work, max_pinned: MAX_PINNED, watched: None }
}

/// What is read of both.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Keys, by their numbers.
    pub(crate) from: u16,
    pub(crate) to: u16,
    /// So many tenths of the way from the oldest readable revision to the newest.
    pub(crate) tenths: u64,
    pub(crate) limit: usize,
    /// Every option of a query; 0 for none.
    pub(crate) dials: u32,
}

impl Look {
    /// The query whose options the dials say, of a store at `current`.
    fn query(self, range: KeyRange, at: Revision, current: Revision) -> Query {
        let mut left = self.dials;
        let mut dial = |positions: u32| {
            let position = left % positions;
            left /= positions;
            position
        };
        let sorts = [
            SortBy::Key,
            SortBy::Version,
            SortBy::CreateRevision,
            SortBy::ModRevision,
            SortBy::Value,
        ];
        let sort = sorts[dial(5) as usize];
        let order = [Order::Ascending, Order::Descending][dial(2) as usize];
        let (keys_only, count_only) = (dial(2) == 1, dial(4) == 1);
        let mut bound = || Revision::new(current.get() * u64::from(dial(3)) / 3);
        let mod_revision = Bounds { min: bound(), max: bound() };
        let create_revision = Bounds { min: bound(), max: bound() };
        let limit = self.limit;
        Query {
            at: Some(at),
            limit,
            sort,
            order,
            mod_revision,
            create_revision,
            keys_only,
            count_only,
            ..Query::new(range)
        }
    }
}

/// What a key is sorted by.
fn rank(sort: SortBy, kv: &KeyValue) -> (u64, Vec<u8>) {
    match sort {
        SortBy::Key => (0, kv.key().to_vec()),
        SortBy::Version => (kv.version(), Vec::new()),
        SortBy::CreateRevision => (kv.create_revision().get(), Vec::new()),
        SortBy::ModRevision => (kv.mod_revision().get(), Vec::new()),
        SortBy::Value => (0, kv.value().to_vec()),
    }
}

fn within(bounds: Bounds, revision: Revision) -> bool {
    let (min, max) = (bounds.min.get(), bounds.max.get());
    (min == 0 || revision.get() >= min) && (max == 0 || revision.get() <= max)
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

    /// `KV-4` to `KV-15`, one step after the other, as `KV-9` has them.
    fn query(&self, query: &Query, at: Revision) -> RangePage {
        let selected = self.range(&query.range, at.get());
        let count = selected.len() as u64;
        if query.count_only {
            return RangePage { revision: at, kvs: Vec::new(), more: false, count };
        }
        let admitted = |kv: &KeyValue| {
            within(query.mod_revision, kv.mod_revision())
                && within(query.create_revision, kv.create_revision())
        };
        let mut kvs: Vec<_> = selected.into_iter().filter(admitted).collect();
        // They are in the order of the keys, and a stable sort leaves equals in it (KV-13).
        match query.order {
            Order::Ascending => kvs.sort_by_key(|kv| rank(query.sort, kv)),
            Order::Descending => kvs.sort_by_key(|kv| Reverse(rank(query.sort, kv))),
        }
        let more = query.limit > 0 && kvs.len() > query.limit;
        if more {
            kvs.truncate(query.limit);
        }
        if query.keys_only {
            kvs = kvs.into_iter().map(KeyValue::keys_only).collect();
        }
        RangePage { revision: at, kvs, more, count }
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
    /// Long reads, and what each of them must see.
    reads: VecDeque<(Pin, Vec<KeyValue>)>,
}

impl Pair {
    pub(crate) fn new() -> Self {
        let mvcc = Mvcc::new();
        let (twin, pins, reads) = (Twin::default(), Vec::new(), VecDeque::new());
        Self { reader: mvcc.reader(), mvcc, twin, pins, reads }
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
                let at = self.readable(tenths);
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
                let (stats, before) = (self.mvcc.stats(), old.stats());
                assert_eq!((stats.keys, stats.versions), (before.keys, pinned.len()), "DM-18");
                // What is below was kept for them in the old content.
                let compacted = self.mvcc.compacted().unwrap_or_default();
                self.reads.retain(|(pin, _)| pin.revision() >= compacted);
            }
            Op::Tidy(work) => drop(self.mvcc.tidy(pace(work + 1))),
            Op::Read(tenths) => {
                let at = self.readable(tenths);
                let pin = self.reader.pin(Some(Revision::new(at))).unwrap();
                self.reads.push_back((pin, self.twin.range(&KeyRange::all(), at)));
            }
            Op::EndRead => drop(self.reads.pop_front()),
        }
        self.mvcc.publish();
    }

    fn readable(&self, tenths: u64) -> u64 {
        let oldest = self.mvcc.compacted().map_or(1, Revision::get);
        oldest + (self.mvcc.revision().get() - oldest) * tenths / 10
    }

    /// Compares what readers see.
    pub(crate) fn compare(&self, look: &Look) {
        let Look { from, to, tenths, limit, .. } = *look;
        let current = self.mvcc.revision();
        let at = Revision::new(self.readable(tenths));
        for range in [KeyRange::all(), KeyRange::from(key(from)..key(to)), KeyRange::key(key(to))] {
            for look in [Look { dials: 0, ..*look }, *look] {
                let query = look.query(range.clone(), at, current);
                let page = self.reader.query(&query).unwrap();
                assert_eq!(page, self.twin.query(&query, at), "{query:?}");
            }
            let wanted = self.twin.range(&range, at.get());
            let count = self.reader.count(&range, Some(at)).unwrap().1;
            assert_eq!(count, wanted.len() as u64, "KV-6");
            let pin = self.reader.pin(Some(at)).unwrap();
            assert_eq!(chunks(&pin, &range, limit + 1).unwrap(), wanted, "KV-18");
        }
        let wanted = self.twin.range(&KeyRange::key(key(to)), at.get()).pop();
        assert_eq!(self.reader.get(&key(to), Some(at)).unwrap().1, wanted);
    }

    /// Compares what an image and a hash are made of, and what long reads see (`HSH-3`).
    pub(crate) fn compare_history(&self, size: usize) {
        let (pinned, history) = (self.mvcc.pin(), self.twin.history());
        assert_same(pinned.records(), &history);
        assert_eq!(pinned.len(), history.len());
        for (pin, wanted) in &self.reads {
            let behind = self.mvcc.revision().get() - pin.revision().get();
            match chunks(pin, &KeyRange::all(), size + 1) {
                Ok(found) => assert_eq!(found, *wanted, "a pinned read is whole"),
                Err(error) => {
                    assert!(behind > MAX_PINNED, "a pin at {} was not waited for", pin.revision());
                    assert_eq!(error.compacted_revision(), self.mvcc.compacted());
                }
            }
        }
    }

    /// Compares everything that is kept, and what was pinned on the way; then removes what there
    /// is to remove and finds it gone.
    pub(crate) fn finish(&mut self) {
        self.compare_history(100);
        for (pinned, history) in &self.pins {
            assert_same(pinned.records(), history);
        }
        self.reads.clear();
        let hash = self.mvcc.pin().hash(None).unwrap();
        while self.mvcc.tidy(pace(50)) {}
        assert_eq!(self.mvcc.removed(), self.mvcc.compacted());
        assert_eq!(self.mvcc.pin().hash(None).unwrap(), hash, "HSH-3");
        let history = self.twin.history();
        assert_same(self.mvcc.pin().records(), &history);
        let stats = self.mvcc.stats();
        let bytes: usize = history.iter().map(|record| record.as_bytes().len()).sum();
        assert_eq!((stats.versions, stats.bytes), (history.len(), bytes));
        self.mvcc.index.verify();
        let live = self.twin.range(&KeyRange::all(), u64::MAX).len();
        assert_eq!(stats.keys, live);
        let newest = self.twin.versions.values().filter_map(|versions| versions.last());
        let newest = newest.filter(|record| !record.is_tombstone());
        let live: usize = newest.map(|record| record.as_bytes().len()).sum();
        assert_eq!(self.mvcc.history_bytes(), (bytes - live) as u64);
    }
}

fn chunks(pin: &Pin, range: &KeyRange, size: usize) -> Result<Vec<KeyValue>> {
    let mut all: Vec<KeyValue> = Vec::new();
    loop {
        let after = all.last().map(|kv| kv.key().to_vec());
        let chunk = pin.chunk(range, after.as_deref(), size)?;
        let done = chunk.len() < size;
        all.extend(chunk);
        if done {
            return Ok(all);
        }
    }
}
