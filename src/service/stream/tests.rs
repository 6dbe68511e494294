use std::collections::BTreeSet;
use std::thread;

use futures_executor::block_on_stream;
use proptest::prelude::*;

use super::super::fake::{Answer, Manner, fake};
use super::*;
use crate::error::Kind;
use crate::store::Store;

/// So many keys, in order.
fn filled(manner: Manner, keys: u32) -> (Arc<super::super::fake::Fake>, Store) {
    let (node, store) = fake(Manner::AnswerAtOnce);
    for key in 0..keys {
        store.put(format!("{key:05}"), "v").wait().unwrap();
    }
    node.set_manner(manner);
    node.take_log();
    (node, store)
}

fn sizes(stream: RangeStream) -> Vec<usize> {
    stream.into_iter().map(|chunk| chunk.unwrap().len()).collect()
}

#[test]
fn kv_19_chunks_begin_small_and_double_up_to_their_bound() {
    let (node, store) = filled(Manner::AnswerWhenLent, 200);
    assert_eq!(sizes(store.stream(..)), [10, 20, 40, 80, 50]);
    assert_eq!(node.take_log(), ["read, 5s, Lend", "lent, done: false"], "asked once, for all");
    assert_eq!(sizes(store.stream(..).chunk_keys(30)), [10, 20, 30, 30, 30, 30, 30, 20]);
    assert_eq!(sizes(store.stream("00000".."00004").chunk_keys(0)), [1, 1, 1, 1]);
    assert_eq!(sizes(store.stream("00000".."00010")), [10], "no empty chunk at the end");
    assert_eq!(sizes(store.stream("x"..)), [0; 0]);
}

#[test]
fn kv_19_a_chunk_is_bounded_in_bytes_and_has_one_key_at_least() {
    let (_, store) = fake(Manner::AnswerAtOnce);
    for (key, bytes) in [("a", 9), ("b", 9), ("c", 99), ("d", 1), ("e", 2), ("f", 200), ("g", 1)] {
        store.put(key, vec![0; bytes]).wait().unwrap();
    }
    assert_eq!(sizes(store.stream(..).chunk_bytes(20)), [2, 1, 1, 1, 1, 1]);
    assert_eq!(sizes(store.stream(..).chunk_bytes(0)), [1; 7]);
    assert_eq!(sizes(store.stream(..).chunk_bytes(20).keys_only()), [7], "KV-7: none are shown");
}

#[test]
fn streams_can_go_anywhere() {
    fn movable<T: Send + Unpin + 'static>(_: &T) {}
    let (_, store) = fake(Manner::Keep);
    movable(&store.stream(..));
    movable(&store.stream(..).into_iter());
}

#[test]
fn a_stream_says_which_revision_it_is_of() {
    let (_, store) = filled(Manner::AnswerAtOnce, 20);
    let mut chunks = store.stream(..).into_iter();
    assert_eq!(chunks.revision(), None, "nothing has been asked yet");
    assert_eq!(chunks.next().unwrap().unwrap().len(), 10);
    assert_eq!(chunks.revision(), Some(Revision::new(21)));
    store.put("00015", "later").wait().unwrap();
    store.put("99999", "later").wait().unwrap();
    let rest = chunks.next().unwrap().unwrap();
    assert_eq!((rest.len(), rest.iter().filter(|kv| kv.value() == b"v").count()), (10, 10));
    assert!(chunks.next().is_none());
    assert_eq!(chunks.revision(), Some(Revision::new(21)));
    let mut old = block_on_stream(store.stream(..).at(Revision::new(6)));
    assert_eq!(old.next().unwrap().unwrap().len(), 5, "KV-2");
    let mut none = store.stream("x".."y").into_iter();
    assert!(none.next().is_none());
    assert_eq!(none.revision(), Some(Revision::new(23)), "of an empty range too");
}

#[test]
fn a_stream_ends_once_whatever_ends_it() {
    let (node, store) = filled(Manner::AnswerAtOnce, 20);
    let ends = |error: fn(&crate::Error) -> bool, stream: RangeStream| {
        let mut chunks = block_on_stream(stream);
        assert!(error(&chunks.next().unwrap().unwrap_err()));
        assert!(chunks.next().is_none() && chunks.next().is_none());
        assert!(chunks.into_inner().is_terminated());
    };
    ends(crate::Error::is_future_revision, store.stream(..).at(Revision::new(99)));
    ends(crate::Error::is_invalid, store.stream(""));
    node.set_manner(Manner::Refuse(Kind::Overloaded));
    ends(crate::Error::is_overloaded, store.stream(..));
    assert_eq!(sizes(store.stream(..).serializable()), [10, 10], "KV-16");
    node.set_manner(Manner::AnswerAtOnce);
    node.set_answer(Answer::Fail(Kind::Timeout));
    ends(crate::Error::is_timeout, store.stream(..));
    node.set_answer(Answer::Gone);
    ends(crate::Error::is_closed, store.stream(..));
    let mut chunks = store.stream(..).into_iter();
    assert!(chunks.next().unwrap().unwrap_err().is_closed());
    assert!(chunks.next().is_none());
    node.set_answer(Answer::Honest);
    let mut chunks = block_on_stream(store.stream("00000".."00011"));
    assert_eq!(chunks.by_ref().map(|chunk| chunk.unwrap().len()).collect::<Vec<_>>(), [10, 1]);
    assert!(chunks.next().is_none());
    assert!(chunks.into_inner().is_terminated());
}

