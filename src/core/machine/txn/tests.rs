//! Properties that no script can show.

use proptest::prelude::*;

use super::*;
use crate::core::machine::Outcome;
use crate::core::machine::lease::Leases;
use crate::core::mvcc::Mvcc;
use crate::ids::{Index, Term};

/// Few keys, so that operations meet.
fn key() -> impl Strategy<Value = Bytes> {
    (b'a'..=b'f').prop_map(|byte| Bytes::copy_from_slice(&[byte]))
}

fn op() -> impl Strategy<Value = Op> {
    let range = (key(), key()).prop_map(|(start, end)| KeyRange::from(start..end));
    let leaf = prop_oneof![
        6 => key().prop_map(|key| Op::Put(Put::new(key, Bytes::new()))),
        1 => key().prop_map(|key| Op::Delete(Delete { range: KeyRange::key(key), prev: false })),
        1 => range.prop_map(|range| Op::Delete(Delete { range, prev: false })),
        1 => key().prop_map(|key| {
            Op::Delete(Delete { range: KeyRange::starting_at(key), prev: true })
        }),
        1 => key().prop_map(|key| Op::Range(Query::new(KeyRange::key(key)))),
    ];
    leaf.prop_recursive(3, 12, 3, |op| {
        let ops = || proptest::collection::vec(op.clone(), 0..3);
        (ops(), ops())
            .prop_map(|(success, failure)| Op::Txn(Txn { compares: Vec::new(), success, failure }))
    })
}

/// Every way through a list of operations, as the writes that it makes in order.
fn ways(ops: &[Op]) -> Vec<Vec<&Op>> {
    let mut all = vec![Vec::new()];
    for op in ops {
        let next = match op {
            Op::Range(_) => continue,
            Op::Put(_) | Op::Delete(_) => vec![vec![op]],
            Op::Txn(txn) => [ways(&txn.success), ways(&txn.failure)].concat(),
        };
        let mut joined = Vec::new();
        for way in &all {
            joined.extend(next.iter().map(|more| [way.as_slice(), more.as_slice()].concat()));
        }
        all = joined;
    }
    all
}

/// `TXN-9` as it is written: on some way a key is put, and put or deleted once more.
fn writes_twice(ops: &[Op]) -> bool {
    let clash = |a: &Op, b: &Op| match (a, b) {
        (Op::Put(a), Op::Put(b)) => a.key == b.key,
        (Op::Put(put), Op::Delete(delete)) | (Op::Delete(delete), Op::Put(put)) => {
            delete.range.contains(&put.key)
        }
        _ => false,
    };
    ways(ops)
        .iter()
        .any(|way| way.iter().enumerate().any(|(at, a)| way[at + 1..].iter().any(|b| clash(a, b))))
}

proptest! {
    #[test]
    fn txn_9_no_key_is_written_twice_on_any_way(
        success in proptest::collection::vec(op(), 0..4),
        failure in proptest::collection::vec(op(), 0..4),
    ) {
        let twice = writes_twice(&success) || writes_twice(&failure);
        let txn = Txn { compares: Vec::new(), success, failure };
        let checked = txn.check(1000, 0);
        prop_assert_eq!(checked.is_err(), twice, "{:?}", checked);
        prop_assert!(checked.err().is_none_or(|error| error.is_duplicate_key()));
    }
}

fn of_size(compares: usize, success: Vec<Op>) -> Txn {
    let compare = Compare {
        range: KeyRange::key("k"),
        operator: Operator::Equal,
        target: Target::Version(0),
    };
    Txn { compares: vec![compare; compares], success, failure: Vec::new() }
}

