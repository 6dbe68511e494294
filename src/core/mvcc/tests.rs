//! The store beside a twin that does the same in the plainest way, and beside threads.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use proptest::prelude::*;

use super::record::Draft;
use super::twin::{KEYS, Look, Op, Pair, key};
use super::*;
use crate::ids::LeaseId;
use crate::keys::KeyRange;

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0..KEYS, any::<u8>()).prop_map(|(key, value)| Op::Put(key, value)),
        3 => (0..KEYS, 0..300_u16).prop_map(|(from, count)| Op::PutMany(from, count)),
        3 => (0..KEYS, 0..KEYS).prop_map(|(from, to)| Op::Delete(from, to)),
        2 => (0..=10_u64).prop_map(Op::Compact),
        1 => Just(Op::Pin),
        1 => Just(Op::Restore),
        4 => (0..200_usize).prop_map(Op::Tidy),
        2 => (0..=10_u64).prop_map(Op::Read),
        1 => Just(Op::EndRead),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    /// DM-1, DM-2, DM-5..DM-11, DM-16, DM-18, KV-1..KV-11, KV-13..KV-15, KV-18, KV-19,
    /// KV-50..KV-53, CMP-3..CMP-6, CMP-8, CMP-10, CMP-11, HSH-3: whatever is read, an image and a
    /// hash are the same wherever a removal is.
    #[test]
    fn does_what_its_twin_does(
        steps in proptest::collection::vec(
            (op(), 0..KEYS, 0..KEYS, 0..=10_u64, 0..200_usize, any::<u32>()), 1..60,
        ),
    ) {
        let mut pair = Pair::new();
        for (op, from, to, tenths, limit, dials) in steps {
            pair.apply(&op);
            pair.compare(&Look { from, to, tenths, limit, dials });
            pair.compare_history(limit);
        }
        pair.finish();
    }
}

/// Finishes what a compaction has begun.
fn remove_all(mvcc: &mut Mvcc) {
    while mvcc.tidy(Pace { work: 100, max_pinned: 0, watched: None }) {}
}

/// CMP-7: each column of the table, straight from the whole history.
#[test]
fn cmp_7_what_survives_a_compaction_in_one_step() {
    let table: [(u64, &[(u64, u32)]); 17] = [
        (1, &[]),
        (2, &[(2, 0)]),
        (3, &[(2, 0)]),
        (4, &[(4, 0)]),
        (5, &[(4, 0)]),
        (6, &[(6, 0)]),
        (7, &[]),
        (8, &[(8, 0)]),
        (9, &[(8, 0)]),
        (10, &[(10, 0)]),
        (11, &[(10, 0)]),
        (12, &[(12, 0)]),
        (13, &[]),
        (14, &[(14, 0)]),
        (15, &[(15, 1)]),
        (16, &[(16, 0)]),
        (17, &[]),
    ];
    for (at, kept) in table {
        let mut mvcc = Mvcc::new();
        for main in 2..=17 {
            let mut write = mvcc.begin();
            match main {
                6 | 12 | 16 => drop(write.delete(&KeyRange::key("k"))),
                _ => {
                    if main % 2 == 1 {
                        write.put(b"other", b"", LeaseId::new(0));
                    }
                    if main % 2 == 0 || main == 15 {
                        write.put(b"k", b"", LeaseId::new(0));
                    }
                }
            }
        }
        mvcc.compact(Revision::new(at)).unwrap();
        remove_all(&mut mvcc);
        let pinned = mvcc.pin();
        let of_key = pinned.records().filter(|record| record.key() == b"k");
        let left = of_key.map(|record| (record.main().get(), record.position().1));
        let left: Vec<_> = left.filter(|(main, _)| *main <= at).collect();
        assert_eq!(left, kept, "compacted at {at}");
        assert_eq!(mvcc.index.newest(b"k").is_none(), at == 17, "CMP-6");
    }
}

