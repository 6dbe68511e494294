//! Histories for tests: made by hand, made by chance, and spoilt.

pub(crate) mod random;
pub(crate) mod spoil;

use bytes::Bytes;

use crate::core::machine::txn::{self, Compare, Delete, Operator, Put, Target, Txn};
use crate::core::mvcc::Query;
use crate::error::WriteOutcome;
use crate::ids::{NodeId, Revision};
use crate::keys::KeyRange;
use crate::sim::history::{Answer, CallId, History, Kv, Op, Why};
use crate::time::Instant;

pub(crate) fn rev(number: u64) -> Revision {
    Revision::new(number)
}

/// A history made by hand. Every event is one nanosecond after the one before.
#[derive(Default)]
pub(crate) struct Made {
    pub(crate) history: History,
    now: u64,
}

impl Made {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn tick(&mut self) -> Instant {
        self.now += 1;
        Instant::from_nanos(self.now)
    }

    /// A call through member 1.
    pub(crate) fn begin(&mut self, client: u32, op: Op) -> CallId {
        self.begin_at(client, 1, op)
    }

    pub(crate) fn begin_at(&mut self, client: u32, member: u64, op: Op) -> CallId {
        let now = self.tick();
        self.history.invoke(client, NodeId::new(member), now, op)
    }

    pub(crate) fn end(&mut self, id: CallId, answer: Answer) {
        let now = self.tick();
        self.history.answer(id, now, answer);
    }

    /// A call that ends before anything else begins.
    pub(crate) fn call(&mut self, client: u32, op: Op, answer: Answer) -> CallId {
        let id = self.begin(client, op);
        self.end(id, answer);
        id
    }

    /// The same through another member.
    pub(crate) fn call_at(&mut self, member: u64, op: Op, answer: Answer) -> CallId {
        let id = self.begin_at(1, member, op);
        self.end(id, answer);
        id
    }
}

pub(crate) fn put(key: &'static str, value: &'static str) -> Op {
    Op::put(key, value)
}

pub(crate) fn put_prev(key: &'static str, value: &'static str) -> Op {
    Op::Put(Put { prev: true, ..Put::new(key.into(), value.into()) })
}

/// Puts a key if it was last put at this revision.
pub(crate) fn set_if(key: &'static str, seen: u64, value: &'static str) -> Op {
    let (range, target) = (KeyRange::key(key), Target::ModRevision(rev(seen)));
    let compares = vec![Compare { range, operator: Operator::Equal, target }];
    let success = vec![txn::Op::Put(Put::new(key.into(), value.into()))];
    Op::Txn { txn: Txn { compares, success, failure: Vec::new() }, serializable: false }
}

pub(crate) fn delete(range: impl Into<KeyRange>) -> Op {
    Op::Delete(Delete { range: range.into(), prev: false })
}

pub(crate) fn delete_prev(range: impl Into<KeyRange>) -> Op {
    Op::Delete(Delete { range: range.into(), prev: true })
}

pub(crate) fn get(key: &'static str) -> Op {
    Op::Get { key: key.into(), at: None, serializable: false }
}

pub(crate) fn get_at(key: &'static str, at: u64) -> Op {
    Op::Get { key: key.into(), at: Some(rev(at)), serializable: false }
}

pub(crate) fn range(range: impl Into<KeyRange>) -> Op {
    Op::Range { query: Query::new(range.into()), serializable: false }
}

/// The same read, but it may be old.
pub(crate) fn old(mut op: Op) -> Op {
    match &mut op {
        Op::Get { serializable, .. }
        | Op::Range { serializable, .. }
        | Op::Txn { serializable, .. } => *serializable = true,
        _ => panic!("not a read: {op}"),
    }
    op
}

pub(crate) fn compact(revision: u64) -> Op {
    Op::Compact { revision: rev(revision) }
}

pub(crate) fn wrote(revision: u64) -> Answer {
    Answer::Put { revision: rev(revision), prev: None }
}

pub(crate) fn wrote_over(revision: u64, prev: Kv) -> Answer {
    Answer::Put { revision: rev(revision), prev: Some(prev) }
}

pub(crate) fn deleted(revision: u64, deleted: u64) -> Answer {
    Answer::Deleted { revision: rev(revision), deleted, prev: Vec::new() }
}

pub(crate) fn got(revision: u64, kv: Kv) -> Answer {
    Answer::Got { revision: rev(revision), kv: Some(kv) }
}

pub(crate) fn nothing(revision: u64) -> Answer {
    Answer::Got { revision: rev(revision), kv: None }
}

pub(crate) fn ranged(revision: u64, kvs: &[Kv]) -> Answer {
    let (kvs, count) = (kvs.to_vec(), kvs.len() as u64);
    Answer::Ranged { revision: rev(revision), kvs, more: false, count }
}

pub(crate) fn compacted(revision: u64) -> Answer {
    Answer::Compacted { revision: rev(revision) }
}

pub(crate) fn failed(outcome: WriteOutcome, why: Why) -> Answer {
    Answer::Failed { outcome, why }
}

pub(crate) fn unknown() -> Answer {
    failed(WriteOutcome::Unknown, Why::Timeout)
}

pub(crate) fn not_applied() -> Answer {
    failed(WriteOutcome::NotApplied, Why::Overloaded)
}

pub(crate) fn is_compacted(oldest: u64) -> Answer {
    failed(WriteOutcome::NotApplied, Why::Compacted(rev(oldest)))
}

pub(crate) fn is_future(newest: u64) -> Answer {
    failed(WriteOutcome::NotApplied, Why::FutureRevision(rev(newest)))
}

/// `key=value`, with its create revision, mod revision and version.
pub(crate) fn kv(key: &'static str, value: &'static str, numbers: [u64; 3]) -> Kv {
    let [create, modified, version] = numbers;
    let (key, value) = (Bytes::from(key), Bytes::from(value));
    Kv { key, value, create: rev(create), modified: rev(modified), version }
}
