use bytes::Bytes;
use futures_executor::block_on;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::super::cluster::TransferLeader;
use super::super::fake::{Answer, Fake, MAX_REQUEST_BYTES, MEMBER, Manner, fake};
use crate::core::machine::{FRAME_BYTES, Outcome, Refusal};
use crate::error::{Error, Kind};
use crate::gate::Gate;
use crate::ids::{ClusterId, LeaseId, NodeId, Revision, Term};
use crate::keys::KeyRange;
use crate::service::Header;
use crate::store::Store;

fn rev(revision: u64) -> Revision {
    Revision::new(revision)
}

fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// The result of a future that must have one by now.
fn ready<T>(future: &mut (impl Future<Output = T> + Unpin)) -> T {
    let Poll::Ready(result) = poll(future) else { panic!("the future is not ready") };
    result
}

/// A node that answers honestly, with `a` put at 2, `b` at 3, `a` again at 4.
fn filled() -> (Arc<Fake>, Store) {
    let (node, store) = fake(Manner::AnswerWhenLent);
    for (key, value) in [("a", "1"), ("b", "2"), ("a", "3")] {
        store.put(key, value).wait().unwrap();
    }
    node.take_log();
    (node, store)
}

fn values(kvs: &[crate::KeyValue]) -> Vec<&[u8]> {
    kvs.iter().map(crate::KeyValue::value).collect()
}

#[test]
fn futures_and_handles_can_go_anywhere() {
    fn movable<T: Send + Unpin + 'static>(_: &T) {}
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    let (node, store) = fake(Manner::Keep);
    shared(&store);
    movable(&store.put("a", "1"));
    movable(&store.get("a"));
    movable(&store.range(..));
    movable(&store.delete("a"));
    movable(&store.compact(rev(1)));
    movable(&store.hash());
    movable(&TransferLeader::new(&(node as Arc<dyn Gate>), MEMBER));
}

#[test]
fn sel_7_a_put_answers_with_the_header_of_its_revision() {
    let (node, store) = fake(Manner::AnswerWhenLent);
    let first = store.put("a", "1").prev_value().wait().unwrap();
    let header =
        Header { cluster: ClusterId::new(9), member: MEMBER, term: Term::new(3), revision: rev(2) };
    assert_eq!(first.header, header);
    assert_eq!(first.prev_kv, None, "KV-33: there was none");
    assert_eq!(node.take_log(), ["write, 5s, Lend", "lent, done: false"]);
    let second = store.put("a", "2").prev_value().wait().unwrap();
    assert_eq!(second.prev_kv.unwrap().value(), b"1", "KV-33");
    let third = store.put("a", "2").wait().unwrap();
    assert_eq!((third.header.revision, third.prev_kv), (rev(4), None), "KV-30, KV-33");
}

#[test]
fn every_call_can_be_awaited() {
    let (node, store) = fake(Manner::AnswerAtOnce);
    block_on(async {
        assert_eq!(store.put("a", "1").await.unwrap().header.revision, rev(2));
        assert_eq!(store.get("a").await.unwrap().kv.unwrap().value(), b"1");
        assert_eq!(store.range(..).await.unwrap().count, 1);
        assert_eq!(store.delete("a").await.unwrap().deleted, 1);
        assert_eq!(store.compact(rev(3)).await.unwrap().header.revision, rev(3));
        TransferLeader::new(&(Arc::clone(&node) as Arc<dyn Gate>), NodeId::new(8)).await.unwrap();
    });
    let asked = ["write", "read", "read", "write", "write", "transfer to 8"];
    assert_eq!(node.take_log(), asked.map(|what| format!("{what}, 5s, Leave")));
}

