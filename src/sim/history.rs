//! What clients called and what they were told: the record that judges look at, and at nothing
//! else.
//!
//! A client's view is all there is: which call, through which member, when it began, when it ended
//! and with what. "When" is a place in one order of all such events, so that "ended before it
//! began" is never a matter of clocks. Nothing from inside the store gets in here; so whatever a
//! judge finds wrong is wrong for a user.
//!
//! A call that was never answered stays open for ever. For a write that means what an unknown
//! outcome means: it may have happened, once, at any time since, or may yet (`INV-6`).

mod edn;
mod show;
mod steps;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;

pub(crate) use self::steps::{Shown, Step};
use crate::core::machine::txn::{Delete, Put, Txn};
use crate::core::mvcc::{KeyValue, Query};
use crate::error::{Error, Kind, Result, WriteOutcome};
use crate::ids::{NodeId, Revision};
use crate::service::{
    Branch, CompactResponse, DeleteResponse, GetResponse, OpResponse, PutResponse, RangeResponse,
    TxnResponse,
};
use crate::time::Instant;

/// Calls in the order in which they began. It grows with every call: whoever records bounds how
/// many there are.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    calls: Vec<Call>,
    /// Where the next event stands. Every beginning and every end has a place of its own.
    next: u64,
    /// How often each member was restarted; one that never was is not in it.
    restarts: BTreeMap<NodeId, u32>,
}

/// Names a call: its place among the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallId(usize);

/// One call of one client.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) client: u32,
    /// Whom it was made through.
    pub(crate) member: NodeId,
    /// How often that member had been restarted when the call began: what a member shows never
    /// goes back while it runs (`LIN-4`), and may when it starts again.
    pub(crate) boot: u32,
    pub(crate) op: Op,
    /// Where it began in the order of all events.
    pub(crate) invoked: u64,
    pub(crate) invoked_at: Instant,
    /// How it ended, if it did.
    pub(crate) end: Option<End>,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    /// Where in the order of all events; always after `invoked`.
    pub(crate) returned: u64,
    pub(crate) returned_at: Instant,
    pub(crate) answer: Answer,
}

/// What was asked, in the words of the store. What they mean is for the judges to know.
///
/// A new kind of call is a variant here, an arm in [`Model`](super::check::model::Model), and what
/// it is made of in [`Op::any`] and [`Op::ran`]; few judges have to learn of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Put(Put),
    Delete(Delete),
    Get {
        key: Bytes,
        /// The newest if there is none, or if it is 0 (`KV-2`).
        at: Option<Revision>,
        serializable: bool,
    },
    Range {
        query: Query,
        serializable: bool,
    },
    Txn {
        txn: Txn,
        /// Only if all that it does is to read (`TXN-16`).
        serializable: bool,
    },
    Compact {
        revision: Revision,
    },
}

/// What was answered. `revision` is the header's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Put {
        revision: Revision,
        prev: Option<Kv>,
    },
    Deleted {
        revision: Revision,
        deleted: u64,
        prev: Vec<Kv>,
    },
    Got {
        revision: Revision,
        kv: Option<Kv>,
    },
    Ranged {
        revision: Revision,
        kvs: Vec<Kv>,
        more: bool,
        count: u64,
    },
    /// With one answer for each operation of the branch taken. A nested one is told no revision:
    /// it has 0.
    Txn {
        revision: Revision,
        succeeded: bool,
        responses: Vec<Answer>,
    },
    Compacted {
        revision: Revision,
    },
    Failed {
        outcome: WriteOutcome,
        why: Why,
    },
}

/// Why a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// What was asked for has been compacted; the oldest that has not.
    Compacted(Revision),
    /// What was asked for has not happened; the newest that has.
    FutureRevision(Revision),
    /// A put was to keep what its key has, and there is no such key (`KV-34`, `KV-35`).
    KeyNotFound,
    Timeout,
    Unavailable,
    Overloaded,
    Closed,
    Halted,
    /// Anything that says nothing about the state.
    Other,
}

