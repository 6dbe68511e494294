//! Watchers over members with threads: who else comes and goes, who blocks, who is rung.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use quorate::{Event, EventKind, KeyRange, Op, Revision, Store, WatchEnd, Watcher};

use super::cluster::Cluster;

/// What a watcher gives until it has given so many events.
fn take(watcher: &mut Watcher, count: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.len() < count {
        let batch = watcher.next().wait().unwrap().unwrap();
        // `WAT-18`: nothing behind the bookmark, and all before it.
        assert!(batch.events().iter().all(|event| event.revision() <= batch.revision()));
        assert_eq!(watcher.next_revision(), batch.revision().next());
        events.extend(batch);
    }
    events
}

fn revisions(events: &[Event]) -> Vec<Revision> {
    events.iter().map(Event::revision).collect()
}

fn put(store: &Store, key: impl Into<String>, value: impl Into<String>) -> Revision {
    store.put(key.into(), value.into()).wait().unwrap().header.revision
}

/// `WAT-15`, `WAT-32`, `INV-7`, `INV-8`: its own member's state is all that it needs.
#[test]
fn wat_32_a_watcher_lives_through_a_leader_change_and_a_restart_of_another_member() {
    let mut cluster = Cluster::open(3);
    let leader = cluster.leader();
    let (watching, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let watch = cluster.store(watching).watch(KeyRange::prefix("k/"));
    let mut watcher = watch.start().unwrap();
    let mut written = Vec::new();
    let mut write = |cluster: &Cluster, through: usize| {
        let store = cluster.store(through);
        written.extend((0..20).map(|key| put(&store, format!("k/{key}"), "v")));
    };

    write(&cluster, leader);
    drop(cluster.take(leader));
    write(&cluster, other);
    assert_ne!(cluster.leader(), leader);
    cluster.reopen(leader);
    cluster.catch_up(leader);
    drop(cluster.take(other));
    write(&cluster, leader);
    cluster.reopen(other);
    write(&cluster, other);

    assert_eq!(revisions(&take(&mut watcher, written.len())), written, "no gap, no repeat");
    assert!(watcher.try_next().unwrap().is_none());
}

/// `WAT-34`: the entries that it misses are gone; it is sent a snapshot while it is watched.
#[test]
fn wat_34_a_watcher_lives_through_a_snapshot_that_is_installed() {
    let cluster = Cluster::open_with(3, |_, config| {
        config.snapshot_count(50).snapshot_catchup_entries(5).segment_bytes(64 << 10)
    });
    let late = cluster.follower();
    let store = cluster.store((late + 1) % 3);
    let first = put(&store, "k", "0");
    let mut watcher = cluster.store(late).watch("k").from_revision(first).start().unwrap();
    assert_eq!(revisions(&take(&mut watcher, 1)), [first]);

    cluster.network.isolate(cluster.id(late));
    let large = "v".repeat(2_000);
    let written: Vec<_> = (0..500).map(|_| put(&store, "k", large.as_str())).collect();
    let others = cluster.members().into_iter().filter(|member| *member != late);
    let others: Vec<usize> = others.collect();
    let leader = cluster.leader_among(&others);
    let first = cluster.node(leader).status().first_index;
    assert!(cluster.node(late).status().last_index < first, "it could still be sent entries");
    cluster.network.heal_all();
    assert_eq!(revisions(&take(&mut watcher, written.len())), written, "no gap, no repeat");
    assert!(cluster.node(late).status().snapshot_index >= first);
}

/// `WAT-12`, `WAT-17`: whoever drives may be any of them; nobody is forgotten.
#[test]
fn wat_15_beside_writing_threads_every_revision_comes_once_and_in_order() {
    const WRITERS: usize = 4;
    const PUTS: usize = 250;
    let cluster = Cluster::open(1);
    let store = cluster.store(0);
    let watcher = store.watch(KeyRange::prefix("k/")).start().unwrap();
    let single = store.watch("k/0").start().unwrap();
    let follow = |mut watcher: Watcher, count| thread::spawn(move || take(&mut watcher, count));
    let (all, one) = (follow(watcher, WRITERS * PUTS), follow(single, PUTS));
    let mut written = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let store = &store;
                scope.spawn(move || -> Vec<_> {
                    (0..PUTS).map(|_| put(store, format!("k/{writer}"), "v")).collect()
                })
            })
            .collect();
        let written = writers.into_iter().map(|writer| writer.join().unwrap());
        written.collect::<Vec<_>>()
    });
    assert_eq!(revisions(&one.join().unwrap()), written[0]);
    let mut written: Vec<_> = written.drain(..).flatten().collect();
    written.sort_unstable();
    assert_eq!(revisions(&all.join().unwrap()), written);
}

