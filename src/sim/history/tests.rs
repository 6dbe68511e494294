//! What is recorded, and what is written for other checkers.

mod reader;

use std::collections::BTreeMap;

use bytes::Bytes;

use self::reader::{Edn, read};
use super::*;
use crate::ids::{ClusterId, Term};
use crate::keys::KeyRange;
use crate::service::Header;
use crate::sim::check::samples::random::{Random, Shape};
use crate::sim::check::samples::{
    Made, compact, compacted, delete, delete_prev, failed, get, get_at, got, is_compacted, kv,
    not_applied, nothing, old, put, put_prev, range, ranged, rev, unknown, wrote, wrote_over,
};

const NOW: Instant = Instant::from_nanos(7);

#[test]
fn every_event_has_a_place_of_its_own() {
    let mut history = History::new();
    let one = history.invoke(1, NodeId::new(1), NOW, put("a", "1"));
    let two = history.invoke(2, NodeId::new(2), NOW, get("a"));
    history.answer(two, NOW, nothing(1));
    history.answer(one, NOW, wrote(2));
    let three = history.invoke(2, NodeId::new(2), NOW, get("a"));

    let span = |id: CallId| {
        let call = history.call(id).unwrap();
        (call.invoked, call.end.as_ref().map(|end| end.returned))
    };
    assert_eq!(span(one), (1, Some(4)));
    assert_eq!(span(two), (2, Some(3)));
    assert_eq!(span(three), (5, None), "it was never answered");
    assert_eq!(history.calls().map(|(id, _)| id.get()).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(history.len(), 3);
}

#[test]
fn the_first_answer_is_the_one_that_counts() {
    let mut history = History::new();
    let id = history.invoke(1, NodeId::new(1), NOW, put("a", "1"));
    history.answer(id, NOW, unknown());
    history.answer(id, Instant::from_nanos(9), wrote(2));
    let end = history.call(id).unwrap().end.clone().unwrap();
    assert_eq!((end.answer, end.returned_at), (unknown(), NOW));
}

#[test]
fn a_call_knows_how_often_its_member_had_been_restarted() {
    let mut history = History::new();
    let (one, two) = (NodeId::new(1), NodeId::new(2));
    let boot = |history: &mut History, member| {
        let id = history.invoke(1, member, NOW, get("a"));
        history.call(id).unwrap().boot
    };
    assert_eq!((boot(&mut history, one), boot(&mut history, two)), (0, 0));
    history.restarted(one);
    history.restarted(one);
    assert_eq!((boot(&mut history, one), boot(&mut history, two)), (2, 0));
}

#[test]
fn what_the_store_gives_back_is_what_is_recorded() {
    let (cluster, member) = (ClusterId::new(1), NodeId::new(2));
    let header = Header { cluster, member, term: Term::new(3), revision: rev(4) };
    let put: Result<PutResponse> = Ok(PutResponse { header, prev_kv: None });
    assert_eq!(Answer::from(&put), wrote(4));
    let got: Result<GetResponse> = Ok(GetResponse { header, kv: None });
    assert_eq!(Answer::from(&got), nothing(4));
    let gone: Result<DeleteResponse> = Ok(DeleteResponse { header, deleted: 2, prev_kvs: vec![] });
    let expected = Answer::Deleted { revision: rev(4), deleted: 2, prev: Vec::new() };
    assert_eq!(Answer::from(&gone), expected);
    let done: Result<CompactResponse> = Ok(CompactResponse { header });
    assert_eq!(Answer::from(&done), compacted(4));
}

#[test]
fn inv_6_an_error_is_recorded_with_what_it_says_of_the_write() {
    let failure = |error: Error| Answer::from(&Err::<PutResponse, _>(error));
    let timeout = || Error::new(Kind::Timeout, "late");
    let known = failed(WriteOutcome::NotApplied, Why::Timeout);
    assert_eq!(failure(timeout()), known);
    assert_eq!(failure(timeout().with_unknown_outcome()), unknown());
    assert_eq!(failure(Error::compacted(rev(2), rev(5))), is_compacted(5));
    let future = failed(WriteOutcome::NotApplied, Why::FutureRevision(rev(5)));
    assert_eq!(failure(Error::future_revision(rev(9), rev(5))), future);
}

#[test]
fn a_call_says_what_it_may_change() {
    assert!(put("a", "1").may_put(b"a", None) && put("a", "1").may_put(b"a", Some(b"1")));
    assert!(!put("a", "1").may_put(b"b", None) && !put("a", "1").may_put(b"a", Some(b"2")));
    assert!(delete("a".."c").may_delete(b"b") && !delete("a".."c").may_delete(b"c"));
    assert!(!get("a").may_put(b"a", None) && !put("a", "1").may_delete(b"a"));
    assert!(compact(3).selects().is_empty(), "a compaction is about no key");
    // Revision 0 asks for the newest (`KV-2`).
    let newest = View { at: None, serializable: false };
    assert_eq!((get_at("a", 0).view(), put("a", "1").view()), (Some(newest), None));
}

/// Every kind of call and of end.
fn every_kind() -> History {
    let mut made = Made::new();
    made.call(1, put("a", "x"), wrote(2));
    let first = kv("a", "x", [2, 2, 1]);
    let second = kv("a", "y", [2, 3, 2]);
    let lost = made.begin(2, put("b", "lost"));
    made.call(1, put_prev("a", "y"), wrote_over(3, first.clone()));
    made.call(1, get("a"), got(3, second.clone()));
    made.call(1, get_at("a", 2), got(3, first.clone()));
    made.call(1, old(get("a")), got(2, first));
    made.end(lost, unknown());
    // The client goes on, and is another process from now on.
    made.call(2, get("none"), nothing(3));
    made.begin(3, delete("q".."r"));
    made.call(3, put("c", "no"), not_applied());
    made.call(1, range(..), ranged(3, std::slice::from_ref(&second)));
    let prev = vec![second];
    made.call(1, delete_prev("a"), Answer::Deleted { revision: rev(4), deleted: 1, prev });
    made.call(1, compact(4), compacted(4));
    made.call(1, get_at("a", 2), is_compacted(4));
    let query = Query { limit: 2, count_only: true, ..Query::new(KeyRange::starting_at("a")) };
    let count = Op::Range { query, serializable: false };
    let many = Answer::Ranged { revision: rev(4), kvs: Vec::new(), more: false, count: 0 };
    made.call_at(2, count, many);
    made.history
}

/// What Knossos and Elle read. A change here is a change of the format.
const EDN: &str = include_str!("tests/every_kind.edn");

#[test]
fn a_history_is_written_as_jepsen_does() {
    let text = every_kind().edn();
    for (written, expected) in text.lines().zip(EDN.lines()) {
        assert_eq!(written, expected);
    }
    assert_eq!(text, EDN);
}

#[test]
fn strings_hold_any_byte() {
    let mut made = Made::new();
    let value = Bytes::from_static(b"\"\\\n\x00\x7f\xc3\xbc ~");
    made.begin(1, Op::put("k", value.clone()));
    let text = made.history.edn();
    assert!(text.contains(r#"[:w "k" "\"\\\u000a\u0000\u007f\u00c3\u00bc ~"]"#), "{text}");
    let Edn::Map(map) = read(&text) else { panic!("{text}") };
    let Edn::Vector(steps) = &map["value"] else { panic!("{text}") };
    let Edn::Vector(step) = &steps[0] else { panic!("{text}") };
    let Edn::Text(read) = &step[2] else { panic!("{text}") };
    let bytes: Vec<u8> = read.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    assert_eq!(bytes, value);
}

/// What those checkers ask of any history: a process waits for one call at a time, ends what it
/// began, and is not heard of again after an end that nobody knows.
#[test]
fn what_is_written_is_read_back_in_order() {
    let shape =
        Shape { calls: 300, clients: 5, keys: 3, unknown: 150, reads: 400, old: 200, txns: 300 };
    for seed in 0..20 {
        let history = Random::history(seed, shape);
        let text = history.edn();
        let mut open: BTreeMap<i64, (Edn, Edn)> = BTreeMap::new();
        let (mut begun, mut ended, mut time) = (0, 0, 0);
        for (index, line) in text.lines().enumerate() {
            let Edn::Map(map) = read(line) else { panic!("seed {seed}: {line}") };
            assert_eq!(map["index"], Edn::Number(index.try_into().unwrap()));
            let (Edn::Number(now), Edn::Number(process)) = (&map["time"], &map["process"]) else {
                panic!("seed {seed}: {line}")
            };
            assert!(time <= *now, "seed {seed}: {line}");
            time = *now;
            let call = (map["f"].clone(), map["call"].clone());
            match &map["type"] {
                Edn::Keyword(kind) if kind == "invoke" => {
                    begun += 1;
                    assert!(open.insert(*process, call).is_none(), "seed {seed}: {line}");
                }
                Edn::Keyword(kind) => {
                    ended += 1;
                    assert_eq!(open.get(process), Some(&call), "seed {seed}: {line}");
                    assert!(["ok", "fail", "info"].contains(&kind.as_str()), "{line}");
                    if kind != "info" {
                        open.remove(process);
                    }
                }
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        let ends = history.calls().filter(|(_, call)| call.end.is_some()).count();
        assert_eq!((begun, ended), (history.len(), ends));
    }
}
