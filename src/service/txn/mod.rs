//! Transactions: conditions, and one list of operations or the other.
//!
//! ```text
//!   store.txn()
//!       .when(Compare::absent("lock"))              conditions, joined by "and"
//!       .then((Op::put("lock", "me"), ..))          what is done if all hold
//!       .or_else(Op::get("lock"))                   what is done if one does not
//!       .await?
//!       .branch                                     Then((PutResponse, ..)) or Else(GetResponse)
//! ```
//!
//! The operations give the transaction its type, and the type says what comes back (`answer.rs`):
//! nobody has to take an answer out of an enum that he knows the kind of. That each branch is said
//! once is the compiler's business (`TXN-20`).
//!
//! A transaction that only reads, whichever branch is taken, is a read: it asks for a recent state
//! and is then answered on the caller's thread (`TXN-16`). Every other one is a write, whatever it
//! turns out to do (`TXN-17`).

mod answer;
mod call;
mod compare;
mod op;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use self::answer::TxnOps;
use self::answer::{Answers, Ops, Part, mismatch};
pub(super) use self::call::Asked;
use self::call::TxnCall;
pub use self::compare::{Compare, Operand};
pub use self::op::{DeleteOp, GetOp, Op, OpResponse, PutOp, RangeOp};
use super::options::{Freshness, impl_freshness};
use super::pending::impl_call;
use super::response::Header;
use super::scope::Scope;
use crate::core::machine::Outcome;
use crate::core::machine::txn::{self, OpOutcome, TxnOutcome};
use crate::error::Result;
use crate::gate::Gate;
use crate::sync::oneshot::AsyncReceiver;

/// Compares, then does one thing or the other, as one: made by [`Store::txn`](crate::Store::txn).
///
/// All conditions are judged before anything is done, on one state (`TXN-5`). If all hold, what
/// [`then`](Self::then) was given is done, otherwise what [`or_else`](Self::or_else) was given;
/// without conditions the first. The operations see what those before them did, and all changes
/// share one revision (`TXN-11`, `TXN-13`): nobody ever sees a part of them.
///
/// A transaction without puts, deletes and transactions within is a read, and linearizable as a
/// [`Get`](crate::Get) is (`TXN-16`). [`serializable`](Self::serializable),
/// [`at_least`](Self::at_least) and [`max_staleness`](Self::max_staleness) are for that kind only.
///
/// Dropping it before it is polled does nothing. Dropping it later cancels the waiting only: the
/// transaction may still happen, once.
///
/// # Errors
///
/// Before anything is asked: [`is_invalid`](crate::Error::is_invalid) for an empty key, options
/// that contradict each other, or a bound on the staleness of a transaction that writes;
/// [`is_too_large`](crate::Error::is_too_large) for more conditions, or operations in a branch,
/// than `max_txn_ops` (those of transactions within come off what is left, `TXN-6`), for more than
/// 16 levels, or for too many bytes; [`is_duplicate_key`](crate::Error::is_duplicate_key) if a
/// branch writes a key twice (`TXN-9`).
///
/// For what is on the branch taken, and then nothing is done (`TXN-8`):
/// [`is_lease_not_found`](crate::Error::is_lease_not_found),
/// [`is_key_not_found`](crate::Error::is_key_not_found),
/// [`is_compacted`](crate::Error::is_compacted) and
/// [`is_future_revision`](crate::Error::is_future_revision).
///
/// Otherwise those of [`Put`](crate::Put), or of [`Get`](crate::Get) if it only reads.
/// [`Error::outcome`](crate::Error::outcome) says of each whether it may have happened.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::{Branch, Compare, Op};
///
/// let done = store
///     .txn()
///     .when(Compare::absent("lock"))
///     .then(Op::put("lock", "me"))
///     .or_else(Op::get("lock"))
///     .await?;
/// match done.branch {
///     Branch::Then(put) => println!("mine since revision {}", put.header.revision),
///     Branch::Else(got) => println!("taken: {:?}", got.kv),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct Txn<T: TxnOps = (), E: TxnOps = ()> {
    call: TxnCall<T, E>,
}

/// A transaction within another: made by [`Op::txn`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "an operation is for a transaction"]
pub struct TxnOp<T = (), E = ()> {
    compares: Vec<Compare>,
    then: T,
    or_else: E,
}

