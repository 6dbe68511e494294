use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use futures_executor::block_on;

use crate::error::{Error, Kind};
use crate::gate::Gate;
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;
use crate::service::fake::{Answer, Fake, Manner, fake};
use crate::service::place::{self, Entry, Leave, Line};
use crate::service::{Compare, LockGuard, Op, Session};
use crate::store::Store;
use crate::time::Instant;

mod given_up;

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn node() -> (Arc<Fake>, Store) {
    fake(Manner::AnswerAtOnce)
}

fn session(store: &Store) -> Session {
    store.session(secs(10)).wait().unwrap()
}

fn acquired(store: &Store, session: &Session) -> LockGuard {
    store.lock("l").acquire(session).wait().unwrap()
}

fn keys(store: &Store) -> Vec<String> {
    let kvs = store.range(KeyRange::prefix("l/")).serializable().wait().unwrap().kvs;
    kvs.iter().map(|kv| String::from_utf8_lossy(kv.key()).into_owned()).collect()
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// What it ends with, once those who watch have been told of what was written.
fn ready<F: Future + Unpin>(node: &Fake, future: &mut F) -> F::Output {
    node.advance(Instant::default());
    let Poll::Ready(output) = poll(future) else { panic!("it still waits") };
    output
}

#[test]
fn rec_5_the_key_is_in_a_directory_and_has_the_lease_in_its_name() {
    let (_, store) = node();
    let session = session(&store);
    let guard = acquired(&store, &session);
    let kv = store.get(guard.key().clone()).wait().unwrap().kv.unwrap();
    assert!(kv.key().starts_with(format!("l/{:x}-7-", session.lease().get()).as_bytes()));
    assert_eq!((kv.lease(), kv.value()), (session.lease(), &b""[..]));
    assert_eq!((kv.create_revision(), kv.version()), (guard.token(), 1), "REC-6");
    assert!(store.lock("").acquire(&session).wait().unwrap_err().is_invalid());
}

#[test]
fn rec_8_each_waits_for_the_one_before_it_in_the_order_in_which_they_came() {
    let (node, store) = node();
    let sessions = [(); 3].map(|()| session(&store));
    let first = acquired(&store, &sessions[0]);
    let [mut second, mut third] = [1, 2].map(|at| store.lock("l").acquire(&sessions[at]));
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    assert!(poll(&mut second).is_pending());
    assert!(Pin::new(&mut third).poll(&mut Context::from_waker(&waker)).is_pending());
    node.take_log();
    drop(first);
    assert_eq!(node.take_log(), ["write, 5s, Leave"]);
    node.advance(Instant::default());
    assert_eq!(bell.0.load(Ordering::SeqCst), 0, "the one behind is not woken");
    let second = ready(&node, &mut second).unwrap();
    assert!(node.take_log().is_empty(), "whose turn it is needs no word with anybody");
    let token = second.token();
    assert!(block_on(second.release()).unwrap());
    node.advance(Instant::default());
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    assert!(ready(&node, &mut third).unwrap().token() > token);
}

#[test]
fn rec_7_one_that_goes_from_the_middle_lets_nobody_in() {
    let (node, store) = node();
    let sessions = [(); 3].map(|()| session(&store));
    let first = acquired(&store, &sessions[0]);
    let [mut second, mut third] = [1, 2].map(|at| store.lock("l").acquire(&sessions[at]));
    assert!(poll(&mut second).is_pending() && poll(&mut third).is_pending());
    drop(second);
    node.advance(Instant::default());
    assert!(poll(&mut third).is_pending(), "it looks again, and waits for the first");
    drop(first);
    let _guard = ready(&node, &mut third).unwrap();
}

#[test]
fn rec_9_a_waiter_knows_that_it_is_out_of_the_line() {
    let (node, store) = node();
    let sessions = [(); 3].map(|()| session(&store));
    let _first = acquired(&store, &sessions[0]);
    let [mut second, mut third] = [1, 2].map(|at| store.lock("l").acquire(&sessions[at]));
    assert!(poll(&mut second).is_pending() && poll(&mut third).is_pending());
    // Somebody revokes its lease.
    store.revoke(sessions[1].lease()).wait().unwrap();
    assert!(ready(&node, &mut second).unwrap_err().is_lost());
    // Its session is over.
    node.pass(secs(10));
    assert!(ready(&node, &mut third).unwrap_err().is_lost());
    node.take_log();
    let late = store.lock("l").acquire(&sessions[2]).wait().unwrap_err();
    assert!(late.is_lost() && node.take_log().is_empty(), "it asks nobody: {late}");
}

/// Its key may be there for a while yet, so nothing else tells it.
#[test]
fn rec_9_the_end_of_a_session_wakes_who_waits_with_it() {
    let (node, store) = node();
    let sessions = [session(&store), session(&store)];
    let _first = acquired(&store, &sessions[0]);
    let mut second = store.lock("l").acquire(&sessions[1]);
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(Arc::clone(&bell));
    let polled = Pin::new(&mut second).poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    let kept = &node.kept_leases()[1];
    kept.end(node.now());
    kept.waiters.wake();
    assert_eq!(bell.0.load(Ordering::SeqCst), 1);
    let Poll::Ready(Err(error)) = poll(&mut second) else { panic!("it still waits") };
    assert!(error.is_lost(), "{error}");
}

#[test]
fn rec_9_a_lease_that_is_gone_takes_no_place() {
    let (_, store) = node();
    let session = session(&store);
    store.revoke(session.lease()).wait().unwrap();
    assert!(store.lock("l").acquire(&session).wait().unwrap_err().is_lost());
}

/// The node does what it did not take: until then it would be held.
#[test]
fn rec_12_what_could_not_be_released_is_left_to_the_node() {
    let (node, store) = node();
    let session = session(&store);
    for way in ["refused", "dropped, refused", "dropped, failed", "dropped on its way, failed"] {
        let guard = acquired(&store, &session);
        let mut lost = guard.lost();
        assert!(poll(&mut lost).is_pending());
        node.set_manner(Manner::Refuse(Kind::Overloaded));
        match way {
            "refused" => assert!(guard.release().wait().unwrap_err().is_overloaded()),
            "dropped, refused" => drop(guard),
            _ => {
                node.set_manner(Manner::Keep);
                let mut release = guard.release();
                if way == "dropped on its way, failed" {
                    assert!(poll(&mut release).is_pending());
                }
                drop(release);
                node.set_answer(Answer::Fail(Kind::Overloaded));
                node.answer();
            }
        }
        node.set_manner(Manner::AnswerAtOnce);
        node.set_answer(Answer::Honest);
        let left = node.left_to_delete();
        assert!(left.len() == 1 && left[0].made && keys(&store).len() == 1, "{way}: {left:?}");
        node.write(&left[0].deletion);
        assert!(keys(&store).is_empty(), "{way}");
        ready(&node, &mut lost);
    }
}

#[test]
fn rec_11_trying_takes_no_place_in_the_line() {
    let (node, store) = node();
    let sessions = [(); 2].map(|()| session(&store));
    let guard = store.lock("l").try_acquire(&sessions[0]).wait().unwrap().unwrap();
    node.take_log();
    assert!(store.lock("l").try_acquire(&sessions[1]).wait().unwrap().is_none());
    let log = node.take_log();
    assert!(!log.iter().any(|line| line.starts_with("write")), "{log:?}");
    assert_eq!(keys(&store).len(), 1);
    drop(guard);
    assert!(block_on(store.lock("l").try_acquire(&sessions[1])).unwrap().is_some());
}

/// Somebody comes between the look and the place that was taken.
#[test]
fn rec_11_who_tries_too_late_leaves_the_line() {
    let (node, store) = node();
    let sessions = [(); 2].map(|()| session(&store));
    node.set_manner(Manner::Keep);
    let mut trying = store.lock("l").try_acquire(&sessions[1]);
    assert!(poll(&mut trying).is_pending());
    node.answer();
    assert!(poll(&mut trying).is_pending(), "its place is on its way");
    let kept = node.take_kept();
    node.set_manner(Manner::AnswerAtOnce);
    let guard = acquired(&store, &sessions[0]);
    node.keep(kept);
    node.answer();
    assert!(ready(&node, &mut trying).unwrap().is_none());
    assert_eq!(keys(&store), [String::from_utf8_lossy(guard.key()).into_owned()]);
}

#[test]
fn rec_12_releasing_says_whether_it_was_held() {
    let (node, store) = node();
    let session = session(&store);
    assert!(acquired(&store, &session).release().wait().unwrap());
    let guard = acquired(&store, &session);
    store.delete(guard.key().clone()).wait().unwrap();
    assert!(!guard.release().wait().unwrap(), "somebody else has deleted it");
    // Not in time: it goes on in the background.
    let guard = acquired(&store, &session);
    node.set_answer(Answer::Fail(Kind::Timeout));
    assert!(guard.release().wait().unwrap_err().is_timeout());
    let log = node.take_log();
    assert_eq!(log.iter().filter(|line| line.starts_with("write")).count(), 7, "{log:?}");
    node.set_answer(Answer::Honest);
    node.left_to_delete().iter().for_each(|left| drop(node.write(&left.deletion)));
    // Dropped before it is asked, and while it is.
    for asked in [false, true] {
        let guard = store.lock("m").acquire(&session).wait().unwrap();
        let mut release = guard.release();
        assert!(!asked || poll(&mut release).is_ready());
        drop(release);
        assert_eq!(store.range(KeyRange::prefix("m/")).wait().unwrap().count, 0);
    }
}

#[test]
fn rec_13_a_session_waits_for_itself() {
    let (node, store) = node();
    let session = session(&store);
    let first = acquired(&store, &session);
    let mut second = store.lock("l").acquire(&session);
    assert!(poll(&mut second).is_pending());
    let token = first.token();
    drop(first);
    assert!(ready(&node, &mut second).unwrap().token() > token);
}

#[test]
fn rec_14_a_transaction_commits_only_while_the_lock_is_held() {
    let (node, store) = node();
    let sessions = [(); 2].map(|()| session(&store));
    let guard = acquired(&store, &sessions[0]);
    let put = |guard: &LockGuard, value: &'static str| {
        guard.txn().then((Op::put("k", value), Op::get("k"))).wait()
    };
    let done = put(&guard, "1").unwrap();
    let (written, read) = done.branch.then().unwrap();
    assert_eq!(
        (done.header.revision, written.header.revision),
        (Revision::new(3), Revision::new(3))
    );
    assert_eq!(read.kv.unwrap().value(), b"1");
    // A condition of one's own is no loss.
    let other = guard.txn().when(Compare::absent("k")).then(Op::delete("k")).or_else(Op::get("k"));
    assert!(block_on(other).unwrap().branch.or_else().unwrap().kv.is_some());
    assert!(!guard.is_lost());

    // The key goes while the transaction is on its way.
    node.set_manner(Manner::Keep);
    let mut late = guard.txn().then(Op::put("k", "2"));
    assert!(poll(&mut late).is_pending());
    let kept = node.take_kept();
    node.set_manner(Manner::AnswerAtOnce);
    store.delete(guard.key().clone()).wait().unwrap();
    node.keep(kept);
    node.answer();
    let error = ready(&node, &mut late).unwrap_err();
    assert!(error.is_lost() && !error.is_unknown(), "{error}");
    assert!(guard.is_lost());
    node.take_log();
    assert!(put(&guard, "3").unwrap_err().is_lost());
    assert!(node.take_log().is_empty(), "who knows it asks nobody");
    assert_eq!(store.get("k").wait().unwrap().kv.unwrap().value(), b"1");
}