/// A key and its value, as it was shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kv {
    pub(crate) key: Bytes,
    pub(crate) value: Bytes,
    pub(crate) create: Revision,
    /// The revision of the put that wrote it.
    pub(crate) modified: Revision,
    pub(crate) version: u64,
}

/// Which state a read is to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    /// `None`: the newest.
    pub(crate) at: Option<Revision>,
    pub(crate) serializable: bool,
}

impl History {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Notes that a client calls.
    pub(crate) fn invoke(&mut self, client: u32, member: NodeId, now: Instant, op: Op) -> CallId {
        let id = CallId(self.calls.len());
        let boot = self.restarts.get(&member).copied().unwrap_or_default();
        let invoked = self.place();
        self.calls.push(Call { client, member, boot, op, invoked, invoked_at: now, end: None });
        id
    }

    /// Notes what a client was told. The first answer to a call is the one that counts.
    pub(crate) fn answer(&mut self, id: CallId, now: Instant, answer: Answer) {
        let returned = self.place();
        if let Some(call) = self.calls.get_mut(id.0) {
            call.end.get_or_insert(End { returned, returned_at: now, answer });
        }
    }

    /// Notes that a member was started again: it may know less than before.
    pub(crate) fn restarted(&mut self, member: NodeId) {
        let boots = self.restarts.entry(member).or_default();
        *boots = boots.saturating_add(1);
    }

    /// Every call, in the order in which they began.
    pub(crate) fn calls(&self) -> impl Iterator<Item = (CallId, &Call)> {
        self.calls.iter().enumerate().map(|(place, call)| (CallId(place), call))
    }

    pub(crate) fn call(&self, id: CallId) -> Option<&Call> {
        self.calls.get(id.0)
    }

    pub(crate) fn len(&self) -> usize {
        self.calls.len()
    }

    /// For tests that spoil it. Whoever moves calls keeps them in the order in which they began.
    #[cfg(test)]
    pub(crate) fn calls_mut(&mut self) -> &mut [Call] {
        &mut self.calls
    }

    fn place(&mut self) -> u64 {
        self.next = self.next.saturating_add(1);
        self.next
    }
}

impl CallId {
    /// The place among the calls, from 0.
    #[cfg(test)]
    pub(crate) fn get(self) -> usize {
        self.0
    }
}

impl Call {
    pub(crate) fn answer(&self) -> Option<&Answer> {
        self.end.as_ref().map(|end| &end.answer)
    }
}

impl Op {
    pub(crate) fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put(Put::new(key.into(), value.into()))
    }

    /// What a read wants to see; `None` for anything that is replicated.
    pub(crate) fn view(&self) -> Option<View> {
        let (at, serializable) = match self {
            Self::Get { at, serializable, .. } => (*at, *serializable),
            Self::Range { query, serializable } => (query.at, *serializable),
            Self::Txn { txn, serializable } if txn.is_read_only() => (None, *serializable),
            Self::Put(_) | Self::Delete(_) | Self::Txn { .. } | Self::Compact { .. } => {
                return None;
            }
        };
        Some(View { at: at.filter(|at| at.get() > 0), serializable })
    }

    /// What it may put, in whichever branch.
    pub(crate) fn puts(&self) -> Vec<&Put> {
        let mut puts = Vec::new();
        self.any(&mut |step| {
            puts.extend(match step {
                Step::Put(put) => Some(put),
                _ => None,
            });
            false
        });
        puts
    }

    /// What it may delete, in whichever branch.
    pub(crate) fn deletes(&self) -> Vec<&Delete> {
        let mut deletes = Vec::new();
        self.any(&mut |step| {
            deletes.extend(match step {
                Step::Delete(delete) => Some(delete),
                _ => None,
            });
            false
        });
        deletes
    }

    /// Could it write this key, with this value if one is given?
    pub(crate) fn may_put(&self, key: &[u8], value: Option<&[u8]>) -> bool {
        self.any(&mut |step| match step {
            Step::Put(put) => {
                let fits = |value| put.ignore_value || put.value == value;
                put.key == key && value.is_none_or(fits)
            }
            _ => false,
        })
    }

    /// Could it delete this key?
    pub(crate) fn may_delete(&self, key: &[u8]) -> bool {
        self.any(&mut |step| matches!(step, Step::Delete(delete) if delete.range.contains(key)))
    }
}

