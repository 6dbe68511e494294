//! Stores that hold what they should, and others.

use super::*;
use crate::core::machine::txn::{self, Compare, Delete, Operator, Put, Target, Txn};
use crate::keys::KeyRange;
use crate::sim::check::samples::random::{Random, Shape};
use crate::sim::check::samples::{
    Made, compact, compacted, delete, deleted, not_applied, put, rev, unknown, wrote,
};

fn stored(revision: u64, key: &'static str, value: Option<&'static str>) -> Stored {
    Stored { revision: rev(revision), sub: 0, key: key.into(), value: value.map(Bytes::from) }
}

fn content(revision: u64, versions: &[Stored]) -> Content {
    Content { revision: rev(revision), compacted: None, versions: versions.to_vec() }
}

/// What the chapter of this judge draws.
fn drawn() -> (Made, Vec<Stored>) {
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(2));
    made.call(1, put("b", "2"), unknown());
    made.call(1, delete("a"), deleted(4, 1));
    made.call(1, put("c", "3"), not_applied());
    let b = stored(3, "b", Some("2"));
    (made, vec![stored(2, "a", Some("1")), b, stored(4, "a", None)])
}

fn rule(made: &Made, content: &Content) -> &'static str {
    check(&made.history, content).unwrap_err().rule
}

#[test]
fn inv_6_each_accounts_for_the_other() {
    let (made, mut versions) = drawn();
    check(&made.history, &content(4, &versions)).unwrap();
    versions.push(stored(5, "c", Some("3")));
    assert_eq!(rule(&made, &content(5, &versions)), "SEL-12");
}

#[test]
fn inv_6_a_write_happens_once() {
    let (made, mut versions) = drawn();
    versions.push(stored(5, "b", Some("2")));
    assert_eq!(rule(&made, &content(5, &versions)), "INV-6");
}

#[test]
fn lin_10_what_was_acknowledged_does_not_happen_again() {
    let (made, mut versions) = drawn();
    versions.push(stored(5, "a", Some("1")));
    assert_eq!(rule(&made, &content(5, &versions)), "LIN-10");
}

#[test]
fn lin_15_what_was_acknowledged_is_there() {
    let (made, mut versions) = drawn();
    versions.pop();
    assert_eq!(rule(&made, &content(3, &versions)), "LIN-15");
}

#[test]
fn inv_1_a_revision_is_what_its_writer_asked_for() {
    let (made, mut versions) = drawn();
    versions[0] = stored(2, "a", Some("other"));
    assert_eq!(rule(&made, &content(4, &versions)), "INV-1");
    let (made, mut versions) = drawn();
    versions.push(stored(5, "strange", Some("x")));
    assert_eq!(rule(&made, &content(5, &versions)), "INV-1");
}

#[test]
fn dm_2_versions_are_in_order_and_none_is_left_out() {
    let (made, mut versions) = drawn();
    versions.swap(0, 1);
    assert_eq!(rule(&made, &content(4, &versions)), "DM-2");
    let (made, versions) = drawn();
    assert_eq!(rule(&made, &content(5, &versions)), "DM-4");
}

#[test]
fn cmp_4_only_what_was_overwritten_or_deleted_is_forgotten() {
    let (mut made, versions) = drawn();
    made.call(1, compact(4), compacted(4));
    let compacted =
        |versions: &[Stored]| Content { compacted: Some(rev(4)), ..content(4, versions) };
    check(&made.history, &compacted(&versions[1..])).unwrap();
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(2));
    made.call(1, put("b", "1"), wrote(3));
    made.call(1, put("b", "2"), wrote(4));
    let kept = [stored(4, "b", Some("2"))];
    assert_eq!(rule(&made, &compacted(&kept)), "LIN-15", "nothing came after the put of a");
}

/// A deletion that may be either of two is left to the one that nobody else needs.
#[test]
fn inv_6_deletions_without_an_answer_are_shared_out() {
    let mut made = Made::new();
    made.call(1, put("a", "1"), wrote(2));
    made.call(1, put("b", "1"), wrote(3));
    made.call(1, delete("a".."c"), unknown());
    made.call(1, delete("a"), unknown());
    let mut versions = vec![stored(2, "a", Some("1")), stored(3, "b", Some("1"))];
    versions.extend([stored(4, "a", None), stored(5, "b", None)]);
    check(&made.history, &content(5, &versions)).unwrap();
    versions.extend([stored(6, "a", Some("1")), stored(7, "a", None)]);
    made.call(1, put("a", "1"), wrote(6));
    assert_eq!(rule(&made, &content(7, &versions)), "INV-1");
}

/// A put of `a` and a deletion of `b`, or a put of `c`.
fn either() -> Op {
    let put = |key: &'static str| txn::Op::Put(Put::new(key.into(), "t".into()));
    let gone = txn::Op::Delete(Delete { range: KeyRange::key("b"), prev: false });
    let compares = vec![Compare {
        range: KeyRange::key("a"),
        operator: Operator::Equal,
        target: Target::Version(0),
    }];
    let (success, failure) = (vec![put("a"), gone], vec![put("c")]);
    Op::Txn { txn: Txn { compares, success, failure }, serializable: false }
}

#[test]
fn txn_14_a_revision_is_all_of_one_way_through_a_transaction() {
    let mut versions = vec![stored(2, "b", Some("1"))];
    let both = [stored(3, "a", Some("t")), Stored { sub: 1, ..stored(3, "b", None) }];
    let told = |succeeded, responses| Answer::Txn { revision: rev(3), succeeded, responses };
    let then = told(true, vec![wrote(3), deleted(3, 1)]);
    for answer in [then, unknown()] {
        let mut made = Made::new();
        made.call(1, put("b", "1"), wrote(2));
        made.call(1, either(), answer);
        let with = |more: &[Stored]| content(3, &[versions.as_slice(), more].concat());
        check(&made.history, &with(&both)).unwrap();
        // Half of it, the other half, and some of both ways.
        assert_eq!(rule(&made, &with(&both[1..])), "INV-1");
        let mixed = [both[0].clone(), Stored { sub: 1, ..stored(3, "c", Some("t")) }];
        assert_eq!(rule(&made, &with(&mixed)), "INV-1");
    }
    let mut made = Made::new();
    made.call(1, put("b", "1"), wrote(2));
    made.call(1, either(), told(false, vec![wrote(3)]));
    versions.extend(both);
    assert_eq!(rule(&made, &content(3, &versions)), "INV-1");
}

#[test]
fn inv_6_an_empty_store_explains_nothing_that_was_acknowledged() {
    let shape = Shape { calls: 50, clients: 3, keys: 3, unknown: 0, reads: 300, old: 0, txns: 0 };
    let history = Random::history(1, shape);
    assert_eq!(check(&history, &content(1, &[])).unwrap_err().rule, "LIN-15");
}
