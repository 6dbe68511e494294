//! Watchers over a node without threads: what each call says, in order.

mod list;
mod set;

use std::sync::Arc;
use std::time::Duration;

use crate::keys::KeyRange;
use crate::service::fake::{Fake, Manner, fake, filled};
use crate::store::Store;
use crate::time::Instant;
use crate::{EventKind, Revision, WatchBatch, WatchEnd, WatchId, Watcher};

fn rev(revision: u64) -> Revision {
    Revision::new(revision)
}

/// What there is for it now, a line for each batch.
fn drain(watcher: &mut Watcher) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        match watcher.try_next() {
            Ok(Some(batch)) => lines.push(show(&batch)),
            Ok(None) => return lines,
            Err(end) => {
                lines.push(end.to_string());
                return lines;
            }
        }
    }
}

fn show(batch: &WatchBatch) -> String {
    let events: Vec<_> = batch.events().iter().map(|event| format!("{event:?}")).collect();
    let more = if batch.is_fragment() { " .." } else { "" };
    format!("{}: {}{more}", batch.revision(), events.join(", "))
}

fn put(store: &Store, key: &'static str, value: &'static str) {
    store.put(key, value).wait().unwrap();
}

#[test]
fn wat_1_it_begins_behind_the_revision_it_was_made_at() {
    let (_, store) = filled();
    let mut watcher = store.watch("a").start().unwrap();
    assert_eq!((watcher.created(), watcher.next_revision()), (rev(3), rev(4)));
    assert_eq!(drain(&mut watcher), [""; 0]);
    put(&store, "a", "x");
    put(&store, "b", "x");
    assert_eq!(drain(&mut watcher), ["5: (4,0) a=x create 2 version 2"]);
    assert_eq!(watcher.next_revision(), rev(6));
}

#[test]
fn wat_2_it_begins_in_the_past_or_in_the_future() {
    let (_, store) = filled();
    let mut past = store.watch(..).from_revision(rev(2)).start().unwrap();
    let mut future = store.watch("a").from_revision(rev(5)).start().unwrap();
    let all = "3: (2,0) a=1 create 2 version 1, (3,0) b=2 create 3 version 1";
    assert_eq!(drain(&mut past), [all]);
    put(&store, "a", "early");
    assert_eq!(drain(&mut future), [""; 0], "whatever happens before");
    put(&store, "a", "late");
    assert_eq!(drain(&mut future), ["5: (5,0) a=late create 2 version 3"]);
}

#[test]
fn wat_4_wat_5_what_cannot_be_watched_is_refused() {
    let (_, store) = filled();
    assert!(store.watch("").start().unwrap_err().is_invalid());
    let error = store.watch("b".."a").start().unwrap_err();
    assert!(error.is_invalid(), "{error}");
    // A revision below zero cannot be said, and 0 is "from now on".
    let watcher = store.watch("a").from_revision(rev(0)).start().unwrap();
    assert_eq!(watcher.next_revision(), rev(4));
}

#[test]
fn wat_6_a_lone_one_has_the_id_that_it_was_given() {
    let (_, store) = filled();
    let named = store.watch("a").id(WatchId::new(7)).start().unwrap();
    let other = store.watch("a").start().unwrap();
    assert_eq!((named.id(), other.id()), (WatchId::new(7), WatchId::new(0)));
}

#[test]
fn wat_8_a_cancelled_one_says_so_once() {
    let (_, store) = filled();
    let mut watcher = store.watch("a").start().unwrap();
    put(&store, "a", "x");
    watcher.canceller().cancel();
    watcher.canceller().cancel();
    assert!(matches!(watcher.next().wait(), Some(Err(WatchEnd::Cancelled))));
    assert!(watcher.next().wait().is_none());
    assert!(matches!(watcher.try_next(), Err(WatchEnd::Cancelled)));
}

#[test]
fn wat_10_wat_11_it_begins_at_the_compacted_revision_and_not_before() {
    let (node, store) = filled();
    store.delete("a").wait().unwrap();
    store.compact(rev(4)).wait().unwrap();
    node.tidy(0);
    let mut at = store.watch(..).from_revision(rev(4)).start().unwrap();
    assert_eq!(drain(&mut at), ["4: (4,0) a deleted"]);
    let mut before = store.watch(..).from_revision(rev(3)).start().unwrap();
    let Err(WatchEnd::Compacted(compacted)) = before.try_next() else { panic!("it has begun") };
    assert_eq!(compacted.revision(), rev(4));
    assert!(matches!(before.next().wait(), Some(Err(WatchEnd::Compacted(_)))), "said again");
    assert!(before.next().wait().is_none());
}