impl Answer {
    /// What the header says, if the call succeeded.
    pub(crate) fn revision(&self) -> Option<Revision> {
        match self {
            Self::Put { revision, .. }
            | Self::Deleted { revision, .. }
            | Self::Got { revision, .. }
            | Self::Ranged { revision, .. }
            | Self::Txn { revision, .. }
            | Self::Compacted { revision } => Some(*revision),
            Self::Failed { .. } => None,
        }
    }

    /// Every record that the answer to a single operation shows: see [`Op::shown`].
    pub(crate) fn shown(&self) -> &[Kv] {
        match self {
            Self::Put { prev: kv, .. } | Self::Got { kv, .. } => kv.as_slice(),
            Self::Deleted { prev: kvs, .. } | Self::Ranged { kvs, .. } => kvs,
            Self::Txn { .. } | Self::Compacted { .. } | Self::Failed { .. } => &[],
        }
    }
}

impl From<&KeyValue> for Kv {
    fn from(kv: &KeyValue) -> Self {
        Self {
            key: Bytes::copy_from_slice(kv.key()),
            value: kv.value_bytes(),
            create: kv.create_revision(),
            modified: kv.mod_revision(),
            version: kv.version(),
        }
    }
}

impl From<&Error> for Answer {
    fn from(error: &Error) -> Self {
        let why = match error.kind() {
            Kind::Compacted(oldest) => Why::Compacted(oldest),
            Kind::FutureRevision(newest) => Why::FutureRevision(newest),
            Kind::KeyNotFound => Why::KeyNotFound,
            Kind::Timeout => Why::Timeout,
            Kind::Unavailable => Why::Unavailable,
            Kind::Overloaded => Why::Overloaded,
            Kind::Closed => Why::Closed,
            Kind::Halted => Why::Halted,
            _ => Why::Other,
        };
        Self::Failed { outcome: error.outcome(), why }
    }
}

/// What a call of the store gives back, as it is recorded.
macro_rules! answers {
    ($($response:ty => |$given:ident| $answer:expr;)+) => {$(
        impl From<&$response> for Answer {
            fn from($given: &$response) -> Self {
                $answer
            }
        }

        impl From<&Result<$response>> for Answer {
            fn from(result: &Result<$response>) -> Self {
                match result {
                    Ok(given) => given.into(),
                    Err(error) => error.into(),
                }
            }
        }
    )+};
}

answers! {
    PutResponse => |given| Self::Put {
        revision: given.header.revision,
        prev: given.prev_kv.as_ref().map(Kv::from),
    };
    DeleteResponse => |given| Self::Deleted {
        revision: given.header.revision,
        deleted: given.deleted,
        prev: given.prev_kvs.iter().map(Kv::from).collect(),
    };
    GetResponse => |given| Self::Got {
        revision: given.header.revision,
        kv: given.kv.as_ref().map(Kv::from),
    };
    RangeResponse => |given| Self::Ranged {
        revision: given.header.revision,
        kvs: given.kvs.iter().map(Kv::from).collect(),
        more: given.more,
        count: given.count,
    };
    TxnResponse<Vec<OpResponse>, Vec<OpResponse>> => |given| {
        Self::branch(given.header.revision, &given.branch)
    };
    CompactResponse => |given| Self::Compacted { revision: given.header.revision };
}

impl Answer {
    fn branch(revision: Revision, branch: &Branch<Vec<OpResponse>, Vec<OpResponse>>) -> Self {
        let (Branch::Then(taken) | Branch::Else(taken)) = branch;
        let responses = taken.iter().map(|response| match response {
            OpResponse::Put(put) => put.into(),
            OpResponse::Get(got) => got.into(),
            OpResponse::Range(ranged) => ranged.into(),
            OpResponse::Delete(deleted) => deleted.into(),
            OpResponse::Txn(nested) => Self::branch(Revision::default(), nested),
        });
        let responses = responses.collect();
        Self::Txn { revision, succeeded: branch.succeeded(), responses }
    }
}
