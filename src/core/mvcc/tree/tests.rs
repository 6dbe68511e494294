//! The tree beside a map that holds every version of every key, with enough keys that inner nodes
//! are cut and joined too.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::*;
use crate::core::mvcc::index::{Index, Span};
use crate::core::mvcc::record::{Draft, Record};
use crate::core::mvcc::tests::StopOnDrop;
use crate::core::mvcc::{Mvcc, Pace, Query};
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;

/// Enough for some inner nodes.
const KEYS: u32 = 12_000;

/// In the order of the numbers. All begin alike, most nodes have more in common than eight bytes,
/// and some keys are the beginnings of others.
fn key(number: u32) -> Vec<u8> {
    let text = format!("/registry/{:03}/{:05}", number / 700, number / 3);
    let tail: &[u8] = [b"".as_slice(), b"\0", b"\0\0behind the head"]
        .get(usize::try_from(number % 3).unwrap())
        .unwrap();
    [text.as_bytes(), tail].concat()
}

fn record(number: u32, main: u64, value: Option<u64>) -> Record {
    let (key, position) = (key(number), (Revision::new(main), number));
    let scratch = &mut Vec::new();
    let Some(create) = value else { return Record::tombstone(scratch, &key, position) };
    let (create, lease) = (Revision::new(create), LeaseId::new(0));
    Record::build(scratch, &Draft { key: &key, value: b"", position, create, version: 1, lease })
}

/// What the keys of a range are at some revision.
fn range(from: u32, to: u32) -> KeyRange {
    KeyRange::from(key(from)..key(to))
}

/// Counts what a walk is shown.
struct Shown {
    at: Revision,
    live: usize,
    leaves: usize,
}

impl Visitor for Shown {
    fn leaf(&mut self, leaf: &Leaf, slots: Range<usize>) -> ControlFlow<()> {
        self.leaves += 1;
        self.live += leaf.count(slots, self.at);
        ControlFlow::Continue(())
    }

    fn node(&mut self, count: &Count) -> bool {
        count.live_at(self.at).map(|live| self.live += live).is_some()
    }
}

fn shown(index: &Index, range: &KeyRange, at: u64) -> Shown {
    let mut shown = Shown { at: Revision::new(at), live: 0, leaves: 0 };
    assert!(index.walk(&Span::new(range), &mut shown).is_ok());
    shown
}

/// The keys of a walk, and whether each leaf it was shown had any.
fn keys(index: &Index, range: &KeyRange, order: Order, at: u64) -> Vec<Vec<u8>> {
    let mut keys = Vec::new();
    let walked =
        index.walk(&Span::ordered(range, order), &mut |leaf: &Leaf, slots: Range<usize>| {
            let from = keys.len();
            let live = leaf.live(slots, Revision::new(at));
            keys.extend(live.map(|record| record.key().to_vec()));
            if order == Order::Descending {
                keys[from..].reverse();
            }
            ControlFlow::Continue(())
        });
    assert!(walked.is_ok());
    keys
}

/// The index, and of each key its versions, oldest first: revision and, if it lives, the revision
/// that its life began with.
#[derive(Default)]
struct Pair {
    index: Index,
    versions: BTreeMap<u32, Vec<(u64, Option<u64>)>>,
    main: u64,
    compacted: u64,
}

#[derive(Clone, Debug)]
enum Op {
    /// So many keys from one on, each so far behind the one before.
    Put(u32, u32, u32),
    Delete(u32, u32, u32),
    /// So many tenths of what is left.
    Compact(u64),
}

impl Pair {
    fn new() -> Self {
        Self { main: 1, compacted: 1, ..Self::default() }
    }

    fn apply(&mut self, op: &Op) {
        let (put, numbers) = match *op {
            Op::Put(from, count, step) => (true, (from, count, step)),
            Op::Delete(from, count, step) => (false, (from, count, step)),
            Op::Compact(tenths) => return self.compact(tenths),
        };
        self.main += 1;
        let (from, count, step) = numbers;
        for number in (0..count).map(|nth| (from + nth * step) % KEYS) {
            let versions = self.versions.entry(number).or_default();
            // Each key once in a revision.
            if versions.last().is_some_and(|(main, _)| *main == self.main) {
                continue;
            }
            let create = versions.last().and_then(|(_, create)| *create);
            if put || create.is_some() {
                let create = put.then(|| create.unwrap_or(self.main));
                versions.push((self.main, create));
                self.index.insert(&record(number, self.main, create));
            }
        }
    }

    fn compact(&mut self, tenths: u64) {
        let at = self.compacted + (self.main - self.compacted) * tenths / 10;
        let touched: Vec<_> = self.versions.keys().copied().collect();
        for number in touched {
            self.index.compact(
                &key(number),
                (Revision::new(at), Revision::new(at)),
                &mut Vec::new(),
            );
        }
        self.versions.retain(|_, versions| {
            let old = versions.iter().filter(|(main, _)| *main <= at).count();
            versions.drain(..old.saturating_sub(1));
            let gone = versions.first().is_some_and(|(main, live)| *main < at && live.is_none());
            versions.drain(..usize::from(gone));
            !versions.is_empty()
        });
        self.compacted = at;
    }

