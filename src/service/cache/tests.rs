//! A cache over a node without threads.

mod twin;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;

use super::{Cache, CacheChange};
use crate::gate::Gate;
use crate::keys::KeyRange;
use crate::service::fake::{Fake, Manner, fake, filled};
use crate::store::Store;
use crate::{KeyValue, Revision};

fn rev(revision: u64) -> Revision {
    Revision::new(revision)
}

fn put(store: &Store, key: &'static str, value: &'static str) {
    store.put(key, value).wait().unwrap();
}

fn show(kvs: &[KeyValue]) -> Vec<String> {
    let pair = |kv: &KeyValue| format!("{}={}", text(kv.key()), text(kv.value()));
    kvs.iter().map(pair).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn all(cache: &Cache) -> Vec<String> {
    show(&cache.range(..).unwrap())
}

/// What a callback has been told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn of(cache: &Cache) -> Self {
        let told = Self::default();
        let to = told.clone();
        cache.on_change(move |_, change| to.note(change)).unwrap();
        told
    }

    fn note(&self, change: &CacheChange) {
        let value = |kv: &KeyValue| text(kv.value());
        let line = match change {
            CacheChange::Put { kv, prev } => {
                let prev = prev.as_ref().map_or("nothing".to_owned(), value);
                format!("{}: {} was {prev}", text(kv.key()), value(kv))
            }
            CacheChange::Delete { prev, revision } => {
                format!("{}: gone at {revision} was {}", text(prev.key()), value(prev))
            }
        };
        self.0.lock().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

/// Leaves the cache behind a compaction.
fn overtake(node: &Fake, store: &Store, revision: u64) {
    store.compact(rev(revision)).wait().unwrap();
    node.tidy(0);
}

#[test]
fn it_is_always_current_and_in_order() {
    let (node, store) = filled();
    let cache = store.cache(..).wait().unwrap();
    assert_eq!(
        (all(&cache), cache.revision().unwrap()),
        (vec!["a=1".into(), "b=2".into()], rev(3))
    );
    node.take_log();
    put(&store, "c", "3");
    store.delete("a").wait().unwrap();
    node.take_log();
    assert_eq!(cache.get("a").unwrap(), None);
    assert_eq!(cache.get("c").unwrap().unwrap().mod_revision(), rev(4));
    assert_eq!((all(&cache), cache.len().unwrap()), (vec!["b=2".into(), "c=3".into()], 2));
    assert_eq!(cache.revision().unwrap(), rev(5));
    assert_eq!(show(&cache.range("b".."c").unwrap()), ["b=2"]);
    assert_eq!(show(&cache.range("c").unwrap()), ["c=3"]);
    assert_eq!(show(&cache.range("c".."b").unwrap()), [""; 0]);
    assert!(cache.range("").unwrap_err().is_invalid() && !cache.is_empty().unwrap());
    assert_eq!(node.take_log(), [""; 0], "nobody is asked");
}

/// A write is answered before those who watch are rung.
#[test]
fn inv_8_what_was_acknowledged_is_seen_at_once() {
    let (node, store) = fake(Manner::AnswerAtOnce);
    node.set_leads_alone(true);
    let cache = store.cache(KeyRange::prefix("a")).wait().unwrap();
    for value in ["1", "2", "3"] {
        put(&store, "a", value);
        assert_eq!(all(&cache), [format!("a={value}")]);
        put(&store, "b", value);
        assert_eq!(cache.revision().unwrap(), node.revision(), "also of what is elsewhere");
    }
}

#[test]
fn a_key_outside_of_the_range_is_refused() {
    let (_, store) = filled();
    let cache = store.cache("a".."b").wait().unwrap();
    let error = cache.get("b").unwrap_err();
    assert_eq!(error.to_string(), r#"the cache has "a".."b", and not "b""#);
    assert!(error.is_invalid());
    assert_eq!(all(&cache), ["a=1"]);
    assert!(store.cache("").wait().unwrap_err().is_invalid(), "SEL-4");
}

#[test]
fn hlp_1_a_scoped_cache_has_its_own_keys_without_the_prefix() {
    let (_, store) = filled();
    let scoped = store.scoped("t/");
    let cache = scoped.cache(..).wait().unwrap();
    let told = Told::of(&cache);
    put(&store, "t0", "outside");
    put(&scoped, "k", "1");
    assert_eq!((all(&cache), told.take()), (vec!["k=1".into()], vec!["k: 1 was nothing".into()]));
    assert_eq!(cache.get("k").unwrap().unwrap().key(), b"k");
}

#[test]
fn callbacks_are_told_what_is_there_and_then_each_change_once() {
    let (_, store) = filled();
    let cache = store.cache(..).wait().unwrap();
    let early = Told::of(&cache);
    assert_eq!(early.take(), ["a: 1 was nothing", "b: 2 was nothing"]);
    put(&store, "a", "x");
    put(&store, "a", "y");
    assert_eq!(early.take(), [""; 0], "nobody has called");
    let late = Told::of(&cache);
    assert_eq!(early.take(), ["a: x was 1", "a: y was x"]);
    assert_eq!(late.take(), ["a: y was nothing", "b: 2 was nothing"]);
    store.delete("b").wait().unwrap();
    cache.len().unwrap();
    for told in [early, late] {
        assert_eq!(told.take(), ["b: gone at 6 was 2"]);
    }
}

/// What it pulls itself is told when it has returned.
#[test]
fn a_callback_may_read_the_cache_and_write_to_the_store() {
    let (_, store) = filled();
    let cache = store.cache(..).wait().unwrap();
    let (told, seen) = (Told::default(), Told::default());
    let (to, see, writer) = (told.clone(), seen.clone(), store.clone());
    cache
        .on_change(move |cache, change| {
            to.note(change);
            if change.key() == b"b" {
                put(&writer, "c", "3");
            }
            see.0.lock().push(all(cache).join(" "));
            if change.key() == b"c" {
                let more = to.clone();
                cache.on_change(move |_, change| more.note(change)).unwrap();
            }
        })
        .unwrap();
    let lines = ["a: 1 was nothing", "b: 2 was nothing", "c: 3 was nothing"];
    assert_eq!(told.take(), [&lines[..], &lines[..]].concat());
    assert_eq!(seen.take(), ["a=1 b=2", "a=1 b=2 c=3", "a=1 b=2 c=3"]);
}

#[test]
fn a_callback_that_panics_is_told_what_comes_next() {
    let (_, store) = filled();
    let cache = store.cache("a").wait().unwrap();
    let told = Told::default();
    let to = told.clone();
    let watch = move |_: &Cache, change: &CacheChange| {
        to.note(change);
        assert!(!text(change.key()).is_empty() && to.0.lock().len() != 2, "so it was set");
    };
    cache.on_change(watch).unwrap();
    put(&store, "a", "x");
    put(&store, "a", "y");
    let get = std::panic::AssertUnwindSafe(|| cache.get("a"));
    std::panic::catch_unwind(get).unwrap_err();
    assert_eq!(cache.get("a").unwrap().unwrap().value(), b"y");
    put(&store, "a", "z");
    cache.get("a").unwrap();
    assert_eq!(told.take(), ["a: 1 was nothing", "a: x was 1", "a: y was x", "a: z was y"]);
}

#[test]
fn wat_11_behind_a_compaction_callbacks_are_told_the_difference() {
    let (node, store) = filled();
    let cache = store.cache(..).wait().unwrap();
    let told = Told::of(&cache);
    told.take();
    for key in ["c", "d", "e"] {
        put(&store, key, "1");
    }
    store.delete("a").wait().unwrap();
    store.delete("d").wait().unwrap();
    put(&store, "b", "x");
    put(&store, "e", "2");
    overtake(&node, &store, 10);
    assert_eq!(all(&cache), ["b=x", "c=1", "e=2"]);
    let lines = ["a: gone at 10 was 1", "b: x was 2", "c: 1 was nothing", "e: 2 was nothing"];
    assert_eq!(told.take(), lines);
    put(&store, "c", "3");
    assert_eq!((all(&cache).len(), told.take()), (3, vec!["c: 3 was 1".to_owned()]));
    put(&store, "z", "1");
    store.delete("z").wait().unwrap();
    overtake(&node, &store, 13);
    assert_eq!((cache.revision().unwrap(), told.take()), (rev(13), vec![]), "nothing is other");
}

/// Counts how often a task would be woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl std::task::Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct Task {
    count: Arc<Count>,
    waker: Waker,
}

impl Task {
    fn new() -> Self {
        let count = Arc::<Count>::default();
        Self { waker: Waker::from(Arc::clone(&count)), count }
    }

    fn woken(&self) -> bool {
        self.count.0.swap(0, Ordering::SeqCst) > 0
    }

    fn poll<F: Future + Unpin>(&self, future: &mut F) -> Option<F::Output> {
        match Pin::new(future).poll(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }
}

#[test]
fn who_waits_for_a_change_is_woken_by_it_whoever_pulls() {
    let (_, store) = filled();
    let cache = store.cache("a").wait().unwrap();
    let (one, other) = (Task::new(), Task::new());
    let seen = cache.revision().unwrap();
    let (mut first, mut second) = (cache.changed(seen), cache.changed(seen));
    assert!(one.poll(&mut first).is_none() && other.poll(&mut second).is_none());
    put(&store, "b", "x");
    assert!(!one.woken() && !other.woken());
    put(&store, "a", "x");
    assert!(one.woken() && other.woken());
    cache.get("a").unwrap();
    assert_eq!(one.poll(&mut first).unwrap().unwrap(), rev(5));
    assert_eq!(other.poll(&mut second).unwrap().unwrap(), rev(5));
    assert_eq!(cache.changed(rev(4)).wait().unwrap(), rev(5), "it has happened already");
    let timeout = cache.changed(rev(5)).wait_timeout(Duration::ZERO).unwrap_err();
    assert!(timeout.is_timeout());
    drop((first, second));
    assert!(cache.inner.waiters.is_empty());
}

/// A write is answered before those who watch are rung.
#[test]
fn who_pulls_wakes_who_waits() {
    let (node, store) = fake(Manner::AnswerAtOnce);
    node.set_leads_alone(true);
    let cache = store.cache("a").wait().unwrap();
    let task = Task::new();
    let mut changed = cache.changed(rev(1));
    assert!(task.poll(&mut changed).is_none());
    put(&store, "a", "x");
    assert!(!task.woken());
    cache.get("a").unwrap();
    assert!(task.woken());
    assert_eq!(task.poll(&mut changed).unwrap().unwrap(), rev(2));
}

#[test]
fn wat_2_one_can_wait_for_a_revision() {
    let (node, store) = filled();
    let cache = store.scoped("t/").cache(..).wait().unwrap();
    let task = Task::new();
    assert_eq!(cache.wait_for(rev(3)).wait().unwrap(), rev(3), "it has come");
    let mut wait = cache.wait_for(rev(5));
    assert!(task.poll(&mut wait).is_none());
    put(&store, "a", "x");
    assert!(!task.woken() && task.poll(&mut wait).is_none());
    put(&store, "b", "x");
    assert!(task.woken(), "whatever it was, and wherever");
    assert_eq!(task.poll(&mut wait).unwrap().unwrap(), rev(5));
    assert!(cache.wait_for(rev(6)).wait_timeout(Duration::ZERO).unwrap_err().is_timeout());
    let mut late = cache.wait_for(rev(6));
    assert!(task.poll(&mut late).is_none());
    for value in ["1", "2", "3"] {
        put(&store, "a", value);
    }
    overtake(&node, &store, 8);
    assert_eq!(task.poll(&mut late).unwrap().unwrap(), rev(8), "also behind a compaction");
}

#[test]
fn wat_37_it_ends_with_the_node_and_so_does_who_runs_it() {
    let (node, store) = filled();
    let cache = store.cache("a").wait().unwrap();
    let told = Told::of(&cache);
    let (runner, waiter) = (Task::new(), Task::new());
    let (mut run, mut wait) = (cache.run(), cache.wait_for(rev(9)));
    assert!(runner.poll(&mut run).is_none() && waiter.poll(&mut wait).is_none());
    told.take();
    put(&store, "a", "x");
    assert!(runner.woken() && runner.poll(&mut run).is_none());
    assert_eq!(told.take(), ["a: x was 1"], "it runs the callbacks");
    node.watches().end();
    assert!(runner.woken() && waiter.woken());
    assert!(runner.poll(&mut run).unwrap().is_closed());
    assert!(waiter.poll(&mut wait).unwrap().unwrap_err().is_closed());
    assert!(cache.run().wait().is_closed());
    assert!(cache.changed(rev(0)).wait().unwrap_err().is_closed());
}