#[test]
fn a_stream_that_was_polled_can_be_iterated_over() {
    let (node, store) = filled(Manner::Keep, 25);
    let mut stream = store.stream(..);
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(Pin::new(&mut stream).poll_next(&mut context).is_pending());
    assert!(Pin::new(&mut stream).poll_next(&mut context).is_pending());
    node.answer();
    assert_eq!(sizes(stream), [10, 15]);
    node.set_manner(Manner::AnswerAtOnce);
    let mut stream = store.stream(..);
    let first = Pin::new(&mut stream).poll_next(&mut context);
    assert!(matches!(first, Poll::Ready(Some(Ok(chunk))) if chunk.len() == 10));
    assert_eq!(sizes(stream), [15]);
}

#[test]
fn kv_19_a_compaction_waits_for_a_stream_until_it_is_too_far_behind() {
    let (node, store) = filled(Manner::AnswerAtOnce, 40);
    let mut chunks = store.stream(..).into_iter();
    assert_eq!(chunks.next().unwrap().unwrap().len(), 10);
    store.put("00035", "later").wait().unwrap();
    store.compact(Revision::new(42)).wait().unwrap();
    node.tidy(1);
    assert_eq!(chunks.next().unwrap().unwrap().len(), 20, "its own revision is still there");
    node.tidy(0);
    assert_eq!(chunks.next().unwrap().unwrap_err().compacted_revision(), Some(Revision::new(42)));
    assert!(chunks.next().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn kv_19_chunks_together_are_the_range(
        keys in proptest::collection::btree_set(0..300_u16, 0..120),
        (from, to) in (0..300_u16, 0..300_u16),
        (chunk_keys, chunk_bytes) in (0..40_usize, 0..200_usize),
        keys_only in any::<bool>(),
    ) {
        let (_, store) = fake(Manner::AnswerAtOnce);
        for key in &keys {
            let value = vec![0; usize::from(*key % 50)];
            store.put(format!("{key:03}"), value).wait().unwrap();
        }
        let range = KeyRange::from(format!("{from:03}")..format!("{to:03}"));
        let (mut whole, mut stream) = (store.range(range.clone()), store.stream(range));
        if keys_only {
            (whole, stream) = (whole.keys_only(), stream.keys_only());
        }
        let stream = stream.chunk_keys(chunk_keys).chunk_bytes(chunk_bytes);
        let chunks: Vec<_> = stream.into_iter().map(Result::unwrap).collect();
        for chunk in &chunks {
            let bytes: usize = chunk.iter().map(|kv| kv.key().len() + kv.value().len()).sum();
            prop_assert!(!chunk.is_empty() && chunk.len() <= chunk_keys.max(1));
            prop_assert!(bytes <= chunk_bytes || chunk.len() == 1, "{bytes} bytes");
        }
        prop_assert_eq!(chunks.concat(), whole.wait().unwrap().kvs);
    }
}

/// KV-18: whatever is written while it runs.
#[test]
#[expect(clippy::disallowed_methods, reason = "a writer on another thread is what it is about")]
fn kv_19_a_stream_is_one_snapshot_beside_a_writer() {
    let (_, store) = filled(Manner::AnswerAtOnce, 300);
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0_u32;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                store.put(format!("{:05}", round * 7 % 300), "w").wait().unwrap();
                store.put(format!("{:05}+", round * 11 % 300), "new").wait().unwrap();
                store.delete(format!("{:05}", round * 13 % 300)).wait().unwrap();
                round += 1;
            }
        });
        let mut revisions = BTreeSet::new();
        while revisions.len() < 20 {
            let mut chunks = store.stream(..).chunk_keys(16).into_iter();
            let all: Vec<_> = chunks.by_ref().map(Result::unwrap).collect();
            let revision = chunks.revision().unwrap();
            revisions.insert(revision);
            let whole = store.range(..).at(revision).wait().unwrap();
            assert_eq!(all.concat(), whole.kvs, "at {revision}");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