#[test]
fn every_call_can_be_waited_for() {
    let (node, store) = fake(Manner::AnswerWhenLent);
    store.put("a", "1").wait().unwrap();
    assert_eq!(store.get("a").wait().unwrap().kv.unwrap().value(), b"1");
    assert_eq!(store.range(..).wait().unwrap().count, 1);
    assert_eq!(store.delete("a").wait().unwrap().deleted, 1);
    assert_eq!(store.compact(rev(3)).wait().unwrap().header.revision, rev(3));
    TransferLeader::new(&(Arc::clone(&node) as Arc<dyn Gate>), NodeId::new(8)).wait().unwrap();
    let asked = ["write", "read", "read", "write", "write", "transfer to 8"];
    let log = asked.map(|what| [format!("{what}, 5s, Lend"), "lent, done: false".to_owned()]);
    assert_eq!(node.take_log(), log.concat());
}

#[test]
fn a_thread_that_waits_gets_an_answer_given_while_nobody_lent() {
    let (node, store) = fake(Manner::AnswerAtOnce);
    store.put("a", "1").wait().unwrap();
    assert_eq!(node.take_log(), ["write, 5s, Lend", "lent, done: true"]);
}

#[test]
fn the_timeout_travels_with_the_request() {
    let (node, store) = fake(Manner::AnswerWhenLent);
    let second = Duration::from_secs(1);
    store.put("a", "1").timeout(second).wait().unwrap();
    store.get("a").wait_timeout(second).unwrap();
    let log = node.take_log();
    assert_eq!(log.iter().step_by(2).collect::<Vec<_>>(), ["write, 1s, Lend", "read, 1s, Lend"]);
}

#[test]
fn kv_16_a_serializable_read_asks_nobody() {
    let (node, store) = filled();
    node.set_manner(Manner::Refuse(Kind::Unavailable));
    assert_eq!(store.get("a").serializable().wait().unwrap().kv.unwrap().value(), b"3");
    let mut range = store.range(..).serializable();
    assert_eq!(values(&ready(&mut range).unwrap().kvs), [b"3", b"2"]);
    assert_eq!(node.take_log(), [""; 0]);
    assert!(store.get("a").wait().unwrap_err().is_unavailable(), "a linearizable one does");
}

#[test]
fn lin_1_a_node_that_leads_alone_reads_at_once() {
    let (node, store) = filled();
    node.set_leads_alone(true);
    assert!(store.get("b").wait().unwrap().kv.is_some());
    assert_eq!(ready(&mut store.range(..).count_only()).unwrap().count, 2);
    assert_eq!(node.take_log(), [""; 0]);
}

#[test]
fn lin_1_a_read_sees_what_was_written_before_its_round_ended() {
    let (node, store) = filled();
    node.set_manner(Manner::Keep);
    let mut get = store.get("a");
    assert!(poll(&mut get).is_pending());
    node.set_manner(Manner::AnswerAtOnce);
    store.put("a", "newer").wait().unwrap();
    assert!(poll(&mut get).is_pending());
    node.answer();
    let response = ready(&mut get).unwrap();
    assert_eq!(response.kv.unwrap().value(), b"newer");
    assert_eq!(response.header.revision, rev(5));
}

/// INV-3: the state is that of the revision asked for, the header's revision is the current one.
#[test]
fn sel_7_reads_carry_the_current_revision_whatever_was_asked_for() {
    let (_, store) = filled();
    let newest = store.get("a").wait().unwrap();
    assert_eq!((newest.header.revision, newest.kv.unwrap().mod_revision()), (rev(4), rev(4)));
    let old = store.get("a").at(rev(2)).wait().unwrap();
    assert_eq!((old.header.revision, old.kv.unwrap().value()), (rev(4), b"1".as_slice()));
    let none = store.get("b").at(rev(2)).wait().unwrap();
    assert_eq!((none.header.revision, none.kv), (rev(4), None));
    let range = store.range(..).at(rev(3)).wait().unwrap();
    assert_eq!((range.header.revision, values(&range.kvs)), (rev(4), vec![b"1".as_slice(), b"2"]));
    let count = store.range(..).at(rev(2)).count_only().wait().unwrap();
    assert_eq!((count.header.revision, count.count), (rev(4), 1));
}