#[test]
fn rec_14_a_transaction_that_is_changed_when_it_was_asked_says_so() {
    let (node, store) = node();
    let session = session(&store);
    let guard = acquired(&store, &session);
    let mut asked = guard.txn();
    node.set_manner(Manner::Keep);
    assert!(poll(&mut asked).is_pending());
    let mut asked = asked.when(Compare::absent("k"));
    for _ in 0..2 {
        let Poll::Ready(Err(error)) = poll(&mut asked) else { panic!("it is over") };
        assert!(error.is_invalid() && !error.is_lost(), "it is held: {error}");
    }
    node.answer();
    node.set_manner(Manner::AnswerAtOnce);
    store.delete(guard.key().clone()).wait().unwrap();
    let mut lost = guard.txn();
    for _ in 0..2 {
        let Poll::Ready(Err(error)) = poll(&mut lost) else { panic!("it is over") };
        assert!(error.is_lost(), "seen before it was asked: {error}");
    }
}

/// Whoever keeps its place and could not leave it is not told that it had left.
#[test]
fn rec_21_who_could_not_leave_asks_again() {
    let (node, store) = node();
    let session = session(&store);
    let line = Line { store: store.clone(), directory: "l/".into() };
    let holder = line.holder(&session).unwrap();
    let entry = Entry::default();
    let held = block_on(line.enter_last(&holder, &entry, place::Manner::Awaited)).unwrap();
    node.set_manner(Manner::Refuse(Kind::Overloaded));
    assert!(Leave::of(held.place()).wait().unwrap_err().is_overloaded());
    node.set_manner(Manner::AnswerAtOnce);
    assert!(Leave::of(held.place()).wait().unwrap(), "it was there until now");
    assert!(!Leave::of(held.place()).wait().unwrap());
}