    fn compare(&self, from: u32, to: u32, at: u64) {
        let live = |versions: &Vec<(u64, Option<u64>)>| {
            versions.iter().rfind(|(main, _)| *main <= at).is_some_and(|(_, live)| live.is_some())
        };
        for (from, to) in [(from, to), (0, KEYS), (from, from + 1)] {
            let numbers = if from < to { from..to } else { 0..0 };
            let wanted = self.versions.range(numbers).filter(|(_, versions)| live(versions));
            let mut wanted: Vec<_> = wanted.map(|(number, _)| key(*number)).collect();
            let range = range(from, to);
            assert_eq!(shown(&self.index, &range, at).live, wanted.len(), "at {at}");
            assert_eq!(keys(&self.index, &range, Order::Ascending, at), wanted);
            wanted.reverse();
            assert_eq!(keys(&self.index, &range, Order::Descending, at), wanted);
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    let numbers = || (0..KEYS, 0..5_000_u32, prop_oneof![Just(1), Just(KEYS - 1), 2..1000_u32]);
    prop_oneof![
        4 => numbers().prop_map(|(from, count, step)| Op::Put(from, count, step)),
        3 => numbers().prop_map(|(from, count, step)| Op::Delete(from, count, step)),
        2 => (0..=10_u64).prop_map(Op::Compact),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// KV-5, KV-6, KV-10: numbers and keys, from either end, now and in the past.
    #[test]
    fn kv_5_the_tree_counts_and_walks_as_a_map_does(
        steps in proptest::collection::vec((op(), 0..KEYS, 0..KEYS, 0..=10_u64), 1..24),
    ) {
        let mut pair = Pair::new();
        for (op, from, to, tenths) in &steps {
            pair.apply(op);
            pair.index.verify();
            let past = pair.main - pair.compacted;
            pair.compare(*from, *to, pair.compacted + past * tenths / 10);
            pair.compare(*from, *to, pair.main);
        }
    }
}

fn filled() -> Mvcc {
    let mut mvcc = Mvcc::new();
    for number in 0..KEYS {
        mvcc.begin().put(&key(number * 7 % KEYS), b"", LeaseId::new(0));
    }
    mvcc.publish();
    mvcc
}

/// KV-6: a count reads the leaves at its ends, and those that have changed since.
#[test]
fn kv_6_a_count_does_not_visit_every_leaf() {
    let mut mvcc = filled();
    let (all, part) = (KeyRange::all(), range(KEYS / 10, KEYS - KEYS / 10));
    let at = mvcc.revision().get();
    assert!(mvcc.index.verify() > 2 * INNER_CHILDREN, "there are inner nodes below the root");
    for _ in 0..2 {
        assert!(shown(&mvcc.index, &all, at).leaves <= 1);
        assert_eq!(shown(&mvcc.index, &all, at).live, 12_000);
        assert!(shown(&mvcc.index, &part, at).leaves <= 2);
        assert_eq!(shown(&mvcc.index, &part, at).live, 9_600);
        // No key comes to life by a second version.
        let mut write = mvcc.begin();
        for number in 0..KEYS {
            write.put(&key(number), b"again", LeaseId::new(0));
        }
    }
    mvcc.begin().delete(&KeyRange::key(key(5_000)));
    mvcc.begin().put(b"/registry/new", b"", LeaseId::new(0));
    // Two leaves have changed, one begins before the range.
    let (then, now) = (shown(&mvcc.index, &all, at), mvcc.revision().get());
    assert!(then.leaves <= 3 && then.live == 12_000);
    let now = shown(&mvcc.index, &all, now);
    assert!(now.leaves <= 1 && now.live == 12_000);
}

/// KV-5: what lies behind a limit is counted in the same way, from either end.
#[test]
fn kv_5_a_limit_ends_the_walk_from_either_end() {
    let mvcc = filled();
    for order in [Order::Ascending, Order::Descending] {
        let query = Query { limit: 3, order, ..Query::new(KeyRange::all()) };
        let page = mvcc.reader().query(&query).unwrap();
        let numbers =
            if order == Order::Ascending { [0, 1, 2] } else { [KEYS - 1, KEYS - 2, KEYS - 3] };
        let keys: Vec<_> = page.kvs.iter().map(|kv| kv.key().to_vec()).collect();
        assert_eq!(keys, numbers.map(key));
        assert_eq!((page.count, page.more), (12_000, true));
    }
}

/// Removes everything that was compacted.
fn remove_all(mvcc: &mut Mvcc) {
    while mvcc.tidy(Pace { work: usize::MAX, max_pinned: 0, watched: None }) {}
}

/// CMP-6: where keys go, leaves and nodes go too.
#[test]
fn cmp_6_nodes_that_empty_are_joined() {
    let mut mvcc = filled();
    let before = mvcc.index.verify();
    // One of twenty stays.
    let mut write = mvcc.begin();
    for number in (0..KEYS).filter(|number| number % 20 > 0) {
        write.delete(&KeyRange::key(key(number)));
    }
    mvcc.compact(mvcc.revision()).unwrap();
    remove_all(&mut mvcc);
    mvcc.begin().put(&key(0), b"", LeaseId::new(0));
    mvcc.compact(mvcc.revision()).unwrap();
    remove_all(&mut mvcc);
    let after = mvcc.index.verify();
    assert!(before > 200 && after < 40, "{before} leaves, then {after}");
    mvcc.begin().delete(&KeyRange::all());
    mvcc.begin().put(b"last", b"", LeaseId::new(0));
    mvcc.compact(mvcc.revision()).unwrap();
    remove_all(&mut mvcc);
    assert!(mvcc.index.verify() < 3);
    assert_eq!(shown(&mvcc.index, &KeyRange::all(), mvcc.revision().get()).live, 1);
}

/// A life for every key, so that what is live at a revision can be told beforehand: each revision
/// adds three keys and ends the lives of two.
fn changes(main: u64) -> ([u32; 3], [u32; 2]) {
    let nth = u32::try_from(main - 2).unwrap();
    let number = |nth: u32| nth * 7_001 % KEYS;
    (
        [number(nth * 3), number(nth * 3 + 1), number(nth * 3 + 2)],
        [number(nth * 2), number(nth * 2 + 1)],
    )
}

/// DM-14, KV-6: a count beside the writer is that of its revision, whatever was added and taken
/// away meanwhile, and published or not.
#[test]
#[expect(clippy::disallowed_methods, reason = "readers on other threads are what it is about")]
fn kv_6_every_count_beside_the_writer_is_of_one_revision() {
    const LAST: u64 = 3_900;
    let part = range(KEYS / 4, KEYS / 2);
    // How many are live in all, and in that part, at each revision.
    let mut wanted = vec![(0_u64, 0_u64); 2];
    for main in 2..=LAST {
        let (mut all, mut some) = wanted[wanted.len() - 1];
        let (born, died) = changes(main);
        let within = |number: &u32| part.contains(&key(*number));
        all += 1;
        some += born.iter().filter(|number| within(number)).count() as u64;
        some -= died.iter().filter(|number| within(number)).count() as u64;
        wanted.push((all, some));
    }
    let mut mvcc = Mvcc::new();
    let (stop, start) = (AtomicBool::new(false), Barrier::new(3));
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (reader, stop, start) = (mvcc.reader(), &stop, &start);
            let (wanted, part) = (&wanted, &part);
            scope.spawn(move || {
                start.wait();
                let mut reads = thread;
                while !stop.load(Relaxed) || reads < 50 {
                    reads += 1;
                    let newest = reader.revision().get();
                    let past = Revision::new(newest.saturating_sub(reads % 40).max(1));
                    let at = (!reads.is_multiple_of(3)).then_some(past);
                    // The past may have been compacted away meanwhile.
                    if let Ok((at, count)) = reader.count(&KeyRange::all(), at) {
                        assert_eq!(count, wanted[usize::try_from(at.get()).unwrap()].0, "at {at}");
                    }
                    if let Ok((at, count)) = reader.count(part, at) {
                        assert_eq!(count, wanted[usize::try_from(at.get()).unwrap()].1, "at {at}");
                    }
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        start.wait();
        for main in 2..=LAST {
            let (born, died) = changes(main);
            let mut write = mvcc.begin();
            born.iter().for_each(|number| drop(write.put(&key(*number), b"", LeaseId::new(0))));
            died.iter().for_each(|number| drop(write.delete(&KeyRange::key(key(*number)))));
            if main % 3 > 0 {
                mvcc.publish();
            }
            if main % 500 == 0 {
                mvcc.compact(Revision::new(main - 60)).unwrap();
            }
        }
        mvcc.publish();
    });
    mvcc.index.verify();
}

/// A packed copy takes the place of its record, be that the newest version or an older one.
#[test]
fn a_copy_takes_the_place_of_its_record() {
    let mut mvcc = filled();
    for number in 0..50 {
        mvcc.begin().put(&key(number), b"again", LeaseId::new(0));
        mvcc.begin().put(&key(number), b"and again", LeaseId::new(0));
    }
    mvcc.publish();
    let pinned = mvcc.pin();
    let old: Vec<_> = pinned.records().cloned().collect();
    for (old, new) in old.iter().zip(Record::pack(&old)) {
        assert!(mvcc.index.relocate(old, new.clone()), "{old:?} is in the index");
        assert!(!mvcc.index.relocate(old, new), "once");
    }
    mvcc.index.verify();
    for record in &old {
        let (_, found) = mvcc
            .index
            .read(Some(record.main()), |at| Ok(mvcc.index.get(record.key(), at)))
            .unwrap();
        let found = found.unwrap();
        assert_eq!(found.as_bytes(), record.as_bytes());
        assert!(!found.is_same(record));
    }
    let nowhere = record(KEYS, 2, Some(2));
    assert!(!mvcc.index.relocate(&nowhere, nowhere.clone()));
}
