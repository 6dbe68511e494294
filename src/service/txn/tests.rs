use std::time::Duration;

use super::*;
use crate::core::machine::{Outcome, Refusal};
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;
use crate::service::fake::{Answer, MAX_TXN_OPS, Manner, fake, filled};

fn rev(revision: u64) -> Revision {
    Revision::new(revision)
}

fn value(response: &crate::GetResponse) -> &[u8] {
    response.kv.as_ref().unwrap().value()
}

#[test]
fn what_comes_back_has_the_shape_of_what_was_asked() {
    let (_, store) = filled();
    let ops = (
        Op::put("c", "3").prev_value(),
        Op::get("a"),
        [Op::get("b"), Op::get("c")],
        vec![Op::range(..)],
        Some(Op::delete("a").prev_values()),
        None::<PutOp>,
        (),
    );
    let done = store.txn().then(ops).wait().unwrap();
    assert!(done.succeeded());
    assert_eq!(done.header.revision, rev(4), "TXN-13");
    let (put, a, [b, c], ranges, deleted, none, ()) = done.branch.then().unwrap();
    assert_eq!((put.header.revision, put.prev_kv), (rev(4), None), "SEL-8");
    assert_eq!((value(&a), value(&b), value(&c)), (&b"1"[..], &b"2"[..], &b"3"[..]), "TXN-11");
    assert_eq!((ranges.len(), ranges[0].count, ranges[0].kvs.len()), (1, 3, 3));
    let deleted = deleted.unwrap();
    assert_eq!((deleted.deleted, deleted.prev_kvs[0].value()), (1, &b"1"[..]));
    assert_eq!(none, None);
}

#[test]
fn txn_1_the_other_branch_is_taken_where_a_condition_fails() {
    let (_, store) = filled();
    let held = Compare::value("a").equals("1");
    let broken = Compare::mod_revision("b").greater_than(rev(3));
    let txn = |conditions: &[&Compare]| {
        let txn = store.txn().then(Op::put("c", "then")).or_else((Op::get("a"), Op::get("z")));
        conditions.iter().fold(txn, |txn, condition| txn.when((*condition).clone()))
    };
    let done = txn(&[&held, &broken]).wait().unwrap();
    assert!(!done.succeeded());
    assert_eq!(done.header.revision, rev(3));
    let (a, z) = done.branch.or_else().unwrap();
    assert_eq!((value(&a), z.kv), (&b"1"[..], None));
    assert!(txn(&[&held]).wait().unwrap().succeeded());
    assert!(txn(&[]).wait().unwrap().succeeded());
}

#[test]
fn txn_2_conditions_say_what_they_say() {
    let (_, store) = filled();
    let none = LeaseId::new(0);
    let hold = [
        Compare::version("a").equals(1),
        Compare::version("a").less_than(2),
        Compare::create_revision("a").equals(rev(2)),
        Compare::create_revision("b").not_equals(rev(2)),
        Compare::mod_revision(KeyRange::all()).less_than(rev(4)),
        Compare::value(KeyRange::all()).greater_than("0"),
        Compare::lease("a").equals(none),
        Compare::absent("z"),
        Compare::absent("x".."z"),
        Compare::exists("a"),
    ];
    let fail = [
        Compare::version("a").greater_than(1),
        Compare::create_revision("a").greater_than(rev(2)),
        Compare::mod_revision(KeyRange::all()).less_than(rev(3)),
        Compare::value("a").not_equals("1"),
        Compare::value("z").not_equals("1"),
        Compare::lease("a").not_equals(none),
        Compare::absent("a"),
        Compare::exists("z"),
        Compare::exists("x".."z"),
    ];
    for (conditions, wanted) in [(&hold[..], true), (&fail[..], false)] {
        for condition in conditions {
            let done = store.txn().when(condition.clone()).wait().unwrap();
            assert_eq!(done.succeeded(), wanted, "{condition:?}");
        }
    }
}

#[test]
fn txn_19_nested_ones_have_branches_of_their_own() {
    let (_, store) = filled();
    let inner = Op::txn().when(Compare::absent("a")).then(Op::get("b")).or_else(Op::get("a"));
    let outer = store.txn().when(Compare::exists("a")).then((inner, Op::put("c", "3")));
    let (inner, _) = outer.wait().unwrap().branch.then().unwrap();
    assert!(!inner.succeeded());
    assert_eq!(value(&inner.into_inner()), b"1");
}

#[test]
fn operations_of_any_kind_go_into_a_list() {
    let (_, store) = filled();
    let inner = Op::txn().then(vec![Op::get("a").into()]).or_else(Vec::new());
    let ops: Vec<Op> = vec![
        Op::put("c", "3").into(),
        Op::get("c").into(),
        Op::range("a".."c").keys_only().into(),
        Op::delete("b").into(),
        inner.into(),
    ];
    let Branch::Then(responses) = store.txn().then(ops).wait().unwrap().branch else { panic!() };
    let [
        OpResponse::Put(_),
        OpResponse::Get(got),
        OpResponse::Range(range),
        OpResponse::Delete(deleted),
        OpResponse::Txn(inner),
    ] = &responses[..]
    else {
        panic!("{responses:?}")
    };
    assert_eq!(value(got), b"3");
    assert_eq!((range.count, range.kvs[0].value()), (2, &b""[..]));
    assert_eq!(deleted.deleted, 1);
    assert!(inner.succeeded());
}

