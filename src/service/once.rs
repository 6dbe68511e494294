//! Calls that are one transaction, and answer in their own words.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::txn::{Branch, Txn, TxnOps};
use crate::error::{Error, Result};

/// One transaction, and what its answer means.
pub(super) struct Once<T: TxnOps, R> {
    /// `None` once it has ended.
    txn: Option<Txn<T>>,
    settle: fn(Branch<T::Response, ()>) -> R,
}

impl<T: TxnOps, R> Once<T, R> {
    pub(super) fn new(txn: Txn<T>, settle: fn(Branch<T::Response, ()>) -> R) -> Self {
        Self { txn: Some(txn), settle }
    }

    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.txn = self.txn.take().map(|txn| txn.timeout(timeout));
    }

    pub(super) fn wait(&mut self) -> Result<R> {
        let txn = self.txn.take().ok_or_else(polled_too_often)?;
        Ok((self.settle)(txn.wait()?.branch))
    }

    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<R>> {
        let Some(txn) = &mut self.txn else { return Poll::Ready(Err(polled_too_often())) };
        let answer = std::task::ready!(Pin::new(txn).poll(context));
        self.txn = None;
        Poll::Ready(answer.map(|response| (self.settle)(response.branch)))
    }
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
