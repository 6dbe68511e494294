use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::super::fake::{Manner, fake};
use crate::core::mvcc::{Order, SortBy};
use crate::error::Kind;
use crate::ids::Revision;
use crate::keys::KeyRange;
use crate::service::{RangeRead, RangeResponse};
use crate::store::Store;

fn rev(revision: u64) -> Revision {
    Revision::new(revision)
}

/// Keys whose versions, values, create and mod revisions are in four different orders.
///
/// ```text
///   a  create 2  mod 8  version 3  value "m"
///   b  create 3  mod 3  version 1  value "z"
///   c  create 4  mod 7  version 2  value "k"
///   d  create 6  mod 6  version 1  value "k"
/// ```
fn filled() -> Store {
    let (_, store) = fake(Manner::AnswerWhenLent);
    for (key, value) in [("a", "1"), ("b", "z"), ("c", "1")] {
        store.put(key, value).wait().unwrap();
    }
    store.put("a", "2").wait().unwrap();
    for (key, value) in [("d", "k"), ("c", "k"), ("a", "m")] {
        store.put(key, value).wait().unwrap();
    }
    store
}

fn shown(response: &RangeResponse) -> String {
    let keys = response.kvs.iter().map(|kv| char::from(*kv.key().first().unwrap()));
    keys.collect()
}

fn keys(read: RangeRead) -> String {
    shown(&read.wait().unwrap())
}

#[test]
fn kv_10_keys_come_in_the_order_asked_for() {
    let store = filled();
    let by = |by, order| keys(store.range(..).sort_by(by).order(order));
    assert_eq!(by(SortBy::Key, Order::Descending), "dcba");
    assert_eq!(by(SortBy::Version, Order::Descending), "acbd", "KV-13: b and d are equal");
    assert_eq!(by(SortBy::CreateRevision, Order::Ascending), "abcd");
    assert_eq!(by(SortBy::CreateRevision, Order::Descending), "dcba");
    assert_eq!(by(SortBy::ModRevision, Order::Ascending), "bdca");
    assert_eq!(by(SortBy::ModRevision, Order::Descending), "acdb");
    assert_eq!(by(SortBy::Value, Order::Ascending), "cdab", "KV-13: c and d are equal");
    assert_eq!(by(SortBy::Value, Order::Descending), "bacd", "KV-13: and stay in key order");
}

#[test]
fn kv_11_a_target_without_an_order_ascends() {
    let store = filled();
    assert_eq!(keys(store.range(..).sort_by(SortBy::Value)), "cdab");
    assert_eq!(keys(store.range(..).sort_by(SortBy::Key)), "abcd");
    assert_eq!(keys(store.range(..)), "abcd", "KV-1");
}

#[test]
fn kv_8_bounds_are_inclusive_and_0_is_none() {
    let store = filled();
    let all = || store.range(..);
    assert_eq!(keys(all().min_mod_revision(rev(7))), "ac");
    assert_eq!(keys(all().max_mod_revision(rev(6))), "bd");
    assert_eq!(keys(all().min_mod_revision(rev(6)).max_mod_revision(rev(7))), "cd");
    assert_eq!(keys(all().min_create_revision(rev(4))), "cd");
    assert_eq!(keys(all().max_create_revision(rev(3))), "ab");
    assert_eq!(keys(all().max_create_revision(rev(4)).min_mod_revision(rev(7))), "ac");
    assert_eq!(keys(all().max_mod_revision(rev(0)).min_create_revision(rev(0))), "abcd");
    assert_eq!(keys(all().min_mod_revision(rev(7)).max_mod_revision(rev(6))), "");
    assert_eq!(keys(all().at(rev(5)).max_mod_revision(rev(4))), "bc", "as they were at 5");
}

/// KV-5: what is counted is the range.
#[test]
fn kv_9_a_limit_counts_what_is_left_and_sorted() {
    let store = filled();
    let read = |limit| {
        let read = store.range(..).min_mod_revision(rev(6)).order(Order::Descending);
        let response = read.limit(limit).wait().unwrap();
        (shown(&response), response.more, response.count)
    };
    assert_eq!(read(2), ("dc".to_owned(), true, 4));
    assert_eq!(read(3), ("dca".to_owned(), false, 4), "b would make it more, and is left out");
    assert_eq!(read(0), ("dca".to_owned(), false, 4));
    let by_value = store.range(..).sort_by(SortBy::Value).order(Order::Descending).limit(2);
    assert_eq!(keys(by_value), "ba");
}

#[test]
fn kv_6_a_count_needs_no_filter_and_no_order() {
    let store = filled();
    let read = store.range("a".."d").min_mod_revision(rev(8)).limit(1).keys_only().count_only();
    let response = read.wait().unwrap();
    assert_eq!((response.kvs.len(), response.more, response.count), (0, false, 3));
}