#[test]
fn wat_13_wat_14_events_say_what_has_happened() {
    let (_, store) = filled();
    let mut watcher = store.watch("a").from_revision(rev(2)).start().unwrap();
    put(&store, "a", "2");
    store.delete("a").wait().unwrap();
    let events = watcher.try_next().unwrap().unwrap();
    let [create, modify, delete] = events.events() else { panic!("{events:?}") };
    assert!(create.is_create() && !modify.is_create() && !delete.is_create());
    assert_eq!((modify.kind(), delete.kind()), (EventKind::Put, EventKind::Delete));
    assert_eq!(
        (delete.key(), delete.kv().value(), delete.revision()),
        (&b"a"[..], &b""[..], rev(5))
    );
    assert_eq!((delete.kv().create_revision(), delete.kv().version()), (rev(0), 0));
}

#[test]
fn wat_16_wat_22_a_transaction_is_one_revision_of_what_is_watched() {
    let (_, store) = filled();
    let mut watcher = store.watch(KeyRange::prefix("k")).start().unwrap();
    let ops = [crate::Op::put("k1", "1"), crate::Op::put("z", "1"), crate::Op::put("k2", "1")];
    store.txn().then(ops).wait().unwrap();
    let line = "4: (4,0) k1=1 create 4 version 1, (4,2) k2=1 create 4 version 1";
    assert_eq!(drain(&mut watcher), [line]);
}

#[test]
fn wat_19_what_was_there_before_is_shown() {
    let (node, store) = filled();
    let mut watcher = store.watch("a").prev_values().from_revision(rev(2)).start().unwrap();
    put(&store, "a", "2");
    store.delete("a").wait().unwrap();
    let shown = "5: (2,0) a=1 create 2 version 1, \
                 (4,0) a=2 create 2 version 2 was (2,0) a=1 create 2 version 1, \
                 (5,0) a deleted was (4,0) a=2 create 2 version 2";
    assert_eq!(drain(&mut watcher), [shown]);
    store.compact(rev(4)).wait().unwrap();
    node.tidy(0);
    let mut late = store.watch("a").prev_values().from_revision(rev(4)).start().unwrap();
    let shown = "5: (4,0) a=2 create 2 version 2, \
                 (5,0) a deleted was (4,0) a=2 create 2 version 2";
    assert_eq!(drain(&mut late), [shown], "what is compacted is left out");
}

#[test]
fn wat_20_filters_leave_out_what_they_say() {
    let (_, store) = filled();
    let watch = || store.watch("a").from_revision(rev(2));
    let (mut deletes, mut puts) = (watch().no_puts().start(), watch().no_deletes().start());
    let (deletes, puts) = (deletes.as_mut().unwrap(), puts.as_mut().unwrap());
    let mut neither = watch().no_puts().no_deletes().start().unwrap();
    store.delete("a").wait().unwrap();
    assert_eq!(drain(deletes), ["4: (4,0) a deleted"]);
    assert_eq!(drain(puts), ["4: (2,0) a=1 create 2 version 1"]);
    neither.request_progress();
    assert_eq!(drain(&mut neither), ["4: "], "nothing but progress");
}

#[test]
fn wat_21_a_large_revision_comes_in_pieces() {
    let (_, store) = filled();
    let watch = store.watch(KeyRange::prefix("k")).fragment_bytes(4);
    let mut watcher = watch.start().unwrap();
    put(&store, "k", "0");
    let ops = ["k1", "k2", "k3", "k4", "k5"].map(|key| crate::Op::put(key, ""));
    store.txn().then(ops).wait().unwrap();
    put(&store, "k", "1");
    let batches = [
        "4: (4,0) k=0 create 4 version 1",
        "4: (5,0) k1= create 5 version 1, (5,1) k2= create 5 version 1 ..",
        "4: (5,2) k3= create 5 version 1, (5,3) k4= create 5 version 1 ..",
        "6: (5,4) k5= create 5 version 1, (6,0) k=1 create 4 version 2",
    ];
    let one = watcher.try_next().unwrap().unwrap();
    let two = watcher.try_next().unwrap().unwrap();
    assert_eq!(watcher.next_revision(), rev(5), "the revision is not whole");
    let rest = drain(&mut watcher);
    assert_eq!([vec![show(&one), show(&two)], rest].concat(), batches);
    let whole = store.watch(KeyRange::prefix("k")).from_revision(rev(4)).start();
    assert_eq!(drain(&mut whole.unwrap()).len(), 1, "all at once otherwise");
}