/// ERR-9, ERR-10.
#[test]
fn kv_2_revision_0_is_the_newest_and_others_must_be_readable() {
    let (_, store) = filled();
    assert_eq!(store.get("a").at(rev(0)).wait().unwrap().kv.unwrap().value(), b"3");
    store.compact(rev(3)).wait().unwrap();
    for serializable in [false, true] {
        let get = |at| {
            let get = store.get("a").at(rev(at));
            if serializable { get.serializable().wait() } else { get.wait() }
        };
        assert!(get(5).unwrap_err().is_future_revision(), "KV-17");
        assert_eq!(get(2).unwrap_err().compacted_revision(), Some(rev(3)));
        assert_eq!(get(3).unwrap().kv.unwrap().value(), b"1");
        assert_eq!(get(4).unwrap().kv.unwrap().value(), b"3");
    }
    assert!(store.range(..).at(rev(2)).wait().unwrap_err().is_compacted());
    assert!(store.range(..).at(rev(9)).count_only().wait().unwrap_err().is_future_revision());
}

#[test]
fn kv_4_a_limit_says_if_it_cut_something_off() {
    let (_, store) = filled();
    let cut = store.range(..).limit(1).wait().unwrap();
    assert_eq!((values(&cut.kvs), cut.more, cut.count), (vec![b"3".as_slice()], true, 2));
    let exact = store.range("a".."c").limit(2).wait().unwrap();
    assert_eq!((exact.kvs.len(), exact.more), (2, false));
    let count = store.range(..).limit(1).count_only().wait().unwrap();
    assert_eq!((count.kvs.len(), count.more, count.count), (0, false, 2), "KV-6");
    let nothing = store.range("c".."a").wait().unwrap();
    assert_eq!((nothing.kvs.len(), nothing.count), (0, 0), "SEL-3");
}

#[test]
fn kv_50_a_delete_takes_a_key_or_a_range() {
    let (node, store) = filled();
    let one = store.delete("a").wait().unwrap();
    assert_eq!((one.header.revision, one.deleted, one.prev_kvs.len()), (rev(5), 1, 0));
    let none = store.delete("a").wait().unwrap();
    assert_eq!((none.header.revision, none.deleted), (rev(5), 0), "KV-52, KV-53");
    store.put("a", "4").wait().unwrap();
    let both = store.delete(KeyRange::all()).prev_values().wait().unwrap();
    assert_eq!((both.header.revision, both.deleted), (rev(7), 2), "KV-51");
    assert_eq!(values(&both.prev_kvs), [b"4", b"2"]);
    assert_eq!(node.revision(), rev(7));
}

/// SEL-9: the syntax is looked at first.
#[test]
fn sel_4_an_empty_key_reaches_nobody() {
    let (node, store) = fake(Manner::AnswerAtOnce);
    let long = vec![0; 2 * MAX_REQUEST_BYTES];
    let errors = [
        store.put("", long).wait().unwrap_err(),
        store.get("").wait().unwrap_err(),
        store.get("").serializable().wait().unwrap_err(),
        store.range("").wait().unwrap_err(),
        store.range("".."b").serializable().wait().unwrap_err(),
        store.delete("").wait().unwrap_err(),
        ready(&mut store.put("", "")).unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_invalid() && !error.is_too_large() && !error.is_unknown(), "{error}");
        assert_eq!(error.to_string(), "the key is empty: a key has at least one byte");
    }
    assert_eq!(node.take_log(), [""; 0]);
}

