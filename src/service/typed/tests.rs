use std::collections::BTreeMap;
use std::error::Error as _;

use futures_executor::block_on;
use serde::Deserialize;

use super::super::fake::{Manner, fake};
use super::*;
use crate::ids::Revision;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Job {
    command: String,
    tries: u32,
}

fn job(tries: u32) -> Job {
    Job { command: "sweep".to_owned(), tries }
}

fn store() -> Store {
    fake(Manner::AnswerAtOnce).1
}

#[test]
fn what_was_put_is_got_as_the_type_that_it_was() {
    let store = store();
    let jobs = store.typed::<Job>();
    let first = jobs.put("a", &job(1)).wait().unwrap().header.revision;
    let put = block_on(jobs.put("b", &job(2)).prev_value()).unwrap();
    assert_eq!(put.prev_kv, None);
    let got = jobs.get("a").wait().unwrap().unwrap();
    assert_eq!((got.value, got.kv.key(), got.kv.mod_revision()), (job(1), &b"a"[..], first));
    assert!(block_on(jobs.get("c")).unwrap().is_none());
    let all = jobs.range(..).wait().unwrap();
    assert_eq!((all.count, all.more, all.header.revision), (2, false, Revision::new(3)));
    let tries: Vec<_> = all.kvs.iter().map(|job| job.value.tries).collect();
    assert_eq!(tries, [1, 2]);
    assert_eq!(
        store.get("a").wait().unwrap().kv.unwrap().value(),
        br#"{"command":"sweep","tries":1}"#
    );
    assert_eq!(jobs.delete(..).wait().unwrap().deleted, 2);
}

#[test]
fn the_options_are_those_of_the_plain_calls() {
    let jobs = store().typed::<Job>();
    let first = jobs.put("a", &job(1)).wait().unwrap().header.revision;
    let before = jobs.put("a", &job(2)).prev_value().wait().unwrap().prev_kv.unwrap();
    assert_eq!(jobs.decode(before).unwrap().value, job(1));
    let then = jobs.get("a").with(|get| get.at(first)).wait().unwrap().unwrap();
    assert_eq!(then.value, job(1));
    let page = block_on(jobs.range(..).with(|range| range.limit(1).at(first))).unwrap();
    assert_eq!((page.kvs.len(), page.more), (1, false));
    let count = jobs.range(..).with(RangeRead::count_only).wait().unwrap();
    assert_eq!((count.kvs.len(), count.count), (0, 1));
    assert!(jobs.get("").wait().unwrap_err().is_invalid(), "SEL-4");
}

#[test]
fn a_value_that_does_not_decode_is_named_with_its_key_and_revision() {
    let store = store();
    let jobs = store.scoped("jobs/").typed::<Job>();
    jobs.put("1", &job(1)).wait().unwrap();
    store.put("jobs/2", "{\"command\":7}").wait().unwrap();
    for error in [
        jobs.get("2").wait().unwrap_err(),
        jobs.range(..).wait().unwrap_err(),
        block_on(jobs.get("2")).unwrap_err(),
        jobs.range(..).with(RangeRead::keys_only).wait().unwrap_err(),
    ]
    .iter()
    .take(3)
    {
        assert!(error.is_undecodable() && !error.is_unknown() && !error.is_corrupt());
        let text = error.to_string();
        assert!(
            text.starts_with(r#"the value of "2", of revision 3, is bad: invalid type"#),
            "{text}"
        );
        assert!(error.source().unwrap().is::<serde_json::Error>());
    }
    assert!(jobs.range(..).with(RangeRead::keys_only).wait().unwrap_err().is_undecodable());
    assert!(jobs.get("1").wait().unwrap().is_some(), "the others are none the worse");
}

#[test]
fn a_value_that_does_not_encode_is_refused_before_anything_is_asked() {
    let (node, store) = fake(Manner::AnswerAtOnce);
    // Keys of a JSON object are text.
    let maps = store.typed::<BTreeMap<Vec<u8>, u8>>();
    let error = maps.put("k", &BTreeMap::from([(vec![1], 2)])).wait().unwrap_err();
    assert!(error.is_invalid() && !error.is_unknown(), "{error}");
    assert!(error.to_string().starts_with("the value cannot be encoded: "), "{error}");
    assert!(error.source().is_some());
    let error = maps.put("", &BTreeMap::from([(vec![1], 2)])).wait().unwrap_err();
    assert!(error.to_string().starts_with("the key is empty"), "SEL-9: {error}");
    assert_eq!(node.take_log(), [""; 0]);
}

#[test]
fn a_codec_is_the_callers_choice() {
    enum BigEndian {}

    impl Codec<u32> for BigEndian {
        fn encode(value: &u32) -> Result<Vec<u8>, CodecError> {
            Ok(value.to_be_bytes().to_vec())
        }

        fn decode(bytes: &[u8]) -> Result<u32, CodecError> {
            Ok(u32::from_be_bytes(bytes.try_into()?))
        }
    }

    let store = store();
    let counters = store.typed_with::<u32, BigEndian>();
    counters.put("n", &258).wait().unwrap();
    assert_eq!(store.get("n").wait().unwrap().kv.unwrap().value(), [0, 0, 1, 2]);
    assert_eq!(counters.clone().get("n").wait().unwrap().unwrap().value, 258);
    assert!(counters.store().typed::<Job>().get("n").wait().unwrap_err().is_undecodable());
}

#[test]
fn typed_handles_and_calls_can_go_anywhere() {
    fn movable<T: Send + Unpin + 'static>(_: &T) {}
    fn shared<T: Send + Sync + Clone + 'static>(_: &T) {}
    let jobs = store().typed::<Job>();
    shared(&jobs);
    movable(&jobs.get("a"));
    movable(&jobs.range(..));
    // What is not Send is in no handle, only in what it gives back.
    shared(&store().typed_with::<std::rc::Rc<u8>, Local>());
}

enum Local {}

impl Codec<std::rc::Rc<u8>> for Local {
    fn encode(value: &std::rc::Rc<u8>) -> Result<Vec<u8>, CodecError> {
        Ok(vec![**value])
    }

    fn decode(bytes: &[u8]) -> Result<std::rc::Rc<u8>, CodecError> {
        bytes.first().copied().map(std::rc::Rc::new).ok_or_else(|| "empty".into())
    }
}
