//! Transactions and functions as transactions, on one member and through every one of three.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use quorate::{Branch, Compare, Isolation, KeyRange, KeyValue, Op, Store};

use super::cluster::{Cluster, value};

#[test]
fn one_member_does_it_all() {
    Cluster::open(1).show_through_each(everything_works);
}

#[test]
fn so_does_any_of_three() {
    Cluster::open(3).show_through_each(everything_works);
}

/// Begins with no key.
fn everything_works(store: &Store) {
    compares_and_sets(store);
    keeps(store);
    reads(store);
}

/// `TXN-1`, `TXN-11`, `TXN-13`, `TXN-19`
fn compares_and_sets(store: &Store) {
    let take = |who: &'static str| {
        let txn = store.txn().when(Compare::absent("lock")).then(Op::put("lock", who));
        txn.or_else(Op::get("lock")).wait().unwrap()
    };
    let first = take("me");
    assert!(first.succeeded());
    let mine = first.header.revision;
    let Branch::Else(got) = take("you").branch else { panic!("it was taken") };
    assert_eq!(got.kv.as_ref().unwrap().value(), b"me");
    assert_eq!(got.header.revision, mine);

    let inner = Op::txn().when(Compare::absent("a")).then(Op::put("a", "1")).or_else(Op::get("a"));
    let held = Compare::create_revision("lock").equals(mine);
    let ops = (Op::put("b", "2"), inner, Op::range("a".."c"), Op::delete("lock").prev_values());
    let done = store.txn().when(held).then(ops).wait().unwrap();
    let (b, a, both, lock) = done.branch.then().unwrap();
    assert_eq!(b.header.revision, done.header.revision);
    assert_eq!(a.then().unwrap().header.revision, done.header.revision);
    assert_eq!((both.count, lock.deleted, lock.prev_kvs.len()), (2, 1, 1));
    assert_eq!(done.header.revision.get(), mine.get() + 1);
}

/// `KV-34` to `KV-39`, `TXN-8`
fn keeps(store: &Store) {
    let before = store.put("k", "v").wait().unwrap().header.revision;
    let touched = store.put("k", "").ignore_value().ignore_lease().prev_value().wait().unwrap();
    assert_eq!(touched.prev_kv.unwrap().mod_revision(), before);
    let kv = store.get("k").wait().unwrap().kv.unwrap();
    assert_eq!((kv.value(), kv.version()), (&b"v"[..], 2));
    assert!(store.put("none", "").ignore_value().wait().unwrap_err().is_key_not_found());
    assert!(store.put("k", "x").ignore_value().wait().unwrap_err().is_invalid());
    let half = store.txn().then((Op::put("half", "1"), Op::put("none", "").ignore_lease()));
    assert!(half.wait().unwrap_err().is_key_not_found());
    assert_eq!(value(store, "half"), None);
    assert_eq!(store.get("k").wait().unwrap().header.revision, touched.header.revision);
}

/// `TXN-16`
fn reads(store: &Store) {
    let both = (Op::get("k"), Op::range(KeyRange::prefix("k")).count_only());
    let read = store.txn().when(Compare::exists("k")).then(both).wait().unwrap();
    let (kv, count) = read.branch.then().unwrap();
    assert_eq!((kv.kv.unwrap().value(), count.count), (&b"v"[..], 1));
    assert!(store.txn().when(Compare::absent("k")).serializable().wait().is_ok());
}

#[test]
fn inv_5_of_those_who_saw_the_same_one_wins() {
    let cluster = Cluster::open(3);
    cluster.store(0).put("k", "0").wait().unwrap();
    for round in 1..=20 {
        let seen = cluster.store(0).get("k").wait().unwrap().kv.unwrap().mod_revision();
        let winners = AtomicU64::new(0);
        thread::scope(|scope| {
            for member in 0..3 {
                let (store, winners) = (cluster.store(member), &winners);
                scope.spawn(move || {
                    let unchanged = Compare::mod_revision("k").equals(seen);
                    let put = Op::put("k", format!("{round} by {member}"));
                    let done = store.txn().when(unchanged).then(put).wait().unwrap();
                    winners.fetch_add(u64::from(done.succeeded()), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(winners.into_inner(), 1);
    }
}

#[test]
fn rec_29_counting_by_many_loses_nothing() {
    const EACH: u64 = 40;
    let cluster = Cluster::open(3);
    thread::scope(|scope| {
        for member in 0..6 {
            let store = cluster.store(member % 3);
            scope.spawn(move || {
                for _ in 0..EACH {
                    let done = store.transact(|tx| {
                        let text = tx.get("count")?.unwrap_or_default();
                        let count: u64 = String::from_utf8_lossy(&text).parse().unwrap_or(0);
                        tx.put("count", (count + 1).to_string())?;
                        Ok(count)
                    });
                    done.wait().unwrap();
                }
            });
        }
    });
    assert_eq!(
        value(&cluster.store(1), "count").as_deref(),
        Some((6 * EACH).to_string().as_bytes())
    );
    let kv = cluster.store(2).get("count").wait().unwrap().kv.unwrap();
    assert_eq!(kv.version(), 6 * EACH);
}

/// `TXN-14`: both keys are written together, so whoever reads them together sees them equal.
#[test]
fn txn_14_nobody_sees_a_part_of_a_transaction() {
    let cluster = Cluster::open(3);
    let done = AtomicBool::new(false);
    let read = |store: &Store| {
        let range = store.range("pair/".."pair0").serializable().wait().unwrap();
        let values: Vec<&[u8]> = range.kvs.iter().map(KeyValue::value).collect();
        assert!(values.is_empty() || (values.len() == 2 && values[0] == values[1]), "{values:?}");
    };
    thread::scope(|scope| {
        for member in 0..3 {
            let (store, done) = (cluster.store(member), &done);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    read(&store);
                }
            });
        }
        let store = cluster.store(0);
        for round in 0..200_u32 {
            let value = round.to_string();
            let put = |key| Op::put(key, value.clone());
            let pair = (put("pair/a"), put("pair/b"));
            store.txn().then(pair).wait().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Two accounts may not both be empty; whoever empties one looks at the other first.
#[test]
fn rec_29_skewed_writes_need_a_level_that_sees_them() {
    let cluster = Cluster::open(1);
    let store = cluster.store(0);
    let empty = |mine: &'static str, other: &'static str, isolation: Isolation| {
        let store = store.clone();
        let other_goes_first = store.clone();
        let call = store.transact(move |tx| {
            if tx.get(other)?.as_deref() == Some(b"1") {
                tx.put(mine, "0")?;
            }
            // Once, and at the worst moment.
            let race = other_goes_first.txn().when(Compare::absent("raced"));
            race.then((Op::put("raced", ""), Op::put(other, "0"))).wait()?;
            Ok(())
        });
        call.isolation(isolation).wait().unwrap().attempts
    };
    for (isolation, sum) in [(Isolation::SerializableSnapshot, 1), (Isolation::ReadCommitted, 0)] {
        store.delete(..).wait().unwrap();
        store.txn().then((Op::put("a", "1"), Op::put("b", "1"))).wait().unwrap();
        let attempts = empty("a", "b", isolation);
        let left = ["a", "b"].iter().filter(|key| value(&store, **key).as_deref() == Some(b"1"));
        assert_eq!((left.count(), attempts), (sum, if sum == 1 { 2 } else { 1 }));
    }
}
