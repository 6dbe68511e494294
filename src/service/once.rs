//! Calls that are one transaction, and answer in their own words.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use super::lease::Session;
use super::place::Line;
use super::txn::{Branch, Txn, TxnOps, TxnResponse};
use crate::error::{Error, Kind, Result};
use crate::ids::LeaseId;
use crate::store::Store;

/// One transaction, and what its answer means.
pub(super) struct Once<T: TxnOps, R> {
    /// `None` once it has ended; or why it is never asked.
    txn: Option<Result<Txn<T>>>,
    timeout: Option<Duration>,
    /// What is put is to go with a session.
    is_under: bool,
    settle: fn(Branch<T::Response, ()>) -> R,
}

impl<T: TxnOps, R> Once<T, R> {
    pub(super) fn new(txn: Txn<T>, settle: fn(Branch<T::Response, ()>) -> R) -> Self {
        Self { txn: Some(Ok(txn)), timeout: None, is_under: false, settle }
    }

    /// The same under a session: this transaction instead, and with the deadline that was set.
    pub(super) fn under(mut self, txn: Result<Txn<T>>) -> Self {
        (self.txn, self.is_under) = (Some(txn), true);
        self.timeout.into_iter().for_each(|timeout| self.set_timeout(timeout));
        self
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
        self.txn = self.txn.take().map(|txn| Ok(txn?.timeout(timeout)));
    }

    pub(super) fn wait(&mut self) -> Result<R> {
        let txn = self.txn.take().ok_or_else(polled_too_often)?;
        let answer = txn.and_then(Txn::wait);
        self.settle(answer)
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<R>> {
        let answer = match self.txn.as_mut().ok_or_else(polled_too_often)? {
            Ok(txn) => std::task::ready!(Pin::new(txn).poll(context)),
            Err(refused) => Err(refused.again()),
        };
        self.txn = None;
        Poll::Ready(self.settle(answer))
    }

    fn settle(&self, answer: Result<TxnResponse<T::Response, ()>>) -> Result<R> {
        let answer = if self.is_under { answer.map_err(lost_with_session) } else { answer };
        Ok((self.settle)(answer?.branch))
    }
}

/// The lease of a session that something is to go with: refused if it is another node's, or over.
pub(super) fn lease_of(store: &Store, session: &Session) -> Result<LeaseId> {
    let line = Line { store: store.clone(), directory: Bytes::new() };
    let holder = line.holder(session)?;
    if holder.is_over() { Err(over()) } else { Ok(holder.kept.lease()) }
}

/// Whether the member or the cluster has found that the session is over: it is said as one.
pub(super) fn lost_with_session(error: Error) -> Error {
    if error.is_lease_not_found() { over() } else { error }
}

fn over() -> Error {
    Error::new(Kind::Lost, "the session is over: nothing can be put under it")
}

pub(super) fn polled_too_often() -> Error {
    Error::invalid("the call has ended already: it was polled once too often")
}

/// As `impl_call`, for a builder whose `call` is a [`Once`] and whose insides say nothing.
macro_rules! impl_once {
    ($builder:ident -> $response:ty, $example:literal) => {
        $crate::service::pending::impl_call!($builder -> $response, $example);

        impl ::std::fmt::Debug for $builder {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(stringify!($builder)).finish_non_exhaustive()
            }
        }
    };
}

pub(super) use impl_once;