#[test]
fn wat_23_wat_25_progress_says_how_far_it_has_come() {
    let (_, store) = filled();
    let mut watcher = store.watch("a").start().unwrap();
    assert_eq!(drain(&mut watcher), [""; 0]);
    put(&store, "b", "x");
    watcher.request_progress();
    assert_eq!(drain(&mut watcher), ["4: "], "it sleeps, and has come along");
    put(&store, "a", "x");
    watcher.request_progress();
    put(&store, "a", "y");
    let both = "6: (5,0) a=x create 2 version 2, (6,0) a=y create 2 version 3";
    assert_eq!(drain(&mut watcher), [both, "6: "], "behind every event");
}

#[test]
fn wat_24_progress_is_told_on_a_schedule() {
    let (node, store) = filled();
    let every = Duration::from_secs(10);
    let mut watcher = store.watch("a").progress_every(every).start().unwrap();
    let at = |seconds| Instant::default().after(Duration::from_secs(seconds));
    node.advance(at(9));
    assert_eq!(drain(&mut watcher), [""; 0]);
    node.advance(at(10));
    assert_eq!(drain(&mut watcher), ["3: "]);
    node.advance(at(20));
    put(&store, "a", "x");
    assert_eq!(drain(&mut watcher), ["4: (4,0) a=x create 2 version 2"], "not beside events");
    node.advance(at(30));
    assert_eq!(drain(&mut watcher), [""; 0], "nor in a period in which there were some");
    node.advance(at(40));
    assert_eq!(drain(&mut watcher), ["4: "]);
    drop(watcher);
    node.advance(at(50));
}

#[test]
fn wat_26_who_waits_for_a_revision_to_come_tells_no_progress() {
    let (_, store) = filled();
    let mut watcher = store.watch("a").from_revision(rev(5)).start().unwrap();
    watcher.request_progress();
    put(&store, "b", "x");
    assert_eq!(drain(&mut watcher), [""; 0]);
    put(&store, "b", "y");
    assert_eq!(drain(&mut watcher), ["5: "]);
}

#[test]
fn wat_27_history_comes_before_progress() {
    let (_, store) = filled();
    let mut watcher = store.watch("a").from_revision(rev(2)).start().unwrap();
    watcher.request_progress();
    assert_eq!(drain(&mut watcher), ["3: (2,0) a=1 create 2 version 1", "3: "]);
}

#[test]
fn wat_29_who_is_slow_is_given_all_of_it_at_once() {
    let (_, store) = filled();
    let mut watcher = store.watch("a").start().unwrap();
    for _ in 0..3000 {
        put(&store, "a", "x");
    }
    let batch = watcher.try_next().unwrap().unwrap();
    assert_eq!((batch.events().len(), batch.revisions().count()), (3000, 3000));
    assert_eq!(drain(&mut watcher), [""; 0]);
}

#[test]
fn wat_30_cmp_12_a_compaction_waits_for_who_is_behind_for_a_while() {
    let (node, store) = filled();
    let mut idle = store.watch("b").start().unwrap();
    let mut behind = store.watch("a").prev_values().start().unwrap();
    for value in ["x", "y", "z"] {
        put(&store, "a", value);
    }
    assert_eq!(drain(&mut idle), [""; 0]);
    store.compact(rev(6)).wait().unwrap();
    node.tidy(10);
    let line = "6: (4,0) a=x create 2 version 2 was (2,0) a=1 create 2 version 1, \
                (5,0) a=y create 2 version 3 was (4,0) a=x create 2 version 2, \
                (6,0) a=z create 2 version 4 was (5,0) a=y create 2 version 3";
    assert_eq!(drain(&mut behind), [line]);
    put(&store, "a", "1");
    put(&store, "a", "2");
    store.compact(rev(8)).wait().unwrap();
    node.tidy(0);
    let gone = "the watcher needs revision 7, and 8 is compacted";
    assert_eq!(drain(&mut behind), [gone], "no silent gap");
    put(&store, "b", "x");
    let line = "9: (9,0) b=x create 3 version 2";
    assert_eq!(drain(&mut idle), [line], "who misses nothing is not behind");
}

#[test]
fn wat_28_who_has_ended_holds_nothing_back() {
    let (node, store) = filled();
    let mut watchers: Vec<_> = (0..2).map(|_| store.watch("a").start().unwrap()).collect();
    for value in ["x", "y", "z"] {
        put(&store, "a", value);
    }
    store.compact(rev(6)).wait().unwrap();
    node.tidy(100);
    assert_eq!(node.removed(), Some(rev(3)), "what comes behind is for them");
    for watcher in &mut watchers {
        watcher.canceller().cancel();
        assert!(matches!(watcher.try_next(), Err(WatchEnd::Cancelled)));
    }
    node.tidy(100);
    assert_eq!(node.removed(), Some(rev(6)), "though they are kept");
    drop(watchers);
}