#[test]
fn sel_10_a_request_with_too_many_bytes_reaches_nobody() {
    let (node, store) = fake(Manner::AnswerAtOnce);
    let fits = (0..MAX_REQUEST_BYTES)
        .rev()
        .find(|&bytes| store.put("k", vec![0; bytes]).wait().is_ok())
        .unwrap();
    assert!(fits < MAX_REQUEST_BYTES - FRAME_BYTES, "what is replicated counts, not the value");
    assert!(fits > MAX_REQUEST_BYTES - FRAME_BYTES - 16);
    node.take_log();
    let error = store.put("k", vec![0; fits + 1]).wait().unwrap_err();
    assert!(error.is_too_large() && error.is_invalid() && !error.is_unknown());
    let message = "the request has 257 bytes when encoded: max_request_bytes is 256";
    assert_eq!(error.to_string(), message);
    let error = store.delete(vec![b'k'; MAX_REQUEST_BYTES]).wait().unwrap_err();
    assert!(error.is_too_large());
    assert_eq!(node.take_log(), [""; 0]);
}

/// The errors of every write, awaited and waited for, from a node that is set up by `set`.
fn write_errors(set: impl Fn(&Fake)) -> Vec<Error> {
    let (node, store) = fake(Manner::AnswerWhenLent);
    set(&node);
    let mut errors = vec![
        store.put("a", "1").wait().unwrap_err(),
        store.delete("a").wait().unwrap_err(),
        store.compact(rev(1)).wait().unwrap_err(),
    ];
    let (node, store) = fake(Manner::AnswerAtOnce);
    set(&node);
    errors.push(block_on(store.put("a", "1")).unwrap_err());
    errors.push(block_on(store.delete("a")).unwrap_err());
    errors.push(block_on(store.compact(rev(1))).unwrap_err());
    errors
}

/// ERR-12.
#[test]
fn a_write_that_was_not_taken_is_not_applied() {
    for error in write_errors(|node| node.set_manner(Manner::Refuse(Kind::Overloaded))) {
        assert!(error.is_overloaded() && !error.is_unknown(), "{error}");
    }
}

/// ERR-33.
#[test]
fn a_write_whose_node_goes_away_is_unknown() {
    for error in write_errors(|node| node.set_answer(Answer::Gone)) {
        assert!(error.is_closed() && error.is_unknown(), "{error}");
    }
}

#[test]
fn a_write_passes_on_what_its_node_says() {
    for error in write_errors(|node| node.set_answer(Answer::Fail(Kind::Timeout))) {
        assert!(error.is_timeout() && !error.is_unknown(), "it is the node that knows: {error}");
    }
}

/// ERR-32.
#[test]
fn a_superseded_write_is_unknown() {
    for error in write_errors(|node| node.set_answer(Answer::Outcome(Outcome::Superseded))) {
        assert!(error.is_unavailable() && error.is_unknown(), "{error}");
    }
}

/// ERR-9, ERR-10, ERR-13.
#[test]
fn a_write_refused_at_apply_says_why_and_that_it_is_not_applied() {
    let refused = |refusal| Answer::Outcome(Outcome::Refused(refusal));
    let lease = Refusal::LeaseNotFound(LeaseId::new(5));
    for error in write_errors(|node| node.set_answer(refused(lease))) {
        assert!(error.is_lease_not_found() && !error.is_unknown(), "KV-31: {error}");
    }
    let compacted = Refusal::Compacted { asked: rev(1), compacted: rev(4) };
    for error in write_errors(|node| node.set_answer(refused(compacted))) {
        assert_eq!(error.compacted_revision(), Some(rev(4)));
        assert!(!error.is_unknown(), "{error}");
    }
    let (_, store) = filled();
    assert!(store.compact(rev(5)).wait().unwrap_err().is_future_revision(), "CMP-1");
    store.compact(rev(4)).wait().unwrap();
    assert!(store.compact(rev(4)).wait().unwrap_err().is_compacted(), "CMP-1");
}