#[test]
fn txn_16_one_that_only_reads_is_asked_for_as_a_read() {
    let (node, store) = filled();
    let read = || store.txn().when(Compare::exists("a")).then(Op::get("a")).or_else(Op::range(..));
    let done = read().wait().unwrap();
    assert_eq!(value(&done.branch.then().unwrap()), b"1");
    assert_eq!(node.take_log()[0], "read, 5s, Lend");
    read().serializable().wait().unwrap();
    assert!(node.take_log().is_empty(), "KV-16");
    assert!(read().at_least(rev(9)).wait().unwrap_err().is_future_revision());
    // Without operations too it is linearizable, though etcd's may be stale.
    store.txn().when(Compare::exists("a")).timeout(Duration::from_secs(1)).wait().unwrap();
    let log = node.take_log();
    assert!(log.iter().any(|line| line == "read, 1s, Lend"), "{log:?}");
    // One branch that writes is enough.
    store.txn().then(Op::get("a")).or_else(Op::delete("a")).wait().unwrap();
    assert_eq!(node.take_log()[0], "write, 5s, Lend", "TXN-17");
    let stale = store.txn().then(Op::put("a", "1")).serializable().wait().unwrap_err();
    assert!(stale.is_invalid(), "{stale}");
}

#[test]
fn a_read_only_one_says_what_cannot_be_read() {
    let (_, store) = filled();
    store.compact(rev(3)).wait().unwrap();
    let at = |revision| store.txn().then((Op::get("b"), Op::get("a").at(rev(revision)))).wait();
    assert!(at(2).unwrap_err().is_compacted(), "TXN-8");
    assert!(at(4).unwrap_err().is_future_revision(), "TXN-12");
    assert_eq!(value(&at(3).unwrap().branch.then().unwrap().1), b"1");
}

#[test]
fn sel_9_what_can_never_be_done_is_refused_before_it_is_asked() {
    let (node, store) = filled();
    let refused = |error: Option<crate::Error>| {
        assert!(node.take_log().is_empty());
        error.unwrap()
    };
    let empty = store.txn().when(Compare::absent("")).then(Op::put("a", "1")).wait();
    assert!(refused(empty.err()).is_invalid(), "SEL-4");
    let empty = store.txn().or_else(Op::get("")).wait();
    assert!(refused(empty.err()).is_invalid(), "SEL-4, TXN-7");
    let twice = store.txn().or_else((Op::put("a", "1"), Op::delete("a".."c"))).wait();
    assert!(refused(twice.err()).is_duplicate_key(), "TXN-9, ERR-6");
    let many = store.txn().then(vec![Op::get("a"); MAX_TXN_OPS + 1]).wait();
    assert!(refused(many.err()).is_too_large(), "TXN-6, ERR-5");
    let both = store.txn().then(Op::put("a", "1").ignore_value()).wait();
    assert!(refused(both.err()).is_invalid(), "KV-34");
    let large = store.txn().then(Op::put("a", vec![0; 300])).wait();
    assert!(refused(large.err()).is_too_large(), "SEL-10");
}

#[test]
fn what_is_refused_when_it_is_applied_has_not_happened() {
    let (node, store) = filled();
    let kept = store.txn().then((Op::put("c", "3"), Op::put("z", "").ignore_value())).wait();
    let error = kept.unwrap_err();
    assert!(error.is_key_not_found() && !error.is_unknown(), "TXN-8, ERR-2: {error}");
    assert_eq!(store.range(..).wait().unwrap().count, 2);
    node.set_answer(Answer::Outcome(Outcome::Refused(Refusal::LeaseNotFound(LeaseId::new(5)))));
    let leased = store.txn().then(Op::put("c", "3").lease(LeaseId::new(5))).wait();
    assert!(leased.unwrap_err().is_lease_not_found(), "KV-31");
    node.set_answer(Answer::Outcome(Outcome::Superseded));
    assert!(store.txn().then(Op::put("c", "3")).wait().unwrap_err().is_unknown());
    // An answer without what was read is not taken for one.
    let bare = TxnOutcome { revision: rev(3), succeeded: true, responses: Vec::new() };
    node.set_answer(Answer::Outcome(Outcome::Txn(bare)));
    assert!(store.txn().then(Op::put("c", "3")).wait().unwrap_err().is_unknown());
}

#[test]
fn hlp_1_a_scoped_one_reaches_its_own_keys_only() {
    let (_, store) = filled();
    let scoped = store.scoped("s/");
    scoped.put("a", "mine").wait().unwrap();
    let done = scoped
        .txn()
        .when(Compare::value("a").equals("mine"))
        .when(Compare::absent("b"))
        .then((Op::put("c", "3"), Op::range(..), Op::txn().then(Op::delete("a").prev_values())))
        .wait()
        .unwrap();
    let twice = scoped.txn().then((Op::put("k", "1"), Op::delete("k"))).wait().unwrap_err();
    assert_eq!(twice.to_string(), "the key \"k\" is written twice in one transaction");
    let (_, range, inner) = done.branch.then().unwrap();
    let keys: Vec<&[u8]> = range.kvs.iter().map(crate::KeyValue::key).collect();
    assert_eq!(keys, [b"a", b"c"]);
    assert_eq!(inner.then().unwrap().prev_kvs[0].key(), b"a");
    let whole = store.range(..).wait().unwrap();
    let keys: Vec<&[u8]> = whole.kvs.iter().map(crate::KeyValue::key).collect();
    assert_eq!(keys, [&b"a"[..], b"b", b"s/c"]);
}

#[test]
fn it_can_be_awaited_and_asks_once() {
    let (node, store) = fake(Manner::AnswerAtOnce);
    let done = futures_executor::block_on(store.txn().then(Op::put("a", "1"))).unwrap();
    assert_eq!(done.header.revision, rev(2));
    assert_eq!(node.take_log(), ["write, 5s, Leave"]);
    drop(store.txn().then(Op::put("a", "1")));
    assert!(node.take_log().is_empty());
}