/// Which branch a transaction took, with what its operations gave back.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// use quorate::{Compare, Op};
///
/// let read = store.txn().when(Compare::exists("a")).then(Op::get("a")).or_else(Op::get("b"));
/// // Both branches give the same type, and it does not matter which was taken.
/// let kv = read.await?.branch.into_inner().kv;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Branch<T, E> {
    /// All conditions held.
    Then(T),
    /// At least one did not.
    Else(E),
}

/// What a [`Txn`] gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TxnResponse<T, E> {
    /// Who answered; the revision is that of the changes, or the current one if there were none
    /// (`TXN-13`).
    pub header: Header,
    /// The branch that was taken.
    pub branch: Branch<T, E>,
}

impl<T, E> TxnResponse<T, E> {
    /// Did all conditions hold?
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::{Compare, Op};
    ///
    /// let free = Compare::absent("lock");
    /// if store.txn().when(free).then(Op::put("lock", "me")).await?.succeeded() {
    ///     println!("the lock is mine");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn succeeded(&self) -> bool {
        self.branch.succeeded()
    }
}

impl<T, E> Branch<T, E> {
    /// Is it the branch of conditions that hold?
    ///
    /// ```
    /// assert!(quorate::Branch::<u8, u8>::Then(1).succeeded());
    /// ```
    pub fn succeeded(&self) -> bool {
        matches!(self, Self::Then(_))
    }

    /// What the first branch gave back, if it was taken.
    ///
    /// ```
    /// assert_eq!(quorate::Branch::<u8, u8>::Then(1).then(), Some(1));
    /// ```
    pub fn then(self) -> Option<T> {
        self.into_result().ok()
    }

    /// What the other branch gave back, if it was taken.
    ///
    /// ```
    /// assert_eq!(quorate::Branch::<u8, u8>::Else(2).or_else(), Some(2));
    /// ```
    pub fn or_else(self) -> Option<E> {
        self.into_result().err()
    }

    /// The first branch as `Ok`, the other as `Err`.
    ///
    /// # Errors
    ///
    /// What the other branch gave back, if that was taken.
    ///
    /// ```
    /// assert_eq!(quorate::Branch::<u8, u8>::Else(2).into_result(), Err(2));
    /// ```
    pub fn into_result(self) -> std::result::Result<T, E> {
        match self {
            Self::Then(then) => Ok(then),
            Self::Else(or_else) => Err(or_else),
        }
    }
}

impl<T> Branch<T, T> {
    /// What the branch that was taken gave back, where both give the same.
    ///
    /// ```
    /// assert_eq!(quorate::Branch::Else(2).into_inner(), 2);
    /// ```
    pub fn into_inner(self) -> T {
        match self {
            Self::Then(taken) | Self::Else(taken) => taken,
        }
    }
}

impl<T, E> TxnOp<T, E> {
    /// Adds a condition: see [`Txn::when`].
    ///
    /// ```
    /// # use quorate::{Compare, Op};
    /// let inner = Op::txn().when(Compare::absent("lock")).then(Op::put("lock", "me"));
    /// ```
    pub fn when(mut self, condition: Compare) -> Self {
        self.compares.push(condition);
        self
    }
}

impl<E> TxnOp<(), E> {
    /// What is done if all conditions hold: see [`Txn::then`].
    ///
    /// ```
    /// # use quorate::{Compare, Op};
    /// let inner = Op::txn().when(Compare::absent("lock")).then(Op::put("lock", "me"));
    /// ```
    pub fn then<T: TxnOps>(self, ops: T) -> TxnOp<T, E> {
        let Self { compares, then: (), or_else } = self;
        TxnOp { compares, then: ops, or_else }
    }
}

impl<T> TxnOp<T, ()> {
    /// What is done if a condition does not hold: see [`Txn::or_else`].
    ///
    /// ```
    /// # use quorate::{Compare, Op};
    /// let inner = Op::txn().when(Compare::absent("lock")).or_else(Op::get("lock"));
    /// ```
    pub fn or_else<E: TxnOps>(self, ops: E) -> TxnOp<T, E> {
        let Self { compares, then, or_else: () } = self;
        TxnOp { compares, then, or_else: ops }
    }
}

impl<T: Part, E: Part> TxnOp<T, E> {
    fn to_core(&self, scope: &Scope) -> Result<txn::Txn> {
        let compares = self.compares.iter().map(|compare| compare.build(scope));
        let (mut success, mut failure) =
            (Ops { scope, ops: Vec::new() }, Ops { scope, ops: Vec::new() });
        self.then.build(&mut success)?;
        self.or_else.build(&mut failure)?;
        let compares = compares.collect::<Result<_>>()?;
        Ok(txn::Txn { compares, success: success.ops, failure: failure.ops })
    }

