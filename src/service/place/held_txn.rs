//! Transactions of whoever holds something.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::Place;
use crate::error::{Error, Result};
use crate::planted::{Bug, planted};
use crate::service::once::polled_too_often;
use crate::service::pending::impl_call;
use crate::service::txn::{Branch, Compare, Op, Txn, TxnOp, TxnOps, TxnResponse};

/// A transaction that commits only while something is held: made by
/// [`LockGuard::txn`](crate::LockGuard::txn) and [`Leadership::txn`](crate::Leadership::txn).
///
/// It is a [`Txn`](crate::Txn) with two conditions more (`REC-14`): that the key of the lock or of
/// the candidate is still there, of the revision that the token names, and attached to the lease.
/// That is decided where the transaction takes effect, in the order of all writes: whoever was
/// stopped for an hour and goes on then writes nothing. A condition of one's own that does not hold
/// is no loss, and takes the other branch as always.
///
/// It counts for two operations, and one level, of those that a transaction may have.
///
/// # Errors
///
/// [`is_lost`](crate::Error::is_lost) if it is held no more, and then nothing was done; and those
/// of [`Txn`](crate::Txn).
///
/// ```no_run
/// # async fn example(guard: quorate::LockGuard) -> quorate::Result<()> {
/// use quorate::{Compare, Op};
///
/// let sold = guard
///     .txn()
///     .when(Compare::value("stock").equals("42"))
///     .then(Op::put("stock", "41"))
///     .await?;
/// println!("{}", if sold.succeeded() { "sold" } else { "somebody has counted again" });
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing happens before it is awaited or waited for"]
pub struct HeldTxn<T: TxnOps = (), E: TxnOps = ()> {
    call: HeldCall<T, E>,
}

struct HeldCall<T: TxnOps, E: TxnOps> {
    place: Arc<Place>,
    timeout: Option<Duration>,
    state: State<T, E>,
}

enum State<T: TxnOps, E: TxnOps> {
    New(TxnOp<T, E>),
    Asked(Box<Txn<TxnOp<T, E>>>),
    /// It was seen to be lost before it was asked.
    Lost,
    /// It was asked, and is no more to be had.
    Ended,
}

impl HeldTxn {
    pub(in crate::service) fn new(place: &Arc<Place>) -> Self {
        let state = State::New(Op::txn());
        Self { call: HeldCall { place: Arc::clone(place), timeout: None, state } }
    }
}

impl<T: TxnOps, E: TxnOps> HeldTxn<T, E> {
    /// Adds a condition: see [`Txn::when`].
    ///
    /// ```no_run
    /// # async fn example(guard: quorate::LockGuard) -> quorate::Result<()> {
    /// use quorate::{Compare, Op};
    ///
    /// let green = Compare::value("color").equals("green");
    /// let painted = guard.txn().when(green).then(Op::put("color", "blue")).await?.succeeded();
    /// # Ok(())
    /// # }
    /// ```
    pub fn when(self, condition: Compare) -> Self {
        self.with(|op| op.when(condition))
    }

    pub(in crate::service) fn set_timeout(&mut self, timeout: Duration) {
        self.call.set_timeout(timeout);
    }

    /// It is known from elsewhere that it is held no more.
    pub(in crate::service) fn lost(&self) -> Error {
        self.call.place.set_gone();
        self.call.place.loss()
    }

    /// For a call that is made of this one.
    pub(in crate::service) fn wait_mut(&mut self) -> Result<TxnResponse<T::Response, E::Response>> {
        self.call.wait()
    }

    fn with<T2: TxnOps, E2: TxnOps>(
        self,
        change: impl FnOnce(TxnOp<T, E>) -> TxnOp<T2, E2>,
    ) -> HeldTxn<T2, E2> {
        let HeldCall { place, timeout, state } = self.call;
        let state = match state {
            State::New(op) => State::New(change(op)),
            State::Lost => State::Lost,
            State::Asked(_) | State::Ended => State::Ended,
        };
        HeldTxn { call: HeldCall { place, timeout, state } }
    }
}