#[test]
fn txn_6_the_longest_list_counts_and_a_nested_one_has_what_is_left() {
    let read = || Op::Range(Query::new(KeyRange::key("k")));
    of_size(3, vec![read(), read()]).check(3, 0).unwrap();
    assert!(of_size(4, vec![]).check(3, 0).unwrap_err().is_too_large());
    assert!(
        of_size(0, vec![read(), read(), read(), read()]).check(3, 0).unwrap_err().is_too_large()
    );
    let nested = |inner: usize| of_size(1, vec![read(), Op::Txn(of_size(inner, vec![]))]);
    nested(3).check(5, 0).unwrap();
    let error = nested(4).check(5, 0).unwrap_err();
    assert!(error.is_too_large() && error.to_string().contains('5'), "{error}");
}

#[test]
fn txn_16_one_that_only_reads_is_known_by_both_branches() {
    let read = || Op::Range(Query::new(KeyRange::key("k")));
    let put = || Op::Put(Put::new("k".into(), Bytes::new()));
    assert!(Txn::default().is_read_only());
    assert!(Txn { success: vec![read()], failure: vec![read()], ..Txn::default() }.is_read_only());
    assert!(!Txn { success: vec![read()], failure: vec![put()], ..Txn::default() }.is_read_only());
    assert!(!Txn { success: vec![Op::Txn(Txn::default())], ..Txn::default() }.is_read_only());
}

/// What a put makes of a key that has value `v` and lease 9.
fn kept(ignore_value: bool, ignore_lease: bool) -> KeyValue {
    let mut mvcc = Mvcc::new();
    let (lease, mut leases) = (LeaseId::new(9), Leases::default());
    leases.grant((lease, Index::new(2)), 1000, Term::new(1)).unwrap();
    mvcc.begin().put(b"k", b"v", lease);
    let put = Put { ignore_value, ignore_lease, ..Put::new("k".into(), Bytes::new()) };
    assert!(matches!(put.apply(&mut mvcc, &mut leases), Outcome::Put { .. }));
    mvcc.view().get(b"k").unwrap()
}

#[test]
fn kv_36_a_put_that_keeps_only_the_value_takes_the_lease_off() {
    let lease = LeaseId::new(9);
    let shown = |kv: KeyValue| (kv.value().to_vec(), kv.lease(), kv.version());
    assert_eq!(shown(kept(true, false)), (b"v".to_vec(), LeaseId::new(0), 2));
    assert_eq!(shown(kept(true, true)), (b"v".to_vec(), lease, 2), "KV-37");
    assert_eq!(shown(kept(false, true)), (Vec::new(), lease, 2), "KV-35");
    assert_eq!(shown(kept(false, false)), (Vec::new(), LeaseId::new(0), 2), "KV-32");
}

#[test]
fn txn_18_where_nobody_waits_nothing_is_read_and_all_else_is_the_same() {
    let read = Op::Range(Query::new(KeyRange::all()));
    let put = Op::Put(Put { prev: true, ..Put::new("k".into(), Bytes::new()) });
    let future = Query { at: Some(Revision::new(99)), ..Query::new(KeyRange::all()) };
    let refused = Txn { success: vec![put.clone(), Op::Range(future)], ..Txn::default() };
    let txn = Txn { success: vec![read.clone(), put, read], ..Txn::default() };
    let (mut here, mut there) = (Mvcc::new(), Mvcc::new());
    let run =
        |txn: &Txn, mvcc: &mut Mvcc, answers| txn.apply(mvcc, &mut Leases::default(), answers);
    let told = [run(&txn, &mut here, true), run(&txn, &mut there, false)].map(Result::unwrap);
    let [Outcome::Txn(told), Outcome::Txn(bare)] = told else { panic!("{told:?}") };
    assert_eq!((told.responses.len(), bare.responses.len()), (3, 0));
    assert_eq!((told.revision, told.succeeded), (bare.revision, bare.succeeded));
    assert_eq!(here.pin().hash(None).unwrap(), there.pin().hash(None).unwrap());
    let refusal = [run(&refused, &mut here, true), run(&refused, &mut there, false)];
    let [here, there] = refusal.map(Result::unwrap);
    assert!(matches!(here, Outcome::Refused(_)));
    assert_eq!(here, there);
}
