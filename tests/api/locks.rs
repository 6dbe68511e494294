//! Locks over members with threads and clocks: who holds one, when, and what a late holder can do.

use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use quorate::{KeyRange, Op, Session, Store};

use super::cluster::{Cluster, PATIENCE, value};

/// Shorter than the shortest, which members here raise to 300 ms.
const SHORT: Duration = Duration::from_millis(1);

fn session(store: &Store) -> Session {
    store.session(Duration::from_secs(60)).wait().unwrap()
}

fn places(store: &Store) -> u64 {
    store.range(KeyRange::prefix("l/")).wait().unwrap().count
}

/// `REC-8`, `REC-14`: threads of all members, of which each pair excludes each other; tokens rise,
/// and what is counted under the lock is right though nobody compares.
#[test]
fn rec_8_one_holder_at_a_time_and_rising_tokens() {
    let cluster = Cluster::open(3);
    let (inside, last) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        for member in [0, 1, 2, 0, 1, 2] {
            let store = cluster.store(member);
            let (inside, last) = (&inside, &last);
            scope.spawn(move || {
                let session = session(&store);
                let lock = store.lock("l");
                for round in 0..5 {
                    let guard = if round % 2 == 0 {
                        lock.acquire(&session).wait().unwrap()
                    } else {
                        block_on(lock.acquire_timeout(&session, PATIENCE)).unwrap()
                    };
                    assert!(!inside.swap(true, Ordering::SeqCst), "somebody else is inside");
                    let token = guard.token().get();
                    assert!(last.swap(token, Ordering::SeqCst) < token);
                    let read = store.get("count").wait().unwrap().kv;
                    let count: u64 =
                        read.map_or(0, |kv| String::from_utf8_lossy(kv.value()).parse().unwrap());
                    let put = Op::put("count", (count + 1).to_string());
                    guard.txn().then(put).wait().unwrap();
                    inside.store(false, Ordering::SeqCst);
                    match round {
                        0 => drop(guard),
                        _ => assert!(guard.release().wait().unwrap()),
                    }
                }
            });
        }
    });
    let store = cluster.store(0);
    assert_eq!(value(&store, "count").unwrap(), b"30");
    // What was dropped is released in the background, and in the end.
    let last = session(&store);
    drop(store.lock("l").acquire(&last).wait().unwrap());
    last.close().wait().unwrap();
    assert_eq!(places(&store), 0);
    cluster.assert_same_everywhere();
}

/// `REC-9`, `REC-14`: a holder that is cut off knows so before another one holds the lock; what it
/// has on its way then never commits.
#[test]
fn rec_14_a_holder_that_is_cut_off_knows_before_another_holds_it() {
    let cluster = Cluster::open(3);
    let leader = cluster.leader();
    let (cut, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let store = cluster.store(cut);
    let short = store.session(SHORT).wait().unwrap();
    let guard = store.lock("l").acquire(&short).wait().unwrap();
    let waiter = cluster.store(other);
    let waiting = session(&waiter);
    let (mut sent, mut held) = (None, None);
    thread::scope(|scope| {
        let next = scope.spawn(|| {
            let guard = waiter.lock("l").acquire(&waiting).wait().unwrap();
            (Instant::now(), guard)
        });
        // It stands in the line.
        while places(&waiter) < 2 {
            thread::yield_now();
        }
        cluster.network.isolate(cluster.id(cut));
        // On its way while the lock is held, and on it still when it is another's.
        let mut late = Box::pin(guard.txn().then(Op::put("k", "old")));
        let polled = late.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
        sent = Some(late);
        guard.lost().wait();
        let deadline = guard.valid_until();
        let (when, next) = next.join().unwrap();
        assert!(deadline < when, "held until {deadline:?}, and by another at {when:?}");
        assert!(next.token() > guard.token());
        next.txn().then(Op::put("k", "new")).wait().unwrap();
        held = Some(next);
    });
    cluster.network.heal_all();
    assert!(block_on(sent.unwrap()).unwrap_err().is_lost());
    assert!(guard.txn().then(Op::put("k", "older")).wait().unwrap_err().is_lost());
    assert_eq!(value(&cluster.store(cut), "k").unwrap(), b"new");
    assert!(!held.unwrap().is_lost());
}

/// `REC-9`: whose session ends while it waits is told so, and is no longer in the line.
#[test]
fn rec_9_a_waiter_whose_session_ends_is_told() {
    let cluster = Cluster::open(1);
    let store = cluster.store(0);
    let (holder, waiter) = (session(&store), session(&store));
    let guard = store.lock("l").acquire(&holder).wait().unwrap();
    thread::scope(|scope| {
        let next = scope.spawn(|| store.lock("l").acquire(&waiter).wait());
        while places(&store) < 2 {
            thread::yield_now();
        }
        store.revoke(waiter.lease()).wait().unwrap();
        assert!(next.join().unwrap().unwrap_err().is_lost());
    });
    assert_eq!(places(&store), 1);
    assert!(!guard.is_lost());
}

/// `REC-10`: out of time, by a timer of the node and by a parked thread.
#[test]
fn rec_10_acquiring_ends_in_time_and_leaves_nothing() {
    let cluster = Cluster::open(1);
    let store = cluster.store(0);
    let session = session(&store);
    let guard = store.lock("l").acquire(&session).wait().unwrap();
    assert!(store.lock("l").try_acquire(&session).wait().unwrap().is_none());
    let brief = Duration::from_millis(30);
    let begun = Instant::now();
    let late = block_on(store.lock("l").acquire_timeout(&session, brief));
    assert!(late.unwrap_err().is_timeout() && begun.elapsed() >= brief);
    let late = store.lock("l").acquire(&session).wait_timeout(brief);
    assert!(late.unwrap_err().is_timeout());
    let mut watcher = store.watch(KeyRange::prefix("l/")).start().unwrap();
    assert!(guard.release().wait().unwrap());
    while places(&store) > 0 {
        watcher.next().wait().unwrap().unwrap();
    }
    let again = store.lock("l").try_acquire(&session).wait().unwrap().unwrap();
    drop(session);
    again.lost().wait();
    assert!(again.is_lost() && again.valid_until() <= Instant::now());
}

/// A node that is closed gives no lock, and takes those that it held along.
#[test]
fn rec_2_a_guard_is_lost_with_its_node() {
    let mut cluster = Cluster::open(1);
    let store = cluster.store(0);
    let session = session(&store);
    let guard = store.lock("l").acquire(&session).wait().unwrap();
    let waiting = thread::spawn({
        let store = store.clone();
        move || {
            let session = self::session(&store);
            store.lock("l").acquire(&session).wait()
        }
    });
    while places(&store) < 2 {
        thread::yield_now();
    }
    cluster.close(0);
    guard.lost().wait();
    assert!(guard.is_lost());
    let error = waiting.join().unwrap().unwrap_err();
    assert!(error.is_closed(), "{error}");
    let error = guard.txn().then(Op::put("k", "1")).wait().unwrap_err();
    assert!(error.is_closed(), "{error}");
    drop(guard);
}