impl<E: TxnOps> HeldTxn<(), E> {
    /// What is done if all conditions hold: see [`Txn::then`].
    ///
    /// ```no_run
    /// # async fn example(guard: quorate::LockGuard) -> quorate::Result<()> {
    /// guard.txn().then(quorate::Op::put("color", "blue")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn then<T: TxnOps>(self, ops: T) -> HeldTxn<T, E> {
        self.with(|op| op.then(ops))
    }
}

impl<T: TxnOps> HeldTxn<T, ()> {
    /// What is done if a condition does not hold: see [`Txn::or_else`]. Never done by who holds
    /// nothing.
    ///
    /// ```no_run
    /// # async fn example(guard: quorate::LockGuard) -> quorate::Result<()> {
    /// use quorate::{Compare, Op};
    ///
    /// let free = Compare::absent("seat");
    /// guard.txn().when(free).then(Op::put("seat", "me")).or_else(Op::get("seat")).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn or_else<E: TxnOps>(self, ops: E) -> HeldTxn<T, E> {
        self.with(|op| op.or_else(ops))
    }
}

impl_call!(
    HeldTxn<T: TxnOps, E: TxnOps> -> TxnResponse<T::Response, E::Response>,
    "store.lock(\"stock\").acquire(\
     &store.session(std::time::Duration::from_secs(10)).wait()?).wait()?\
     .txn().then(quorate::Op::put(\"color\", \"green\"))"
);

impl<T: TxnOps, E: TxnOps> HeldCall<T, E> {
    fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    /// Asks at most once. Who knows that it is lost asks nobody.
    fn asked(&mut self) -> Result<&mut Txn<TxnOp<T, E>>> {
        if let State::New(_) = self.state {
            if self.place.is_lost() {
                self.state = State::Lost;
                return Err(self.place.loss());
            }
            if let State::New(op) = std::mem::replace(&mut self.state, State::Ended) {
                self.state = State::Asked(Box::new(self.txn(op)));
            }
        }
        match &mut self.state {
            State::Asked(txn) => Ok(txn),
            State::Lost => Err(self.place.loss()),
            State::New(_) | State::Ended => Err(polled_too_often()),
        }
    }

    fn txn(&self, op: TxnOp<T, E>) -> Txn<TxnOp<T, E>> {
        let place = &self.place;
        let made = Compare::create_revision(place.key.clone()).equals(place.since);
        let leased = Compare::lease(place.key.clone()).equals(place.holder.kept.lease());
        let txn = place.store.txn();
        let txn = if planted(Bug::UnfencedTxn) { txn } else { txn.when(made).when(leased) };
        let txn = txn.then(op);
        match self.timeout {
            Some(timeout) => txn.timeout(timeout),
            None => txn,
        }
    }

    fn wait(&mut self) -> Result<TxnResponse<T::Response, E::Response>> {
        self.asked()?;
        let answer = match std::mem::replace(&mut self.state, State::Ended) {
            State::Asked(txn) => txn.wait()?,
            State::New(_) | State::Lost | State::Ended => return Err(polled_too_often()),
        };
        self.answer(answer)
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<TxnResponse<T::Response, E::Response>>> {
        let txn = std::pin::Pin::new(self.asked()?);
        let answer = std::task::ready!(txn.poll(context))?;
        Poll::Ready(self.answer(answer))
    }

    fn answer(
        &self,
        answer: TxnResponse<Branch<T::Response, E::Response>, ()>,
    ) -> Result<TxnResponse<T::Response, E::Response>> {
        match answer.branch {
            Branch::Then(branch) => Ok(TxnResponse { header: answer.header, branch }),
            Branch::Else(()) => {
                self.place.set_gone();
                Err(self.place.loss())
            }
        }
    }
}

impl<T: TxnOps + fmt::Debug, E: TxnOps + fmt::Debug> fmt::Debug for HeldTxn<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut txn = f.debug_struct("HeldTxn");
        txn.field("place", &self.call.place);
        if let State::New(op) = &self.call.state {
            txn.field("op", op);
        }
        txn.finish_non_exhaustive()
    }
}