#[test]
fn kv_7_keys_only_leaves_out_the_values_and_nothing_else() {
    let store = filled();
    let (full, blank) = (store.range(..).wait().unwrap(), store.range(..).keys_only().wait());
    let blank = blank.unwrap();
    assert_eq!((blank.count, blank.more, blank.header), (full.count, full.more, full.header));
    for (full, blank) in full.kvs.iter().zip(&blank.kvs) {
        assert!(!full.value().is_empty() && blank.value().is_empty());
        assert!(blank.value_bytes().is_empty());
        assert_eq!(full.key(), blank.key());
        assert_eq!(full.version(), blank.version());
        assert_eq!(full.create_revision(), blank.create_revision());
        assert_eq!(full.mod_revision(), blank.mod_revision());
        assert_eq!(full.lease(), blank.lease());
    }
}

#[test]
fn kv_14_values_that_are_not_shown_sort_all_the_same() {
    let store = filled();
    let response = store.range(..).sort_by(SortBy::Value).keys_only().wait().unwrap();
    assert_eq!(shown(&response), "cdab");
    assert!(response.kvs.iter().all(|kv| kv.value().is_empty()));
}

#[test]
fn kv_15_a_single_key_is_filtered_too_and_counted() {
    let store = filled();
    let response = store.range(KeyRange::key("b")).min_mod_revision(rev(4)).wait().unwrap();
    assert_eq!((response.kvs.len(), response.more, response.count), (0, false, 1));
    assert_eq!(keys(store.range("b").min_mod_revision(rev(3))), "b");
}

#[test]
fn a_bounded_read_is_local_if_the_state_has_come_that_far() {
    let (node, store) = fake(Manner::AnswerWhenLent);
    store.put("a", "1").wait().unwrap();
    node.take_log();
    node.set_manner(Manner::Refuse(Kind::Unavailable));
    assert!(store.get("a").at_least(rev(2)).wait().unwrap().kv.is_some());
    assert_eq!(store.range(..).at_least(rev(1)).wait().unwrap().count, 1);
    assert_eq!(store.stream(..).at_least(rev(2)).into_iter().flatten().count(), 1);
    assert_eq!(node.take_log(), [""; 0]);
    assert!(store.get("a").at_least(rev(3)).wait().unwrap_err().is_unavailable());
    let error = store.get("a").serializable().at_least(rev(3)).wait().unwrap_err();
    assert!(error.is_unavailable(), "the bound holds beside anything");
    let error = store.get("a").at_least(rev(0)).wait().unwrap_err();
    assert!(error.is_unavailable(), "0 is no bound, and so the read is linearizable");
}

#[test]
fn a_read_waits_for_a_revision_that_is_on_its_way() {
    let (node, store) = fake(Manner::Keep);
    let read = |at| store.get("a").at_least(rev(at));
    let mut context = Context::from_waker(Waker::noop());
    let mut waiting = read(2);
    assert!(Pin::new(&mut waiting).poll(&mut context).is_pending());
    node.set_manner(Manner::AnswerAtOnce);
    store.put("a", "1").wait().unwrap();
    assert!(Pin::new(&mut waiting).poll(&mut context).is_pending());
    node.answer();
    let answer = Pin::new(&mut waiting).poll(&mut context);
    assert!(matches!(answer, Poll::Ready(Ok(answer)) if answer.kv.is_some()));
    // What no round has brought has not happened.
    let error = read(3).wait().unwrap_err();
    assert!(error.is_future_revision(), "{error}");
    node.set_leads_alone(true);
    assert!(read(3).wait().unwrap_err().is_future_revision(), "nor can it come from elsewhere");
    assert!(store.range(..).at_least(rev(3)).wait().unwrap_err().is_future_revision());
    let mut chunks = store.stream(..).at_least(rev(3)).into_iter();
    assert!(chunks.next().unwrap().unwrap_err().is_future_revision());
    assert!(chunks.next().is_none());
}

#[test]
fn a_bounded_read_is_local_if_the_state_is_recent_enough() {
    let (node, store) = fake(Manner::AnswerWhenLent);
    store.put("a", "1").wait().unwrap();
    node.set_manner(Manner::Refuse(Kind::Unavailable));
    let (old, recent) = (Duration::from_secs(3), Duration::from_secs(2));
    let read = |age| store.get("a").max_staleness(age).wait();
    assert!(read(Duration::MAX).unwrap_err().is_unavailable(), "nothing is known of it");
    node.set_age(old);
    assert!(read(recent).unwrap_err().is_unavailable());
    assert!(read(old).unwrap().kv.is_some());
    assert_eq!(store.range(..).max_staleness(old).wait().unwrap().count, 1);
    // Both bounds, if there are two.
    let read = |age, least| store.get("a").max_staleness(age).at_least(rev(least)).wait();
    assert!(read(old, 2).unwrap().kv.is_some());
    assert!(read(old, 3).unwrap_err().is_unavailable());
    assert!(read(recent, 2).unwrap_err().is_unavailable());
    node.set_leads_alone(true);
    assert!(read(Duration::ZERO, 2).unwrap().kv.is_some(), "nothing newer can exist");
}