/// DM-16: a store is not made of records that no store can have written.
#[test]
fn records_that_do_not_follow_are_refused() {
    let build = |key: &str, main, create, version| {
        let (position, lease) = ((Revision::new(main), 0), LeaseId::new(0));
        let create = Revision::new(create);
        let draft = Draft { key: key.as_bytes(), value: b"", position, create, version, lease };
        Record::build(&mut Vec::new(), &draft)
    };
    let dead = |main| Record::tombstone(&mut Vec::new(), b"a", (Revision::new(main), 0));
    let restore = |compacted: Option<u64>, revision, records: &[Record]| {
        let records = records.iter().cloned().map(Ok);
        Mvcc::restore(compacted.map(Revision::new), Revision::new(revision), records).map(drop)
    };
    restore(None, 3, &[build("a", 2, 2, 1), build("a", 3, 2, 2)]).unwrap();
    restore(Some(3), 4, &[build("a", 3, 2, 2), dead(4)]).unwrap();
    restore(Some(3), 3, &[dead(3)]).unwrap();
    let wrong: [(Option<u64>, u64, &[Record]); 12] = [
        (None, 0, &[]),
        (None, 1 << 63, &[]),
        (Some(3), 2, &[]),
        (None, 2, &[build("a", 3, 3, 1)]),
        (None, 3, &[build("a", 3, 3, 1), build("b", 2, 2, 1)]),
        (None, 3, &[build("a", 3, 3, 1), build("b", 3, 3, 1)]),
        (None, 3, &[build("a", 2, 2, 1), build("a", 3, 2, 3)]),
        (None, 3, &[build("a", 2, 2, 1), build("a", 3, 3, 1)]),
        (None, 3, &[build("a", 3, 2, 2)]),
        (None, 3, &[dead(3)]),
        (Some(3), 3, &[build("a", 2, 2, 1), build("a", 3, 2, 2)]),
        (Some(3), 3, &[dead(2)]),
    ];
    for (compacted, revision, records) in wrong {
        let refused = restore(compacted, revision, records);
        assert!(refused.is_err_and(|error| error.is_corrupt()), "{records:?}");
    }
}

/// CMP-4, CMP-11, CMP-13: blocks lose records at their ends and in the middle, and are joined.
#[test]
fn history_blocks_survive_trimming_in_any_place() {
    let mut mvcc = Mvcc::new();
    for round in 0..4_u8 {
        for number in 0..KEYS {
            mvcc.begin().put(&key(number), &[round], LeaseId::new(0));
        }
    }
    let pinned = mvcc.pin();
    let before = pinned.len();
    for at in [5, 1000, 1001, 2700, mvcc.revision().get()] {
        mvcc.compact(Revision::new(at)).unwrap();
        remove_all(&mut mvcc);
        let (stats, now) = (mvcc.stats(), mvcc.pin());
        assert!(now.records().map(Record::position).is_sorted());
        assert_eq!(now.len(), stats.versions);
    }
    assert_eq!(mvcc.stats().versions, usize::from(KEYS));
    assert_eq!(pinned.records().count(), before, "a compaction changes nothing that is pinned");
}

/// One round of the writer below: every key gets the round's number, in one revision.
fn write_round(mvcc: &mut Mvcc, round: u64, keys: u16) {
    let mut write = mvcc.begin();
    for number in 0..keys {
        write.put(&key(number), &round.to_be_bytes(), LeaseId::new(0));
    }
    // A key that comes and goes, and one more that is new: slots and leaves move.
    if write.delete(&KeyRange::key("000/volatile")).is_empty() {
        write.put(b"000/volatile", &round.to_be_bytes(), LeaseId::new(0));
    }
    write.put(&[b"directory/", &round.to_be_bytes()[..]].concat(), b"", LeaseId::new(0));
}

/// Checks one read of everything: every key's value is of the same round, and that round is the
/// revision's.
fn check_snapshot(kvs: &[KeyValue], at: Revision, keys: u16) {
    assert!(kvs.windows(2).all(|pair| pair[0].key() < pair[1].key()), "each key once, in order");
    let fixed: Vec<_> = kvs.iter().filter(|kv| kv.value().len() == 8).collect();
    for kv in &fixed {
        let round = u64::from_be_bytes(kv.value().try_into().unwrap());
        assert_eq!(round + 1, kv.mod_revision().get());
        let volatile = kv.key() == b"000/volatile";
        assert!(volatile || kv.mod_revision() == at, "{kv:?} at {at}");
    }
    let volatile = fixed.iter().filter(|kv| kv.key() == b"000/volatile").count();
    assert_eq!(volatile, usize::from(at.get().is_multiple_of(2)), "alive in every second revision");
    assert_eq!(fixed.len() - volatile, usize::from(keys), "no key is missing");
    let new = u64::try_from(kvs.len() - fixed.len()).unwrap();
    assert_eq!(new, at.get() - 1, "one new key per revision");
}