/// Somebody puts the key again: it is not the same.
#[test]
fn rec_14_a_key_that_was_made_again_is_not_held() {
    let (node, store) = node();
    let session = session(&store);
    let guard = acquired(&store, &session);
    let mut lost = guard.lost();
    assert!(poll(&mut lost).is_pending());
    store.delete(guard.key().clone()).wait().unwrap();
    store.put(guard.key().clone(), "").wait().unwrap();
    assert!(guard.is_lost());
    ready(&node, &mut lost);
    assert!(guard.txn().then(Op::put("k", "1")).wait().unwrap_err().is_lost());
    assert!(!guard.release().wait().unwrap());
    assert_eq!(keys(&store).len(), 1, "it is not deleted either");
}

#[test]
fn rec_14_a_guard_is_valid_until_its_session_is_not() {
    let (node, store) = node();
    let session = session(&store);
    let guard = acquired(&store, &session);
    assert_eq!(guard.valid_until(), session.deadline());
    let mut lost = guard.lost();
    assert!(poll(&mut lost).is_pending());
    node.pass(secs(10));
    assert!(guard.is_lost());
    assert_eq!(guard.valid_until(), session.deadline(), "it is past");
    ready(&node, &mut lost);

    let session = self::session(&store);
    let guard = store.lock("m").acquire(&session).wait().unwrap();
    session.close().wait().unwrap();
    let now = node.system_time(node.now());
    assert!(guard.is_lost() && guard.valid_until() <= now, "closed before its deadline");
    guard.lost().wait();
    assert!(guard.lost().wait_timeout(Duration::ZERO));
}