#[test]
fn cmp_9_a_compaction_says_whether_its_removal_is_waited_for() {
    let (node, store) = filled();
    store.compact(rev(2)).wait().unwrap();
    store.compact(rev(3)).physical().wait().unwrap();
    let asked = ["write, 5s, Lend", "lent, done: false"];
    let waits = ["write, and remove, 5s, Lend", "lent, done: false"];
    assert_eq!(node.take_log(), [asked, waits].concat());
}

#[test]
fn hsh_2_a_hash_is_of_what_this_member_has_and_asks_nobody() {
    let (_, store) = filled();
    let hash = store.hash().wait().unwrap();
    assert_eq!((hash.revision, hash.header.revision, hash.compacted), (rev(4), rev(4), None));
    let older = store.hash().at(rev(3)).wait().unwrap();
    assert_eq!((older.revision, older.header.revision), (rev(3), rev(4)));
    assert_ne!(older.hash, hash.hash);
    assert!(store.hash().at(rev(5)).wait().unwrap_err().is_future_revision());
    store.compact(rev(4)).wait().unwrap();
    assert!(store.hash().at(rev(3)).wait().unwrap_err().is_compacted());
    let (node, store) = fake(Manner::AnswerAtOnce);
    node.set_answer(Answer::Gone);
    assert!(store.hash().wait().unwrap_err().is_closed());
}

#[test]
fn an_outcome_of_another_kind_is_never_taken_for_success() {
    for error in write_errors(|node| node.set_answer(Answer::Outcome(Outcome::Announced))) {
        assert!(error.is_corrupt() && error.is_unknown(), "{error}");
    }
}

#[test]
fn a_read_whose_node_goes_away_has_written_nothing() {
    let (node, store) = fake(Manner::AnswerAtOnce);
    node.set_answer(Answer::Gone);
    let transfer = || TransferLeader::new(&(Arc::clone(&node) as Arc<dyn Gate>), MEMBER);
    for error in [
        store.get("a").wait().unwrap_err(),
        store.range(..).wait().unwrap_err(),
        transfer().wait().unwrap_err(),
        block_on(store.get("a")).unwrap_err(),
        block_on(store.range(..)).unwrap_err(),
        block_on(transfer()).unwrap_err(),
    ] {
        assert!(error.is_closed() && !error.is_unknown(), "{error}");
    }
    node.set_answer(Answer::Fail(Kind::Unavailable));
    assert!(store.range(..).wait().unwrap_err().is_unavailable());
}

#[test]
fn a_future_that_is_dropped_early_has_asked_for_nothing() {
    let (node, store) = fake(Manner::Keep);
    drop(store.put("a", "1"));
    assert_eq!(node.take_log(), [""; 0]);
}

#[test]
fn a_future_that_is_dropped_while_it_waits_leaves_its_write_to_the_node() {
    let (node, store) = fake(Manner::Keep);
    let mut put = store.put("a", "1");
    assert!(poll(&mut put).is_pending());
    drop(put);
    node.answer();
    assert_eq!(node.revision(), rev(2), "it was handed over, so it happened");
    let mut get = store.get("a");
    assert!(poll(&mut get).is_pending());
    drop(get);
    node.answer();
}

#[test]
fn a_future_asks_once_however_often_it_is_polled() {
    let (node, store) = fake(Manner::Keep);
    let mut put = store.put("a", "1");
    assert!(poll(&mut put).is_pending());
    assert!(poll(&mut put).is_pending());
    node.answer();
    assert_eq!(ready(&mut put).unwrap().header.revision, rev(2));
    assert_eq!(node.take_log(), ["write, 5s, Leave"]);
}

#[test]
fn a_future_that_is_polled_after_its_end_says_so() {
    let (node, store) = fake(Manner::AnswerAtOnce);
    let mut put = store.put("a", "1");
    ready(&mut put).unwrap();
    let error = ready(&mut put).unwrap_err();
    assert!(error.is_invalid() && error.is_unknown(), "it was applied, so: {error}");
    assert!(put.wait().unwrap_err().is_invalid());
    let mut get = store.get("a").serializable();
    ready(&mut get).unwrap();
    let error = ready(&mut get).unwrap_err();
    assert!(error.is_invalid() && !error.is_unknown());
    let mut refused = store.put("", "");
    ready(&mut refused).unwrap_err();
    assert!(ready(&mut refused).unwrap_err().is_invalid());
    assert_eq!(node.take_log(), ["write, 5s, Leave"]);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "one thread waits while another answers")]
