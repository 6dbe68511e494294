//! Transactions: compare, then do one list of operations or the other.
//!
//! ```text
//!   compare   version("lock") = 0
//!   success   put lock=me, range jobs/..        all compares hold
//!   failure   range lock                        one does not
//! ```
//!
//! A transaction is applied in three steps, and only the last one changes anything:
//!
//! 1. *Decide*. Every compare on the way, those of nested transactions in the branches taken too,
//!    is judged against the state before (`TXN-5`). That fixes the path through the tree.
//! 2. *Validate*. Everything on the path that could fail is looked at, again in the state before:
//!    leases, keys that must be there, revisions to read (`TXN-8`). Any fault refuses the whole.
//! 3. *Run*. The operations of the path, in order, each seeing what the ones before it did
//!    (`TXN-11`), all in one revision (`TXN-13`). Nothing can fail here (`TXN-15`).
//!
//! What a transaction looks like is checked before it is proposed (`check.rs`): how many
//! operations, how deep, and that no key is written twice. Who decodes one from the log relies on
//! the depth only; two writes of one key run in order, and the later one wins.
//!
//! One that only reads is not proposed (`TXN-16`): steps 1 to 3 run on any state that is recent
//! enough, on the caller's thread.

mod check;
mod run;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::core::mvcc::{KeyValue, Query, RangePage};
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;

/// How deep transactions may be nested: a stack frame each, on every member.
pub(crate) const MAX_DEPTH: usize = 16;

/// Conditions and operations of a transaction, those of transactions within it included: what one
/// takes in memory is a hundred times what it takes in the log.
pub(crate) const MAX_ITEMS: usize = 65_536;

/// Writes a new version of a key (`KV-30`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Put {
    /// Never empty (`SEL-4`).
    pub(crate) key: Bytes,
    /// Empty with `ignore_value`.
    pub(crate) value: Bytes,
    /// 0 for none, and with `ignore_lease` (`KV-31`).
    pub(crate) lease: LeaseId,
    /// The record as it was before is wanted back (`KV-33`).
    pub(crate) prev: bool,
    /// The value stays as it is (`KV-34`).
    pub(crate) ignore_value: bool,
    /// The lease stays as it is (`KV-35`).
    pub(crate) ignore_lease: bool,
}

/// Ends the life of every key selected (`KV-50`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delete {
    /// Never begins at the empty key (`SEL-4`).
    pub(crate) range: KeyRange,
    /// The records as they were before are wanted back.
    pub(crate) prev: bool,
}

/// See the top of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Txn {
    /// All must hold for `success` to be taken; none is as good as all (`TXN-1`).
    pub(crate) compares: Vec<Compare>,
    pub(crate) success: Vec<Op>,
    pub(crate) failure: Vec<Op>,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Range(Query),
    Put(Put),
    Delete(Delete),
    /// At most [`MAX_DEPTH`] deep.
    Txn(Txn),
}

/// A condition on a key, or on every key of a range (`TXN-4`): what is stored, then the operator,
/// then the target (`TXN-2`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Compare {
    /// Never begins at the empty key (`SEL-4`).
    pub(crate) range: KeyRange,
    pub(crate) operator: Operator,
    pub(crate) target: Target,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
}

/// What is compared, and with what. A missing key has 0 everywhere and no value (`TXN-3`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Version(u64),
    CreateRevision(Revision),
    ModRevision(Revision),
    Value(Bytes),
    Lease(LeaseId),
}

/// What a transaction did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TxnOutcome {
    /// That of its changes, or the current one if it made none (`TXN-13`). In a nested one, as
    /// seen when it had run (`SEL-8`).
    pub(crate) revision: Revision,
    /// `success` was taken.
    pub(crate) succeeded: bool,
    /// One for each operation of the branch taken. None at all where nobody waits for them.
    pub(crate) responses: Vec<OpOutcome>,
}

/// What an operation of a transaction did. Revisions are as seen when it had run (`SEL-8`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OpOutcome {
    Range { revision: Revision, page: RangePage },
    Put { revision: Revision, prev: Option<KeyValue> },
    Deleted { revision: Revision, count: u64, prev: Vec<KeyValue> },
    Txn(TxnOutcome),
}

impl Txn {
    /// All that it gives back, of which the revision and the branch taken were kept: if that did
    /// nothing but puts, it can be said.
    pub(super) fn told(&self, kept: &TxnOutcome) -> Option<TxnOutcome> {
        let TxnOutcome { revision, succeeded, .. } = *kept;
        let put = |op: &Op| match op {
            Op::Put(put) if !put.prev => Some(OpOutcome::Put { revision, prev: None }),
            _ => None,
        };
        let responses = self.branch(succeeded).iter().map(put).collect::<Option<_>>()?;
        Some(TxnOutcome { revision, succeeded, responses })
    }
}

impl Put {
    /// Without a lease, and nothing kept or wanted back.
    pub(crate) fn new(key: Bytes, value: Bytes) -> Self {
        let lease = LeaseId::new(0);
        Self { key, value, lease, prev: false, ignore_value: false, ignore_lease: false }
    }
}

impl Txn {
    /// Does it only read, whichever branch is taken? (`TXN-16`)
    pub(crate) fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| matches!(op, Op::Range(_)))
    }

    fn branch(&self, succeeded: bool) -> &[Op] {
        if succeeded { &self.success } else { &self.failure }
    }
}
