//! Many watchers, one consumer.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::stream::{FusedStream, Stream};

use super::*;
use crate::gate::Gate;
use crate::{WatchSet, WatchUpdate};

fn id(number: u64) -> WatchId {
    WatchId::new(number)
}

fn line(update: &WatchUpdate) -> String {
    match update {
        WatchUpdate::Batch(id, batch) => format!("{id}| {}", show(batch)),
        WatchUpdate::Ended(id, end) => format!("{id}| {end}"),
        WatchUpdate::Progress(revision) => format!("all {revision}"),
    }
}

/// What there is for all of them now.
fn drain_all(set: &mut WatchSet) -> Vec<String> {
    let next = || set.try_next().unwrap().map(|update| line(&update));
    std::iter::from_fn(next).collect()
}

/// With watchers of some keys, from now on, by the names 0, 1, ..
fn set_of(store: &Store, keys: &[&'static str]) -> WatchSet {
    let mut set = store.watch_set();
    for key in keys {
        set.add(store.watch(*key)).unwrap();
    }
    set
}

#[test]
fn wat_6_ids_are_given_or_counted_up_from_0() {
    let (_, store) = filled();
    let mut set = store.watch_set();
    let mut add = |given: Option<u64>| {
        let watch = store.watch("a");
        set.add(given.map_or(watch.clone(), |number| watch.id(id(number))))
    };
    assert_eq!(add(Some(1)).unwrap(), id(1));
    let error = add(Some(1)).unwrap_err();
    assert!(error.is_invalid());
    assert_eq!(error.to_string(), "the watch id 1 is taken in this set");
    assert_eq!(add(None).unwrap(), id(0));
    assert_eq!(add(None).unwrap(), id(2), "1 is taken");
    assert_eq!(add(Some(u64::MAX)).unwrap(), id(u64::MAX));
    assert_eq!(add(None).unwrap(), id(3));
    assert_eq!(set.len(), 5);
    assert!(set.cancel(id(1)));
    assert_eq!(set.add(store.watch("a").id(id(1))).unwrap(), id(1), "it is free again");
    let mut other = store.watch_set();
    assert_eq!(other.add(store.watch("a")).unwrap(), id(0), "ids are those of one set");
}

#[test]
fn what_is_refused_leaves_the_set_as_it_was() {
    let (_, store) = filled();
    let (_, elsewhere) = filled();
    let mut set = set_of(&store, &["a"]);
    let error = set.add(elsewhere.watch("a")).unwrap_err();
    assert!(error.is_invalid() && error.to_string().contains("another node"), "{error}");
    assert!(set.add(store.watch("b".."a")).unwrap_err().is_invalid());
    assert_eq!(set.len(), 1);
    assert_eq!(set.add(store.scoped("t/").watch("a")).unwrap(), id(1));
    put(&store, "a", "x");
    put(&store, "t/a", "y");
    let lines = ["0| 5: (4,0) a=x create 2 version 2", "1| 5: (5,0) a=y create 5 version 1"];
    assert_eq!(drain_all(&mut set), lines);
}

#[test]
fn wat_8_a_cancelled_one_is_not_heard_of_again() {
    let (_, store) = filled();
    let mut set = set_of(&store, &["a", "a"]);
    put(&store, "a", "x");
    assert!(set.cancel(id(0)));
    assert!(!set.cancel(id(0)) && !set.cancel(id(9)), "there is none");
    put(&store, "a", "y");
    let rest = "1| 5: (4,0) a=x create 2 version 2, (5,0) a=y create 2 version 3";
    assert_eq!(drain_all(&mut set), [rest]);
    set.add(store.watch("b").id(id(0))).unwrap();
    put(&store, "a", "z");
    assert_eq!(drain_all(&mut set), ["1| 6: (6,0) a=z create 2 version 4"]);
}

#[test]
fn wat_9_a_set_takes_its_watchers_along() {
    let (node, store) = filled();
    let mut set = set_of(&store, &["a"]);
    set.add(store.watch("b").from_revision(rev(2))).unwrap();
    assert_eq!(node.watches().oldest(rev(0)), Some(rev(2)), "a compaction waits for them");
    drop(set);
    assert_eq!(node.watches().oldest(rev(0)), None);
}

#[test]
fn wat_11_wat_28_one_that_falls_behind_ends_and_the_others_go_on() {
    let (node, store) = filled();
    let mut set = set_of(&store, &["a", "b"]);
    assert_eq!(drain_all(&mut set), [""; 0]);
    for value in ["x", "y", "z"] {
        put(&store, "a", value);
    }
    store.compact(rev(6)).wait().unwrap();
    node.tidy(0);
    set.request_progress();
    let gone = "0| the watcher needs revision 4, and 6 is compacted";
    assert_eq!(drain_all(&mut set), [gone, "all 6"], "it does not hold back the others");
    assert_eq!(set.len(), 1);
    assert!(!set.cancel(id(0)));
    put(&store, "b", "x");
    assert_eq!(drain_all(&mut set), ["1| 7: (7,0) b=x create 3 version 2"]);
}

/// EX-8.
#[test]
fn wat_25_wat_26_progress_is_that_of_all_of_them() {
    let (_, store) = filled();
    let mut set = store.watch_set();
    set.request_progress();
    assert_eq!(drain_all(&mut set), [""; 0], "nobody could have come anywhere");
    set.add(store.watch("a")).unwrap();
    set.add(store.watch("a").from_revision(rev(2))).unwrap();
    set.add(store.watch("c").from_revision(rev(50))).unwrap();
    set.request_progress();
    let history = "1| 3: (2,0) a=1 create 2 version 1";
    assert_eq!(drain_all(&mut set), [history], "one has not begun");
    put(&store, "b", "x");
    assert_eq!(drain_all(&mut set), [""; 0]);
    assert!(set.cancel(id(2)));
    assert_eq!(drain_all(&mut set), ["all 4"], "once");
    assert_eq!(drain_all(&mut set), [""; 0]);
    set.request_progress();
    set.request_progress();
    put(&store, "a", "x");
    let mut lines = drain_all(&mut set);
    assert_eq!(lines.pop().as_deref(), Some("all 5"), "no event is overtaken");
    lines.sort();
    let event = "5: (5,0) a=x create 2 version 2";
    assert_eq!(lines, [format!("0| {event}"), format!("1| {event}")]);
}

#[test]
fn wat_26_progress_waits_until_the_revision_has_come() {
    let (_, store) = filled();
    let mut set = set_of(&store, &["a"]);
    set.add(store.watch("a").from_revision(rev(5))).unwrap();
    set.request_progress();
    put(&store, "b", "x");
    assert_eq!(drain_all(&mut set), [""; 0]);
    put(&store, "b", "y");
    assert_eq!(drain_all(&mut set), ["all 5"]);
}

/// A write is answered before those who watch are rung.
#[test]
fn wat_25_progress_has_all_that_was_acknowledged() {
    let (_, store) = fake(Manner::AnswerAtOnce);
    let mut set = set_of(&store, &["a", "b"]);
    assert_eq!(drain_all(&mut set), [""; 0], "they sleep");
    put(&store, "a", "x");
    set.request_progress();
    let event = "0| 2: (2,0) a=x create 2 version 1";
    let woken = Woken::default();
    assert_eq!(poll(&mut set, &woken).as_deref(), Some(event), "events first");
    assert_eq!(poll(&mut set, &woken).as_deref(), Some("all 2"));
}

#[test]
fn wat_24_each_tells_of_its_own_progress() {
    let (node, store) = filled();
    let mut set = set_of(&store, &["a"]);
    let every = Duration::from_secs(10);
    set.add(store.watch("b").progress_every(every)).unwrap();
    let at = |seconds| Instant::default().after(Duration::from_secs(seconds));
    for seconds in [10, 20, 30] {
        node.advance(at(seconds));
    }
    assert_eq!(drain_all(&mut set), ["1| 3: "], "once, however long nobody came");
    assert!(set.cancel(id(1)));
    node.advance(at(40));
    assert_eq!(drain_all(&mut set), [""; 0]);
}

/// One that has more whenever it is looked at takes turns with the others.
#[test]
fn a_busy_one_does_not_keep_the_others_waiting() {
    let (_, store) = filled();
    let mut set = store.watch_set();
    let ops = ["k1", "k2", "k3", "k4"].map(|key| crate::Op::put(key, ""));
    set.add(store.watch(KeyRange::prefix("k")).fragment_bytes(1)).unwrap();
    set.add(store.watch("a")).unwrap();
    set.add(store.watch("b")).unwrap();
    store.txn().then(ops).wait().unwrap();
    put(&store, "a", "x");
    put(&store, "b", "x");
    let ids: String =
        drain_all(&mut set).iter().map(|line| line.chars().take(1).collect::<String>()).collect();
    assert_eq!(ids, "012000");
}

#[test]
fn the_consumer_is_woken_once_for_many() {
    let (node, store) = filled();
    let mut set = set_of(&store, &["a", "b", "a", "b"]);
    let woken = Woken::default();
    assert_eq!(poll(&mut set, &woken), None);
    put(&store, "c", "x");
    assert_eq!(woken.take(), 0);
    for value in ["x", "y"] {
        put(&store, "a", value);
        put(&store, "b", value);
    }
    assert_eq!(woken.take(), 1);
    let found = std::iter::from_fn(|| poll(&mut set, &woken)).count();
    assert_eq!(found, 4, "everything at once for each of them");
    assert_eq!(woken.take(), 0);
    node.watches().end();
    assert_eq!(woken.take(), 1);
}

#[test]
fn who_only_looks_takes_no_wakers_place() {
    let (node, store) = filled();
    let mut set = set_of(&store, &["a"]);
    let woken = Woken::default();
    assert_eq!(poll(&mut set, &woken), None);
    assert_eq!(drain_all(&mut set), [""; 0]);
    put(&store, "a", "x");
    node.advance(Instant::default());
    assert_eq!(woken.take(), 1);
}

#[test]
fn wat_37_the_end_of_the_node_is_said_once() {
    let (node, store) = filled();
    let (mut set, mut empty) = (set_of(&store, &["a"]), store.watch_set());
    let woken = Woken::default();
    assert_eq!((poll(&mut set, &woken), poll(&mut empty, &woken)), (None, None));
    put(&store, "a", "x");
    assert_eq!(woken.take(), 1);
    node.watches().end();
    assert_eq!(woken.take(), 1, "one without watchers is told too");
    for mut set in [set, empty] {
        assert!(matches!(set.try_next(), Err(WatchEnd::Closed)));
        assert!(matches!(set.next().wait(), Some(Err(WatchEnd::Closed))));
        assert!(set.is_terminated() && set.next().wait().is_none());
        assert!(matches!(set.next_timeout(Duration::ZERO), Err(WatchEnd::Closed)), "each time");
    }
}

fn poll(set: &mut WatchSet, woken: &Woken) -> Option<String> {
    match Pin::new(set).poll_next(&mut Context::from_waker(&woken.waker())) {
        Poll::Ready(update) => Some(line(&update.unwrap().unwrap())),
        Poll::Pending => None,
    }
}
