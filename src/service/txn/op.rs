//! The operations of a transaction: what the calls of a store are without a store.

use bytes::Bytes;

use super::answer::{Answers, Ops, Part, mismatch};
use super::{Branch, TxnOp};
use crate::core::machine::txn::{self, OpOutcome};
use crate::core::mvcc::Query;
use crate::error::Result;
use crate::keys::KeyRange;
use crate::service::options::{impl_at, impl_delete_options, impl_put_options, impl_range_options};
use crate::service::response::{DeleteResponse, GetResponse, PutResponse, RangeResponse};

/// An operation of a [`Txn`](crate::Txn), and where all of them are made.
///
/// The functions give each its own type, so that a transaction of known operations has answers of
/// known types. Where the operations are not known before the program runs, put them into a
/// `Vec<Op>`: each of them converts into an `Op`.
///
/// ```no_run
/// # async fn example(store: quorate::Store, keys: Vec<String>) -> quorate::Result<()> {
/// use quorate::{Op, OpResponse};
///
/// let ops: Vec<Op> = keys.into_iter().map(|key| Op::delete(key).into()).collect();
/// for response in store.txn().then(ops).await?.branch.into_result().unwrap_or_default() {
///     if let OpResponse::Delete(deletion) = response {
///         println!("{} gone", deletion.deleted);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "an operation is for a transaction"]
#[non_exhaustive]
pub enum Op {
    /// Writes a key.
    Put(PutOp),
    /// Reads a key.
    Get(GetOp),
    /// Reads a range.
    Range(RangeOp),
    /// Deletes a key or a range.
    Delete(DeleteOp),
    /// A transaction within.
    Txn(Box<TxnOp<Vec<Op>, Vec<Op>>>),
}

/// What an [`Op`] gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpResponse {
    /// Of [`Op::Put`].
    Put(PutResponse),
    /// Of [`Op::Get`].
    Get(GetResponse),
    /// Of [`Op::Range`].
    Range(RangeResponse),
    /// Of [`Op::Delete`].
    Delete(DeleteResponse),
    /// Of [`Op::Txn`].
    Txn(Box<Branch<Vec<OpResponse>, Vec<OpResponse>>>),
}

impl Op {
    /// Writes `value` under `key`, as [`Store::put`](crate::Store::put) does.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// store.txn().then(quorate::Op::put("color", "green")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> PutOp {
        PutOp { put: txn::Put::new(key.into(), value.into()) }
    }

    /// Reads `key`, as [`Store::get`](crate::Store::get) does.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::{Compare, Op};
    ///
    /// let got = store.txn().when(Compare::absent("color")).or_else(Op::get("color")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn get(key: impl Into<Bytes>) -> GetOp {
        GetOp { query: Query::new(KeyRange::key(key)) }
    }

    /// Reads the keys of `range`, as [`Store::range`](crate::Store::range) does.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::{KeyRange, Op};
    ///
    /// let jobs = store.txn().then(Op::range(KeyRange::prefix("jobs/"))).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn range(range: impl Into<KeyRange>) -> RangeOp {
        RangeOp { query: Query::new(range.into()) }
    }

    /// Deletes a key or the keys of a range, as [`Store::delete`](crate::Store::delete) does.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// store.txn().then(quorate::Op::delete("color")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn delete(range: impl Into<KeyRange>) -> DeleteOp {
        DeleteOp { delete: txn::Delete { range: range.into(), prev: false } }
    }

    /// A transaction within the transaction.
    ///
    /// Its conditions are judged with all others, before anything is done (`TXN-5`).
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::{Compare, Op};
    ///
    /// let inner = Op::txn().when(Compare::absent("first")).then(Op::put("first", "me"));
    /// store.txn().then((Op::put("visitors/me", ""), inner)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn txn() -> TxnOp<(), ()> {
        TxnOp::default()
    }
}

/// A put in a transaction: made by [`Op::put`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an operation is for a transaction"]
pub struct PutOp {
    put: txn::Put,
}

impl_put_options!(
    PutOp, op => op.put,
    "store.txn().then(quorate::Op::put(\"color\", ", ")", ").await?"
);

/// A read of one key in a transaction: made by [`Op::get`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an operation is for a transaction"]
pub struct GetOp {
    query: Query,
}

impl_at!(GetOp, op => &mut op.query.at, "store.txn().then(quorate::Op::get(\"color\")", ").await?");

/// A read of a range in a transaction: made by [`Op::range`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an operation is for a transaction"]
pub struct RangeOp {
    query: Query,
}