#[test]
fn rec_15_names_that_begin_alike_do_not_interfere() {
    let (_, store) = node();
    let session = session(&store);
    let acquire = |store: &Store, name: &'static str| {
        store.lock(name).acquire(&session).wait_timeout(Duration::ZERO).unwrap()
    };
    let _test = acquire(&store, "test");
    let _testa = acquire(&store, "testa");
    let _below = acquire(&store, "test/a");
    let _scoped = acquire(&store.scoped("test/"), "x");
    assert!(store.lock("test/a").try_acquire(&session).wait().unwrap().is_none());
    let lock = store.rw_lock("test");
    let _reader = lock.read(&session).wait_timeout(Duration::ZERO).unwrap();
    assert!(lock.try_write(&session).wait().unwrap().is_none());
    assert!(store.semaphore("a", 3).try_acquire(&session).wait().unwrap().is_some());
}

/// The example of the guide, which keeps its data where the lock has its line.
#[test]
fn rec_7_data_in_the_directory_stands_in_nobodys_way() {
    let (_, store) = node();
    let session = session(&store);
    for _ in 0..2 {
        let lock = store.lock("l");
        let guard = lock.acquire(&session).wait_timeout(Duration::ZERO).unwrap();
        let data = ["l/shoes", "l/41", "l/2024-10-15", "l/read/5", "l/"];
        for key in data {
            guard.txn().then(Op::put(key, "41")).wait().unwrap();
        }
        assert!(guard.release().wait().unwrap());
        assert!(lock.try_acquire(&session).wait().unwrap().is_some());
        for lock in [store.rw_lock("l"), store.rw_lock("l/read")] {
            drop(lock.write(&session).wait_timeout(Duration::ZERO).unwrap());
            assert!(lock.try_write(&session).wait().unwrap().is_some());
        }
        let semaphore = store.semaphore("l", 3);
        assert!(semaphore.acquire(&session).wait_timeout(Duration::ZERO).is_ok());
    }
}

/// More of it than is read at first, newer and older than those who stand there.
#[test]
fn rec_8_the_one_before_is_found_among_much_else() {
    let (node, store) = node();
    let sessions = [(); 2].map(|()| session(&store));
    let fill = |part: &str| {
        for at in 0..40 {
            store.put(format!("l/{part}/{at}"), "").wait().unwrap();
        }
    };
    fill("older");
    let first = acquired(&store, &sessions[0]);
    fill("newer");
    let mut second = store.lock("l").acquire(&sessions[1]);
    assert!(poll(&mut second).is_pending());
    assert!(store.lock("l").try_acquire(&sessions[1]).wait().unwrap().is_none());
    drop(first);
    let _second = ready(&node, &mut second).unwrap();
}