    fn branch(
        &self,
        outcome: TxnOutcome,
        gate: &dyn Gate,
        scope: &Scope,
    ) -> Result<Branch<T::Response, E::Response>> {
        let mut answers = Answers { outcomes: outcome.responses.into_iter(), gate, scope };
        if outcome.succeeded {
            self.then.answer(&mut answers).map(Branch::Then)
        } else {
            self.or_else.answer(&mut answers).map(Branch::Else)
        }
    }
}

impl<T: Part, E: Part> Part for TxnOp<T, E> {
    type Response = Branch<T::Response, E::Response>;

    fn build(&self, ops: &mut Ops<'_>) -> Result<()> {
        let txn = self.to_core(ops.scope)?;
        ops.ops.push(txn::Op::Txn(txn));
        Ok(())
    }

    fn answer(&self, answers: &mut Answers<'_>) -> Result<Self::Response> {
        match answers.next()? {
            OpOutcome::Txn(outcome) => self.branch(outcome, answers.gate, answers.scope),
            other => Err(mismatch(&other)),
        }
    }
}

impl Txn {
    pub(crate) fn new(gate: &Arc<dyn Gate>, scope: &Scope) -> Self {
        let (gate, scope) = (Arc::clone(gate), scope.clone());
        let (op, freshness) = (TxnOp::default(), Freshness::default());
        Self { call: TxnCall { gate, scope, op, freshness, timeout: None, asked: None } }
    }
}

impl<T: TxnOps, E: TxnOps> Txn<T, E> {
    /// Adds a condition; all must hold.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::{Compare, Op};
    ///
    /// let green = Compare::value("color").equals("green");
    /// let painted = store.txn().when(green).then(Op::put("color", "blue")).await?.succeeded();
    /// # Ok(())
    /// # }
    /// ```
    pub fn when(mut self, condition: Compare) -> Self {
        self.call.op.compares.push(condition);
        self
    }

    /// Takes out what the answer will come through, if it is a write that is asked and not
    /// answered: for whoever has to know the answer though nobody waits for it.
    pub(in crate::service) fn take_reply(&mut self) -> Option<AsyncReceiver<Result<Outcome>>> {
        self.call.asked.as_mut()?.take_reply()
    }

    /// What the answer says that came through [`take_reply`](Self::take_reply).
    pub(in crate::service) fn answer(
        &self,
        outcome: Outcome,
    ) -> Result<TxnResponse<T::Response, E::Response>> {
        self.call.response(call::done(outcome)?)
    }

    /// With other operations in its branches.
    fn with<T2: TxnOps, E2: TxnOps>(
        self,
        change: impl FnOnce(TxnOp<T, E>) -> TxnOp<T2, E2>,
    ) -> Txn<T2, E2> {
        let TxnCall { gate, scope, op, freshness, timeout, asked: _ } = self.call;
        let op = change(op);
        Txn { call: TxnCall { gate, scope, op, freshness, timeout, asked: None } }
    }
}

impl<E: TxnOps> Txn<(), E> {
    /// What is done if all conditions hold: one operation, or several as [`TxnOps`] says.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::{Compare, Op};
    ///
    /// let rename = (Op::delete("old"), Op::put("new", "green"));
    /// store.txn().when(Compare::absent("new")).then(rename).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn then<T: TxnOps>(self, ops: T) -> Txn<T, E> {
        self.with(|op| op.then(ops))
    }
}

impl<T: TxnOps> Txn<T, ()> {
    /// What is done if a condition does not hold: one operation, or several as [`TxnOps`] says.
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// use quorate::{Compare, Op};
    ///
    /// let free = Compare::absent("lock");
    /// store.txn().when(free).then(Op::put("lock", "me")).or_else(Op::get("lock")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn or_else<E: TxnOps>(self, ops: E) -> Txn<T, E> {
        self.with(|op| op.or_else(ops))
    }
}

impl_freshness!(
    Txn<T: TxnOps, E: TxnOps>, txn => txn.call.freshness,
    "store.txn().then(quorate::Op::get(\"color\"))", ".await?"
);
impl_call!(
    Txn<T: TxnOps, E: TxnOps> -> TxnResponse<T::Response, E::Response>,
    "store.txn().then(quorate::Op::put(\"color\", \"green\"))"
);
