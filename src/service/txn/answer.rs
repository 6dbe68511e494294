//! From operations to what they gave back, by type.

use std::fmt;

use crate::core::machine::txn::{self, OpOutcome};
use crate::core::mvcc::Query;
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::ids::Revision;
use crate::service::response::Header;
use crate::service::scope::Scope;

/// What can stand in a branch of a transaction: an operation, or several together.
///
/// One operation: [`PutOp`](crate::PutOp), [`GetOp`](crate::GetOp), [`RangeOp`](crate::RangeOp),
/// [`DeleteOp`](crate::DeleteOp), [`TxnOp`](crate::TxnOp), or an [`Op`](crate::Op) that is any of
/// them. Several: tuples of up to eight, arrays, a `Vec`, an `Option`, and `()` for none. What the
/// branch gives back has the same shape. Nobody else can implement it.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::Op;
///
/// let done = store.txn().then((Op::put("a", "1"), Op::get("b"))).await?;
/// if let Some((put, got)) = done.branch.then() {
///     println!("a written at {}, b is {:?}", put.header.revision, got.kv);
/// }
/// # Ok(())
/// # }
/// ```
pub trait TxnOps: Part + Unpin + Send {}

impl<P: Part + Unpin + Send> TxnOps for P {}

/// What [`TxnOps`] is to this library.
pub trait Part {
    /// What is given back.
    type Response;

    /// Adds the operations as they are proposed.
    fn build(&self, ops: &mut Ops<'_>) -> Result<()>;

    /// Takes the answers to what was added.
    fn answer(&self, answers: &mut Answers<'_>) -> Result<Self::Response>;
}

/// The operations of one branch as they are proposed.
pub struct Ops<'a> {
    pub(super) scope: &'a Scope,
    pub(super) ops: Vec<txn::Op>,
}

/// The answers of one branch, in order, and what belongs to all of them.
pub struct Answers<'a> {
    pub(super) outcomes: std::vec::IntoIter<OpOutcome>,
    pub(super) gate: &'a dyn Gate,
    pub(super) scope: &'a Scope,
}

impl Ops<'_> {
    /// Adds a read of what the query asks for, within the scope.
    pub(super) fn read(&mut self, query: &Query) -> Result<()> {
        let range = self.scope.range(query.range.clone())?;
        self.ops.push(txn::Op::Range(Query { range, ..query.clone() }));
        Ok(())
    }
}

impl fmt::Debug for Ops<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ops").field(&self.ops).finish()
    }
}

impl fmt::Debug for Answers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Answers").field(&self.outcomes.as_slice()).finish()
    }
}

impl Answers<'_> {
    pub(super) fn next(&mut self) -> Result<OpOutcome> {
        self.outcomes.next().ok_or_else(|| {
            Error::corrupt("a transaction has fewer answers than operations").with_unknown_outcome()
        })
    }

    pub(super) fn header(&self, revision: Revision) -> Header {
        Header::at(self.gate, revision)
    }
}

/// An answer that is not one to its operation: somebody here is wrong.
pub(super) fn mismatch(outcome: &OpOutcome) -> Error {
    let text = format!("an operation was answered as if it were another: {outcome:?}");
    Error::corrupt(text).with_unknown_outcome()
}

impl Part for () {
    type Response = ();

    fn build(&self, _ops: &mut Ops<'_>) -> Result<()> {
        Ok(())
    }

    fn answer(&self, _answers: &mut Answers<'_>) -> Result<()> {
        Ok(())
    }
}

impl<P: Part> Part for Option<P> {
    type Response = Option<P::Response>;

    fn build(&self, ops: &mut Ops<'_>) -> Result<()> {
        self.iter().try_for_each(|part| part.build(ops))
    }

    fn answer(&self, answers: &mut Answers<'_>) -> Result<Self::Response> {
        self.as_ref().map(|part| part.answer(answers)).transpose()
    }
}

impl<P: Part> Part for Vec<P> {
    type Response = Vec<P::Response>;

    fn build(&self, ops: &mut Ops<'_>) -> Result<()> {
        self.iter().try_for_each(|part| part.build(ops))
    }

    fn answer(&self, answers: &mut Answers<'_>) -> Result<Self::Response> {
        self.iter().map(|part| part.answer(answers)).collect()
    }
}

impl<P: Part, const N: usize> Part for [P; N] {
    type Response = [P::Response; N];

    fn build(&self, ops: &mut Ops<'_>) -> Result<()> {
        self.iter().try_for_each(|part| part.build(ops))
    }

    fn answer(&self, answers: &mut Answers<'_>) -> Result<Self::Response> {
        let all: Vec<P::Response> =
            self.iter().map(|part| part.answer(answers)).collect::<Result<_>>()?;
        // There are as many as there are parts.
        all.try_into().map_err(|_| Error::corrupt("an array has lost an answer"))
    }
}

macro_rules! impl_part_for_tuples {
    ($(($($part:ident $at:tt),+)),+) => {$(
        impl<$($part: Part),+> Part for ($($part,)+) {
            type Response = ($($part::Response,)+);

            fn build(&self, ops: &mut Ops<'_>) -> Result<()> {
                $(self.$at.build(ops)?;)+
                Ok(())
            }

            fn answer(&self, answers: &mut Answers<'_>) -> Result<Self::Response> {
                Ok(($(self.$at.answer(answers)?,)+))
            }
        }
    )+};
}

impl_part_for_tuples!(
    (A 0),
    (A 0, B 1),
    (A 0, B 1, C 2),
    (A 0, B 1, C 2, D 3),
    (A 0, B 1, C 2, D 3, E 4),
    (A 0, B 1, C 2, D 3, E 4, F 5),
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6),
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7)
);