/// `WAT-16`: a transaction is never seen in part, whatever else is written.
#[test]
fn wat_16_a_revision_comes_at_once_beside_writers() {
    let cluster = Cluster::open(1);
    let store = cluster.store(0);
    let mut watcher = store.watch(KeyRange::prefix("pair/")).start().unwrap();
    thread::scope(|scope| {
        for writer in 0..3 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..100 {
                    let value = format!("{writer}/{round}");
                    let both = ["pair/a", "pair/b"].map(|key| Op::put(key, value.clone()));
                    store.txn().then(both).wait().unwrap();
                }
            });
        }
        let mut seen = 0;
        while seen < 300 {
            let batch = watcher.next().wait().unwrap().unwrap();
            for events in batch.revisions() {
                let [a, b] = events else { panic!("a part: {events:?}") };
                assert_eq!((a.key(), b.key()), (&b"pair/a"[..], &b"pair/b"[..]));
                assert_eq!(a.kv().value(), b.kv().value());
                seen += 1;
            }
        }
    });
}

/// `WAT-37`
#[test]
fn wat_37_who_blocks_is_told_when_the_node_closes() {
    let mut cluster = Cluster::open(1);
    let store = cluster.store(0);
    let (given, batches) = std::sync::mpsc::channel();
    let watcher = store.watch("k").start().unwrap();
    let blocked = thread::spawn(move || {
        let mut batches = watcher.into_iter();
        for batch in batches.by_ref() {
            match batch {
                Ok(_) => given.send(()).unwrap(),
                Err(end) => return (end, batches.next().is_none()),
            }
        }
        panic!("it ended without a word")
    });
    put(&store, "k", "v");
    batches.recv().unwrap();
    cluster.close(0);
    let (end, is_over) = blocked.join().unwrap();
    assert!(matches!(end, WatchEnd::Closed) && is_over, "{end:?}");
    let error = store.watch("k").start().unwrap_err();
    assert!(error.is_closed(), "{error:?}");
}

/// `WAT-8`, `ERR-16`: from another thread, while this one waits.
#[test]
fn wat_8_who_blocks_is_told_when_it_is_cancelled() {
    let cluster = Cluster::open(1);
    let store = cluster.store(0);
    let watcher = store.watch("k").start().unwrap();
    let canceller = watcher.canceller();
    let blocked = thread::spawn(move || watcher.into_iter().collect::<Vec<_>>());
    canceller.cancel();
    let said = blocked.join().unwrap();
    let [Err(end @ WatchEnd::Cancelled)] = said.as_slice() else { panic!("{said:?}") };
    assert!(quorate::Error::from(end.clone()).is_closed());
}

/// `WAT-5`, `ERR-61`
#[test]
fn wat_5_a_range_without_keys_cannot_be_watched() {
    let cluster = Cluster::open(1);
    let error = cluster.store(0).watch("b".."a").start().unwrap_err();
    assert!(error.is_invalid(), "{error:?}");
}

#[test]
fn a_wait_for_a_batch_ends_by_itself() {
    let cluster = Cluster::open(1);
    let store = cluster.store(0);
    let mut watcher = store.watch("k").start().unwrap();
    assert_eq!(watcher.next_timeout(Duration::from_millis(5)).unwrap(), None);
    assert_eq!(watcher.next_timeout(Duration::ZERO).unwrap(), None);
    let writer = thread::spawn(move || put(&store, "k", "v"));
    let batch = watcher.next_timeout(super::cluster::PATIENCE).unwrap().unwrap();
    assert_eq!(batch.revision(), writer.join().unwrap());
}

/// `WAT-24`: the node's clock brings it, and nobody writes.
#[test]
fn wat_24_progress_comes_by_itself() {
    let cluster = Cluster::open(1);
    let store = cluster.store(0);
    let last = put(&store, "other", "v");
    let watch = store.watch("k").progress_every(Duration::from_millis(100));
    let mut watcher = watch.start().unwrap();
    for _ in 0..2 {
        let batch = watcher.next().wait().unwrap().unwrap();
        assert!(batch.is_progress() && batch.revision() == last, "{batch:?}");
    }
}