fn a_future_that_was_polled_can_be_waited_for() {
    let (node, store) = fake(Manner::Keep);
    let mut put = store.put("a", "1");
    assert!(poll(&mut put).is_pending());
    node.answer();
    assert_eq!(put.wait().unwrap().header.revision, rev(2));
    // The answer may also come while the thread is parked.
    let mut put = store.put("a", "2");
    assert!(poll(&mut put).is_pending());
    std::thread::scope(|scope| {
        let waiter = scope.spawn(move || put.wait());
        node.answer();
        assert_eq!(waiter.join().unwrap().unwrap().header.revision, rev(3));
    });
}

#[test]
fn keys_and_values_are_taken_in_many_forms() {
    let (_, store) = fake(Manner::AnswerAtOnce);
    store.put("a", String::from("1")).wait().unwrap();
    store.put(vec![b'b'], b"2".as_slice()).wait().unwrap();
    store.put(Bytes::from_static(b"c"), vec![]).wait().unwrap();
    assert_eq!(store.get(String::from("c")).wait().unwrap().kv.unwrap().value(), b"", "SEL-13");
    for one in [KeyRange::from("a"), String::from("a").into(), vec![b'a'].into()] {
        assert_eq!(store.range(one).wait().unwrap().count, 1);
    }
}

#[test]
fn what_is_printed_names_the_member_and_the_state() {
    let (_, store) = fake(Manner::Keep);
    let debug = "Store { cluster: ClusterId(9), member: NodeId(7), .. }";
    assert_eq!(format!("{store:?}"), debug);
    let mut get = store.get("a");
    assert!(format!("{get:?}").contains("state: new"));
    assert!(poll(&mut get).is_pending());
    assert!(format!("{get:?}").contains("state: waiting"));
}

#[test]
fn a_future_lets_others_ask_first_when_the_node_is_busy() {
    let (node, store) = fake(Manner::Keep);
    let mut first = store.put("a", "1");
    assert!(poll(&mut first).is_pending());
    let (mut second, mut third) = (store.put("a", "2"), store.put("a", "3"));
    assert!(poll(&mut second).is_pending());
    assert!(poll(&mut third).is_pending());
    assert_eq!(node.take_log(), ["write, 5s, Leave", "write, 5s, Gather", "write, 5s, Gather"]);
    // Who comes back first drives for all, once.
    assert!(poll(&mut second).is_pending());
    assert!(poll(&mut second).is_pending());
    assert_eq!(node.take_log(), ["driven"]);
    node.answer();
    assert_eq!(ready(&mut third).unwrap().header.revision, rev(4));
    assert_eq!(node.take_log(), [""; 0], "it has its answer");
    assert!(poll(&mut first).is_ready());
}

#[test]
fn a_future_that_gathers_wakes_itself_and_drives_when_it_is_dropped() {
    let (node, store) = fake(Manner::Keep);
    let mut first = store.put("a", "1");
    assert!(poll(&mut first).is_pending());
    let woken = Arc::new(AtomicUsize::new(0));
    let waker = Waker::from(Arc::new(Count(Arc::clone(&woken))));
    let mut second = store.put("a", "2");
    assert!(Pin::new(&mut second).poll(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    drop(second);
    assert_eq!(node.take_log(), ["write, 5s, Leave", "write, 5s, Gather", "driven"]);
    drop(first);
    assert_eq!(node.take_log(), [""; 0], "it was driven when it asked");
}

/// Counts how often it is woken.
struct Count(Arc<AtomicUsize>);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