/// Ends the readers when the writer is done, also when it has failed.
pub(super) struct StopOnDrop<'a>(pub(super) &'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// DM-14, KV-18, INV-4, LIN-4: while the writer writes, compacts and is replaced, each read is of
/// one revision, whole, and no reader goes back.
#[test]
#[expect(clippy::disallowed_methods, reason = "readers on other threads are what it is about")]
fn every_read_beside_the_writer_is_one_snapshot() {
    const ROUNDS: u64 = 120;
    const KEYS: u16 = 150;
    let mut mvcc = Mvcc::new();
    write_round(&mut mvcc, 1, KEYS);
    mvcc.publish();
    let (stop, start) = (AtomicBool::new(false), Barrier::new(3));
    let replaced = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let (reader, stop, start) = (mvcc.reader(), &stop, &start);
            let replaced = &replaced;
            scope.spawn(move || {
                start.wait();
                let (mut reads, mut newest) = (0_u64, Revision::default());
                while !stop.load(Ordering::Relaxed) || reads < 20 {
                    reads += 1;
                    let in_pieces = (reads + thread).is_multiple_of(3);
                    let at = read_everything(&reader, in_pieces, KEYS, replaced);
                    assert!(at >= newest, "a reader went back from {newest} to {at}");
                    newest = at;
                }
            });
        }
        let _stop = StopOnDrop(&stop);
        start.wait();
        for round in 2..=ROUNDS {
            write_round(&mut mvcc, round, KEYS);
            mvcc.publish();
            if round % 7 == 0 {
                mvcc.compact(Revision::new(round - 2)).unwrap();
            }
            mvcc.tidy(Pace { work: 60, max_pinned: 10, watched: None });
            if round % 20 == 0 {
                let pinned = mvcc.pin();
                let (compacted, revision) = (pinned.compacted(), pinned.revision());
                let records = pinned.records().cloned().map(Ok);
                let restored = Mvcc::restore(compacted, revision, records).unwrap();
                replaced.store(revision.get(), Ordering::SeqCst);
                mvcc.replace(restored);
            }
        }
    });
    assert!(mvcc.index.verify() > 3, "the index has several leaves");
}

/// Reads all keys, at once or in pieces, and checks them. Returns the revision that was read.
/// `replaced` is where the store stood when it was last replaced.
fn read_everything(reader: &Reader, in_pieces: bool, keys: u16, replaced: &AtomicU64) -> Revision {
    let all = KeyRange::all();
    if !in_pieces {
        let page = reader.query(&Query::new(all.clone())).unwrap();
        assert_eq!(page.count, page.kvs.len() as u64);
        check_snapshot(&page.kvs, page.revision, keys);
        return page.revision;
    }
    let pin = reader.pin(None).unwrap();
    let at = pin.revision();
    let mut kvs: Vec<KeyValue> = Vec::new();
    loop {
        let after = kvs.last().map(|kv| kv.key().to_vec());
        match pin.chunk(&all, after.as_deref(), 40) {
            Ok(chunk) if chunk.is_empty() => {
                check_snapshot(&kvs, at, keys);
                return at;
            }
            Ok(chunk) => kvs.extend(chunk),
            // It was compacted, and either too far behind to be waited for, or replaced by what
            // had never held it (DUR-20).
            Err(error) => {
                assert!(error.compacted_revision().is_some_and(|compacted| compacted > at));
                let far = reader.revision().get() > at.get() + 10;
                assert!(far || replaced.load(Ordering::SeqCst) >= at.get());
                return at;
            }
        }
    }
}