/// A thousand watchers of one key are shown the same memory: an event is never copied.
#[test]
fn all_watchers_of_a_key_share_the_event() {
    let cluster = Cluster::open(1);
    let store = cluster.store(0);
    let mut watchers: Vec<_> = (0..1_000).map(|_| store.watch("k").start().unwrap()).collect();
    // Half of them sleep when it comes.
    for watcher in watchers.iter_mut().step_by(2) {
        assert!(watcher.try_next().unwrap().is_none());
    }
    put(&store, "k", "v".repeat(10_000));
    let value = |event: &Event| event.kv().value().as_ptr();
    let stored = store.get("k").wait().unwrap().kv.unwrap();
    for watcher in &mut watchers {
        let batch = watcher.next().wait().unwrap().unwrap();
        assert_eq!(batch.events().iter().map(value).collect::<Vec<_>>(), [stored.value().as_ptr()]);
    }
}

/// `WAT-35`, `WAT-1`: pinned when it was made, and what happened while nobody watched is given.
#[test]
fn wat_35_another_watcher_goes_on_where_one_ended() {
    let mut cluster = Cluster::open(1);
    let store = cluster.store(0);
    put(&store, "k", "before");
    let mut none = store.watch("k").start().unwrap();
    let mut some = store.watch("k").start().unwrap();
    let first = put(&store, "k", "1");
    assert_eq!(revisions(&take(&mut some, 1)), [first]);
    drop(cluster.take(0));
    assert!(matches!(some.next().wait(), Some(Err(WatchEnd::Closed))));
    // Its node has ended before it was asked, so it was given nothing.
    assert!(matches!(none.next().wait(), Some(Err(WatchEnd::Closed))));

    cluster.reopen(0);
    let store = cluster.store(0);
    let second = put(&store, "k", "2");
    let resume = |from: Revision| store.watch("k").from_revision(from).start().unwrap();
    assert_eq!(revisions(&take(&mut resume(none.next_revision()), 2)), [first, second]);
    assert_eq!(revisions(&take(&mut resume(some.next_revision()), 1)), [second]);
}

/// `HLP-6`: what was read, and then every change, is what is there, whoever writes meanwhile.
#[test]
fn hlp_6_a_read_and_a_watch_behind_it_are_a_mirror() {
    const PUTS: usize = 600;
    let cluster = Cluster::open(1);
    let store = cluster.store(0);
    let writer = thread::spawn({
        let store = store.clone();
        move || {
            for number in 0..PUTS {
                put(&store, format!("k/{}", number % 7), number.to_string());
                if number % 5 == 0 {
                    store.delete(format!("k/{}", number % 3)).wait().unwrap();
                }
            }
            put(&store, "k/end", "");
        }
    });
    let read = store.range(KeyRange::prefix("k/")).wait().unwrap();
    let pair = |kv: &quorate::KeyValue| (kv.key().to_vec(), kv.value().to_vec());
    let mut mirror: BTreeMap<_, _> = read.kvs.iter().map(pair).collect();
    let watch = store.watch(KeyRange::prefix("k/")).from_revision(read.header.revision.next());
    let mut watcher = watch.start().unwrap();
    while !mirror.contains_key(&b"k/end"[..]) {
        for event in watcher.next().wait().unwrap().unwrap() {
            match event.kind() {
                EventKind::Put => mirror.extend([pair(event.kv())]),
                EventKind::Delete => {
                    assert!(mirror.remove(event.key()).is_some(), "{event:?}");
                }
            }
        }
    }
    writer.join().unwrap();
    let read = store.range(KeyRange::prefix("k/")).wait().unwrap();
    assert_eq!(mirror, read.kvs.iter().map(pair).collect());
}

/// Awaited on an executor of threads: watchers and writers are tasks of the same few.
#[test]
fn watchers_are_tasks_like_any_other() {
    let cluster = Cluster::open(1);
    let store = cluster.store(0);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let watch = |_| {
            let mut watcher = store.watch(KeyRange::prefix("k/")).start().unwrap();
            tokio::spawn(async move {
                let mut seen = 0;
                while seen < 100 {
                    let batch = watcher.next().await.unwrap().unwrap();
                    seen += batch.events().len();
                }
                seen
            })
        };
        let watchers: Vec<_> = (0..20).map(watch).collect();
        let write = |writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for _ in 0..10 {
                    store.put(format!("k/{writer}"), "v").await.unwrap();
                }
            })
        };
        let writers: Vec<_> = (0..10).map(write).collect();
        for writer in writers {
            writer.await.unwrap();
        }
        for watcher in watchers {
            assert_eq!(watcher.await.unwrap(), 100);
        }
    });
}