impl_range_options!(
    RangeOp, op => op.query,
    "store.txn().then(quorate::Op::range(\"jobs/\"..\"jobs0\")", ").await?"
);
impl_at!(
    RangeOp, op => &mut op.query.at,
    "store.txn().then(quorate::Op::range(\"jobs/\"..\"jobs0\")", ").await?"
);

/// A delete in a transaction: made by [`Op::delete`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an operation is for a transaction"]
pub struct DeleteOp {
    delete: txn::Delete,
}

impl_delete_options!(
    DeleteOp, op => op.delete,
    "store.txn().then(quorate::Op::delete(\"jobs/\"..\"jobs0\")", ").await?"
);

macro_rules! impl_into_op {
    ($($op:ident => $variant:ident),+) => {$(
        impl From<$op> for Op {
            fn from(op: $op) -> Self {
                Self::$variant(op)
            }
        }
    )+};
}

impl_into_op!(PutOp => Put, GetOp => Get, RangeOp => Range, DeleteOp => Delete);

impl From<TxnOp<Vec<Op>, Vec<Op>>> for Op {
    fn from(op: TxnOp<Vec<Op>, Vec<Op>>) -> Self {
        Self::Txn(Box::new(op))
    }
}

impl Part for PutOp {
    type Response = PutResponse;

    fn build(&self, ops: &mut Ops<'_>) -> Result<()> {
        let key = ops.scope.key(self.put.key.clone())?;
        ops.ops.push(txn::Op::Put(txn::Put { key, ..self.put.clone() }));
        Ok(())
    }

    fn answer(&self, answers: &mut Answers<'_>) -> Result<PutResponse> {
        match answers.next()? {
            OpOutcome::Put { revision, prev } => {
                let prev_kv = prev.map(|kv| answers.scope.show(kv));
                Ok(PutResponse { header: answers.header(revision), prev_kv })
            }
            other => Err(mismatch(&other)),
        }
    }
}

impl Part for GetOp {
    type Response = GetResponse;

    fn build(&self, ops: &mut Ops<'_>) -> Result<()> {
        ops.read(&self.query)
    }

    fn answer(&self, answers: &mut Answers<'_>) -> Result<GetResponse> {
        match answers.next()? {
            OpOutcome::Range { revision, mut page } => {
                let kv = page.kvs.pop().map(|kv| answers.scope.show(kv));
                Ok(GetResponse { header: answers.header(revision), kv })
            }
            other => Err(mismatch(&other)),
        }
    }
}

impl Part for RangeOp {
    type Response = RangeResponse;

    fn build(&self, ops: &mut Ops<'_>) -> Result<()> {
        ops.read(&self.query)
    }

    fn answer(&self, answers: &mut Answers<'_>) -> Result<RangeResponse> {
        match answers.next()? {
            OpOutcome::Range { revision, page } => Ok(RangeResponse {
                header: answers.header(revision),
                kvs: answers.scope.show_all(page.kvs),
                more: page.more,
                count: page.count,
            }),
            other => Err(mismatch(&other)),
        }
    }
}

impl Part for DeleteOp {
    type Response = DeleteResponse;

    fn build(&self, ops: &mut Ops<'_>) -> Result<()> {
        let range = ops.scope.range(self.delete.range.clone())?;
        ops.ops.push(txn::Op::Delete(txn::Delete { range, ..self.delete.clone() }));
        Ok(())
    }

    fn answer(&self, answers: &mut Answers<'_>) -> Result<DeleteResponse> {
        match answers.next()? {
            OpOutcome::Deleted { revision, count, prev } => Ok(DeleteResponse {
                header: answers.header(revision),
                deleted: count,
                prev_kvs: answers.scope.show_all(prev),
            }),
            other => Err(mismatch(&other)),
        }
    }
}

impl Part for Op {
    type Response = OpResponse;

    fn build(&self, ops: &mut Ops<'_>) -> Result<()> {
        match self {
            Self::Put(op) => op.build(ops),
            Self::Get(op) => op.build(ops),
            Self::Range(op) => op.build(ops),
            Self::Delete(op) => op.build(ops),
            Self::Txn(op) => op.build(ops),
        }
    }

    fn answer(&self, answers: &mut Answers<'_>) -> Result<OpResponse> {
        Ok(match self {
            Self::Put(op) => OpResponse::Put(op.answer(answers)?),
            Self::Get(op) => OpResponse::Get(op.answer(answers)?),
            Self::Range(op) => OpResponse::Range(op.answer(answers)?),
            Self::Delete(op) => OpResponse::Delete(op.answer(answers)?),
            Self::Txn(op) => OpResponse::Txn(Box::new(op.answer(answers)?)),
        })
    }
}