/// DM-14: a read beside a replacement is of the old content or of the new, never of both.
#[test]
#[expect(clippy::disallowed_methods, reason = "readers on other threads are what it is about")]
fn a_read_beside_a_replacement_is_of_one_content() {
    let store = |value: &[u8], keys: u16| {
        let mut mvcc = Mvcc::new();
        let mut write = mvcc.begin();
        for number in 0..keys {
            write.put(&key(number), value, LeaseId::new(0));
        }
        mvcc.publish();
        mvcc
    };
    let (mut mvcc, mut other) = (store(b"old", 900), store(b"new", 600));
    let (reads, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let reader = mvcc.reader();
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let page = reader.query(&Query::new(KeyRange::all())).unwrap();
                let (value, keys) = (page.kvs[0].value(), page.kvs.len());
                assert!(page.kvs.iter().all(|kv| kv.value() == value), "values of both");
                assert_eq!(keys, if value == b"old" { 900 } else { 600 });
                reads.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _stop = StopOnDrop(&stop);
        for _ in 0..500 {
            // Somewhere in the next read but one: a read that is disturbed starts again, so it
            // is not disturbed twice.
            let before = reads.load(Ordering::Relaxed);
            while reads.load(Ordering::Relaxed) == before && !reading.is_finished() {
                std::thread::yield_now();
            }
            other = mvcc.replace(other);
        }
    });
}

/// CMP-6: where keys go, leaves go too.
#[test]
fn leaves_that_empty_are_joined() {
    let mut mvcc = Mvcc::new();
    for number in 0..KEYS {
        mvcc.begin().put(&key(number), b"", LeaseId::new(0));
    }
    let before = mvcc.index.verify();
    mvcc.begin().delete(&KeyRange::all());
    mvcc.begin().put(b"last", b"", LeaseId::new(0));
    mvcc.compact(mvcc.revision()).unwrap();
    remove_all(&mut mvcc);
    let after = mvcc.index.verify();
    assert!(before > 10 && after < 3, "{before} leaves, then {after}");
}

/// What is compacted and removed while a view is asked is noticed when it has answered: here
/// between its first question and its second.
#[test]
fn kv_2_a_view_of_the_past_is_whole_or_none() {
    let mut mvcc = Mvcc::new();
    for round in 0..2_u8 {
        for number in 0..200 {
            mvcc.begin().put(&key(number), &[round], LeaseId::new(0));
        }
    }
    mvcc.publish();
    let (reader, at) = (mvcc.reader(), Some(Revision::new(201)));
    let mvcc = std::cell::RefCell::new(mvcc);
    let asked = reader.view(|view| {
        view.readable(at).map_err(Blind::Unreadable)?;
        let mut mvcc = mvcc.borrow_mut();
        if mvcc.compacted().is_none() {
            mvcc.compact(Revision::new(401)).unwrap();
            while mvcc.tidy(Pace { work: usize::MAX, max_pinned: 0, watched: None }) {}
        }
        view.query(&Query { at, ..Query::new(KeyRange::all()) })
    });
    assert!(asked.unwrap_err().is_compacted());
}

/// A pin of content that was replaced reads nothing any more, and holds nothing back.
#[test]
fn cmp_8_a_pin_that_lost_its_revision_is_not_waited_for() {
    let mut mvcc = Mvcc::new();
    let put = |mvcc: &mut Mvcc, times| {
        for _ in 0..times {
            mvcc.begin().put(b"k", b"v", LeaseId::new(0));
        }
        mvcc.publish();
    };
    put(&mut mvcc, 9);
    let pin = mvcc.reader().pin(Some(Revision::new(5))).unwrap();
    let mut newer = Mvcc::new();
    put(&mut newer, 49);
    newer.compact(Revision::new(40)).unwrap();
    while newer.tidy(Pace { work: usize::MAX, max_pinned: 0, watched: None }) {}
    drop(mvcc.replace(newer));
    assert!(pin.chunk(&KeyRange::all(), None, 9).unwrap_err().is_compacted());
    mvcc.compact(Revision::new(50)).unwrap();
    while mvcc.tidy(Pace { work: usize::MAX, max_pinned: u64::MAX, watched: None }) {}
    assert_eq!(mvcc.removed(), Some(Revision::new(50)));
    // One that still has its revision is.
    let pin = mvcc.reader().pin(None).unwrap();
    put(&mut mvcc, 3);
    mvcc.compact(Revision::new(53)).unwrap();
    while mvcc.tidy(Pace { work: usize::MAX, max_pinned: u64::MAX, watched: None }) {}
    assert_eq!(mvcc.removed(), Some(Revision::new(50)));
    assert_eq!(pin.chunk(&KeyRange::all(), None, 9).unwrap()[0].mod_revision().get(), 50);
}