/// Who puts the key again without its lease takes the lock away: others pass over it, so its holder
/// holds nothing.
#[test]
fn rec_14_a_key_without_its_lease_holds_nothing() {
    let (node, store) = node();
    let sessions = [(); 2].map(|()| session(&store));
    let first = acquired(&store, &sessions[0]);
    node.set_manner(Manner::Keep);
    let mut late = first.txn().then(Op::put("k", "1"));
    assert!(poll(&mut late).is_pending());
    let kept = node.take_kept();
    node.set_manner(Manner::AnswerAtOnce);
    store.put(first.key().clone(), "").wait().unwrap();
    node.keep(kept);
    node.answer();
    assert!(ready(&node, &mut late).unwrap_err().is_lost());
    let second = store.lock("l").acquire(&sessions[1]).wait_timeout(Duration::ZERO).unwrap();
    assert!(first.is_lost() && !second.is_lost());
    assert!(first.release().wait().unwrap(), "it is deleted all the same");
}

#[test]
fn hlp_1_a_scoped_lock_is_within_its_prefix() {
    let (_, store) = node();
    let session = session(&store);
    let scoped = store.scoped("t/");
    let guard = scoped.lock("l").acquire(&session).wait().unwrap();
    assert!(guard.key().starts_with(b"l/"));
    assert_eq!(store.range(KeyRange::prefix("t/l/")).wait().unwrap().count, 1);
    guard.txn().then(Op::put("k", "1")).wait().unwrap();
    assert!(store.get("t/k").wait().unwrap().kv.is_some());
    let _other = acquired(&store, &session);
}

/// A line in which somebody else stands, by etcd's own names.
#[test]
fn rec_6_etcds_clients_stand_in_the_same_line() {
    let (node, store) = node();
    let session = session(&store);
    let theirs = store.grant(secs(10)).wait().unwrap().id;
    let key = format!("l/{:x}", theirs.get());
    store.put(key.clone(), "").lease(theirs).wait().unwrap();
    let mut ours = store.lock("l").acquire(&session);
    assert!(poll(&mut ours).is_pending());
    store.delete(key).wait().unwrap();
    let _guard = ready(&node, &mut ours).unwrap();
}

#[test]
fn a_compaction_under_a_waiter_makes_it_look_again() {
    let (node, store) = node();
    let session = session(&store);
    let first = acquired(&store, &session);
    let mut second = store.lock("l").acquire(&session);
    assert!(poll(&mut second).is_pending());
    drop(first);
    let now = store.put("x", "1").wait().unwrap().header.revision;
    store.compact(now).wait().unwrap();
    node.tidy(0);
    let _guard = ready(&node, &mut second).unwrap();
}

#[test]
fn a_session_of_another_node_is_refused() {
    let (_, store) = node();
    let (_, other) = node();
    let error = store.lock("l").acquire(&session(&other)).wait().unwrap_err();
    assert!(error.is_invalid(), "{error}");
}

#[test]
fn an_adopted_lease_with_keys_of_an_earlier_life_finds_a_name() {
    let (_, store) = node();
    let lease = store.grant(secs(10)).id(LeaseId::new(5)).wait().unwrap().id;
    store.put("l/5-7-3", "").lease(lease).wait().unwrap();
    let session = store.session(secs(1)).lease(lease).wait().unwrap();
    store.delete("l/5-7-3").wait().unwrap();
    for name in ["l/5-7-4", "l/5-7-5", "l/5-7-6"] {
        store.put(name, "").lease(lease).wait().unwrap();
    }
    let waits = store.lock("l").acquire(&session).wait_timeout(Duration::ZERO);
    assert!(waits.unwrap_err().is_timeout(), "it has a place behind those");
}

#[test]
fn guards_can_go_anywhere() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    fn movable<T: Send + 'static>(_: &T) {}
    let (_, store) = node();
    let session = session(&store);
    let lock = store.lock("l");
    shared(&lock);
    movable(&lock.acquire(&session));
    let guard = lock.acquire(&session).wait().unwrap();
    shared(&guard);
    movable(&guard.lost());
    movable(&guard.txn().then(Op::put("a", "1")));
    assert!(format!("{lock:?} {guard:?} {:?}", guard.lost()).contains("is_lost: false"));
    movable(&guard.release());
    let _: fn(&Error) -> bool = Error::is_lost;
}
