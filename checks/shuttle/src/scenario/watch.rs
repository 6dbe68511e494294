//! Consumers that go to sleep while others write and ring: nobody sleeps through what is for him.

use std::time::Duration;

use shuttle::future::block_on;

use super::lone::Lone;
use super::{PATIENCE, all_answered, end, start};
use crate::sync::time;
use crate::{Event, KeyRange, Revision, Store, WatchEnd, Watcher};

/// Takes events until that of a revision is there, each once and in order.
fn take(watcher: &mut Watcher, upto: Revision) -> Vec<Revision> {
    let mut revisions = Vec::new();
    while revisions.last().is_none_or(|last| *last < upto) {
        let batch = watcher.next().wait().expect("it has not ended").expect("it is open");
        revisions.extend(batch.events().iter().map(Event::revision));
    }
    assert!(revisions.is_sorted_by(|one, other| one < other), "{revisions:?}");
    revisions
}

fn put(store: &Store, key: &'static str) -> Revision {
    store.put(key, "v").wait().expect("it leads").header.revision
}

/// Two write, on threads that are lent and ring what they have published; two sleep, one in each of
/// two topics, and one asks without blocking a thread.
pub fn no_change_is_missed() {
    let lone = Lone::lead();
    let store = lone.store();
    let node = lone.run();
    let first = Revision::new(2);
    let last = Revision::new(3);
    let blocked = ["k", "all"].map(|range| {
        let range = if range == "k" { KeyRange::key("k") } else { KeyRange::all() };
        let mut watcher = store.watch(range).start().expect("it is open");
        start(move || assert_eq!(take(&mut watcher, last), [first, last]))
    });
    let awaited = start({
        let mut watcher = store.watch("k").start().expect("it is open");
        move || {
            let mut next = || block_on(watcher.next()).expect("it has not ended");
            let mut seen = next().expect("it is open").events().len();
            while seen < 2 {
                seen += next().expect("it is open").events().len();
            }
        }
    });
    let writers = [0, 1].map(|_| {
        let store = store.clone();
        start(move || put(&store, "k"))
    });
    assert_eq!(writers.map(end).iter().max(), Some(&last));
    blocked.into_iter().for_each(end);
    end(awaited);
    node.close(PATIENCE).expect("it is well");
    all_answered(0);
}

/// Watchers come, the first of the node and another, while somebody writes: whatever is behind the
/// revision that each was made at is for it.
pub fn who_comes_meanwhile_misses_nothing() {
    let lone = Lone::lead();
    let store = lone.store();
    let node = lone.run();
    let come = [0, 1].map(|_| {
        let store = store.clone();
        start(move || {
            let mut watcher = store.watch("k").start().expect("it is open");
            let (created, last) = (watcher.created(), Revision::new(3));
            if created < last {
                let all = (created.get() + 1..=last.get()).map(Revision::new);
                assert_eq!(take(&mut watcher, last), all.collect::<Vec<_>>());
            }
        })
    });
    let writer = start({
        let store = store.clone();
        move || [put(&store, "k"), put(&store, "k")]
    });
    end(writer);
    come.into_iter().for_each(end);
    node.close(PATIENCE).expect("it is well");
    all_answered(0);
}

/// Cancelled from elsewhere while somebody writes: it ends, asleep or not.
pub fn who_sleeps_is_cancelled() {
    let lone = Lone::lead();
    let store = lone.store();
    let node = lone.run();
    let watcher = store.watch("k").start().expect("it is open");
    let canceller = watcher.canceller();
    let sleeper = start(move || {
        let last = watcher.into_iter().find_map(Result::err);
        assert!(matches!(last, Some(WatchEnd::Cancelled)), "{last:?}");
    });
    let writer = start({
        let store = store.clone();
        move || put(&store, "k")
    });
    let cancels = start(move || canceller.cancel());
    end(cancels);
    end(sleeper);
    end(writer);
    node.close(PATIENCE).expect("it is well");
}

/// The node closes: whoever sleeps is told, and so is who comes just then.
pub fn who_sleeps_is_told_of_the_end() {
    let lone = Lone::lead();
    let store = lone.store();
    let node = lone.run();
    let watcher = store.watch("k").start().expect("it is open");
    let ends = |watcher: Watcher| {
        let last = watcher.into_iter().find_map(Result::err);
        assert!(matches!(last, Some(WatchEnd::Closed)), "{last:?}");
    };
    let sleeper = start(move || ends(watcher));
    let comes = start(move || match store.watch("k").start() {
        Ok(watcher) => ends(watcher),
        Err(error) => assert!(error.is_closed(), "{error:?}"),
    });
    node.close(PATIENCE).expect("it is well");
    end(sleeper);
    end(comes);
}

/// The node closes while a set that has a watcher, and one that has none, look for something.
pub fn a_set_is_told_of_the_end() {
    let lone = Lone::lead();
    let store = lone.store();
    let node = lone.run();
    let sets = [false, true].map(|watches| {
        let mut set = store.watch_set();
        if watches {
            set.add(store.watch("k")).expect("it is open");
        }
        start(move || {
            // The end of its watcher may come first.
            let last = set.into_iter().find_map(Result::err);
            assert!(matches!(last, Some(WatchEnd::Closed)), "{last:?}");
        })
    });
    node.close(PATIENCE).expect("it is well");
    sets.into_iter().for_each(end);
}

/// Somebody waits for so long and not longer. What comes too late for that is not lost.
pub fn a_timeout_or_a_change() {
    let lone = Lone::lead();
    let store = lone.store();
    let node = lone.run();
    let mut watcher = store.watch("k").start().expect("it is open");
    let waits = start(move || {
        let soon = watcher.next_timeout(Duration::from_millis(10)).expect("it is open");
        let batch = match soon {
            Some(batch) => batch,
            None => watcher.next().wait().expect("it has not ended").expect("it is open"),
        };
        assert_eq!(batch.events().len(), 1);
    });
    let passes = start(|| time::pass(Duration::from_millis(20)));
    let writer = start(move || put(&store, "k"));
    end(passes);
    end(waits);
    end(writer);
    node.close(PATIENCE).expect("it is well");
    all_answered(0);
}