#[test]
fn wat_33_who_wants_a_leader_ends_without_one() {
    let (node, store) = filled();
    let mut wants = store.watch("a").require_leader().start().unwrap();
    let mut other = store.watch("a").start().unwrap();
    node.set_leader(false, false);
    let error = store.watch("a").require_leader().start().unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    assert_eq!(drain(&mut wants), [""; 0], "for a while there need not be one");
    node.set_leader(false, true);
    assert!(matches!(wants.next().wait(), Some(Err(WatchEnd::NoLeader))));
    assert_eq!(drain(&mut other), [""; 0]);
}

#[test]
fn hlp_1_a_scoped_watcher_sees_its_own_keys_without_the_prefix() {
    let (_, store) = filled();
    let scoped = store.scoped("t/");
    let mut all = scoped.watch(..).prev_values().start().unwrap();
    put(&store, "a", "outside");
    put(&scoped, "k", "1");
    put(&store, "t0", "outside");
    put(&scoped, "k", "2");
    let line = "7: (5,0) k=1 create 5 version 1, \
                (7,0) k=2 create 5 version 2 was (5,0) k=1 create 5 version 1";
    assert_eq!(drain(&mut all), [line]);
}

#[test]
fn who_sleeps_is_woken_by_a_change_and_by_nothing_else() {
    let (node, store) = fake(Manner::AnswerWhenLent);
    let mut watcher = store.watch("a").start().unwrap();
    let woken = Woken::default();
    assert_eq!(woken.poll(&mut watcher), None);
    put(&store, "b", "x");
    assert_eq!(woken.take(), 0);
    put(&store, "a", "x");
    put(&store, "a", "y");
    assert_eq!(woken.take(), 1, "once, however much there is");
    let line = "4: (3,0) a=x create 3 version 1, (4,0) a=y create 3 version 2";
    assert_eq!(woken.poll(&mut watcher).as_deref(), Some(line));
    put(&store, "a", "z");
    assert_eq!(woken.take(), 0, "it is awake");
    assert!(woken.poll(&mut watcher).is_some());
    assert_eq!(woken.poll(&mut watcher), None);
    watcher.canceller().cancel();
    assert_eq!(woken.take(), 1);
    drop((watcher, node));
}

#[test]
fn who_only_looks_takes_no_wakers_place() {
    let (node, store) = filled();
    let mut watcher = store.watch("a").start().unwrap();
    let woken = Woken::default();
    assert_eq!(woken.poll(&mut watcher), None);
    assert_eq!(drain(&mut watcher), [""; 0]);
    put(&store, "a", "x");
    node.advance(Instant::default());
    assert_eq!(woken.take(), 1);
}

/// With so many that whoever marks a change does not ring all of them.
#[test]
fn who_only_looks_takes_no_turn_of_a_task_that_waits() {
    let (_, store) = fake(Manner::AnswerAtOnce);
    let start = |_| (store.watch("a").start().unwrap(), Woken::default());
    let mut all: Vec<_> = (0..300).map(start).collect();
    for (watcher, woken) in &mut all {
        assert_eq!(woken.poll(watcher), None);
    }
    put(&store, "a", "x");
    for (watcher, woken) in &mut all {
        assert!(watcher.try_next().unwrap().is_some());
        assert_eq!(woken.take(), 1);
    }
}

/// A write is answered before those who watch are rung.
#[test]
fn what_was_acknowledged_is_there_at_once() {
    let (_, store) = fake(Manner::AnswerAtOnce);
    let mut watcher = store.watch("a").start().unwrap();
    assert_eq!(drain(&mut watcher), [""; 0], "it sleeps");
    put(&store, "a", "x");
    assert_eq!(drain(&mut watcher), ["2: (2,0) a=x create 2 version 1"]);
}

/// Counts how often a task would be woken.
#[derive(Default)]
struct Woken(Arc<Count>);

#[derive(Default)]
struct Count(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Woken {
    fn take(&self) -> usize {
        self.0.0.swap(0, std::sync::atomic::Ordering::SeqCst)
    }

    fn waker(&self) -> std::task::Waker {
        std::task::Waker::from(Arc::clone(&self.0))
    }

    fn poll(&self, watcher: &mut Watcher) -> Option<String> {
        let waker = self.waker();
        let mut next = watcher.next();
        let context = &mut std::task::Context::from_waker(&waker);
        match std::future::Future::poll(std::pin::Pin::new(&mut next), context) {
            std::task::Poll::Ready(Some(Ok(batch))) => Some(show(&batch)),
            std::task::Poll::Ready(end) => Some(format!("{end:?}")),
            std::task::Poll::Pending => None,
        }
    }
}

impl Fake {
    fn set_leader(&self, led: bool, leaderless: bool) {
        crate::gate::Gate::watches(self).set_leader(led, leaderless);
        self.advance(Instant::default());
    }
}
