//! A transaction on its way: a read or a write, by what it consists of.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::answer::Part;
use super::{TxnOp, TxnResponse};
use crate::core::machine::txn::{Txn, TxnOutcome};
use crate::core::machine::{Command, Outcome};
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::planted::{Bug, planted};
use crate::service::kv::{encode, failed};
use crate::service::options::Freshness;
use crate::service::pending::{Ask, Call, Counter, Started};
use crate::service::response::Header;
use crate::service::scope::Scope;
use crate::sync::oneshot::AsyncReceiver;

/// A transaction as its types say it, and how far it has come.
pub(super) struct TxnCall<T, E> {
    pub(super) gate: Arc<dyn Gate>,
    pub(super) scope: Scope,
    pub(super) op: TxnOp<T, E>,
    pub(super) freshness: Freshness,
    pub(super) timeout: Option<Duration>,
    /// `None`: nothing has been asked.
    pub(super) asked: Option<Asked>,
}

/// A transaction that was begun.
#[derive(Debug)]
pub(crate) enum Asked {
    Reading(Call<ReadAsk>),
    Writing(Call<WriteAsk>),
}

#[derive(Debug)]
pub(crate) struct ReadAsk {
    /// An error is the caller's mistake.
    txn: Result<Txn>,
    freshness: Freshness,
}

#[derive(Debug)]
pub(crate) struct WriteAsk {
    txn: Result<Txn>,
    freshness: Freshness,
}

impl Asked {
    /// Begins it as a read or as a write (`TXN-16`); what can never be asked is refused by
    /// either.
    pub(crate) fn new(
        gate: &Arc<dyn Gate>,
        scope: &Scope,
        txn: Result<Txn>,
        freshness: Freshness,
        timeout: Option<Duration>,
    ) -> Self {
        fn call<A: Ask>(gate: &Arc<dyn Gate>, ask: A, timeout: Option<Duration>) -> Call<A> {
            let mut call = Call::new(gate, ask);
            timeout.into_iter().for_each(|timeout| call.set_timeout(timeout));
            call
        }
        let hidden = scope.hidden();
        let max_ops = gate.limits().max_txn_ops;
        let txn = txn.and_then(|txn| txn.check(max_ops, hidden).map(|()| txn));
        if txn.as_ref().is_ok_and(Txn::is_read_only) {
            Self::Reading(call(gate, ReadAsk { txn, freshness }, timeout))
        } else {
            Self::Writing(call(gate, WriteAsk { txn, freshness }, timeout))
        }
    }

    pub(crate) fn wait(&mut self) -> Result<TxnOutcome> {
        match self {
            Self::Reading(call) => call.wait(),
            Self::Writing(call) => call.wait(),
        }
    }

    /// See [`Call::take_reply`]; nobody has to know what was read for nobody.
    pub(super) fn take_reply(&mut self) -> Option<AsyncReceiver<Result<Outcome>>> {
        match self {
            Self::Reading(_) => None,
            Self::Writing(call) => call.take_reply(),
        }
    }

    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<TxnOutcome>> {
        match self {
            Self::Reading(call) => call.poll(context),
            Self::Writing(call) => call.poll(context),
        }
    }
}

impl<T: Part, E: Part> TxnCall<T, E> {
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    pub(super) fn wait(&mut self) -> Result<TxnResponse<T::Response, E::Response>> {
        let outcome = self.asked().wait()?;
        self.response(outcome)
    }

    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<TxnResponse<T::Response, E::Response>>> {
        let outcome = self.asked().poll(context);
        outcome.map(|outcome| self.response(outcome?))
    }

    fn asked(&mut self) -> &mut Asked {
        let Self { gate, scope, op, freshness, timeout, asked } = self;
        asked
            .get_or_insert_with(|| Asked::new(gate, scope, op.to_core(scope), *freshness, *timeout))
    }

    pub(super) fn response(
        &self,
        outcome: TxnOutcome,
    ) -> Result<TxnResponse<T::Response, E::Response>> {
        let header = Header::at(&*self.gate, outcome.revision);
        let branch = self.op.branch(outcome, &*self.gate, &self.scope)?;
        Ok(TxnResponse { header, branch })
    }
}

/// Takes the transaction out, or what is wrong with it.
fn taken(txn: &mut Result<Txn>) -> Result<Txn> {
    std::mem::replace(txn, Ok(Txn::default()))
}

impl ReadAsk {
    fn read(&self, gate: &dyn Gate) -> Result<TxnOutcome> {
        let reader = gate.reader()?;
        self.freshness.check(reader)?;
        match &self.txn {
            Ok(txn) => txn.read(reader),
            Err(_) => Err(Error::corrupt("a transaction was read that was refused")),
        }
    }
}

impl Ask for ReadAsk {
    type Answer = ();
    type Response = TxnOutcome;

    const WRITES: bool = false;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        self.txn = Ok(taken(&mut self.txn)?);
        if self.freshness.is_met(counter.gate)? || planted(Bug::ReadTxnAtOnce) {
            return self.read(counter.gate).map(Started::Answered);
        }
        counter.read()
    }

    fn finish(&mut self, gate: &dyn Gate, (): ()) -> Result<TxnOutcome> {
        self.read(gate)
    }
}

impl Ask for WriteAsk {
    type Answer = Outcome;
    type Response = TxnOutcome;

    const WRITES: bool = true;

    fn start(&mut self, counter: &Counter<'_>) -> Result<Started<Self>> {
        let txn = taken(&mut self.txn)?;
        if self.freshness != Freshness::default() {
            let text = "a bound on staleness was given to a transaction that writes";
            return Err(Error::invalid(text));
        }
        counter.write(encode(counter.gate, &Command::Txn(txn))?)
    }

    fn finish(&mut self, _gate: &dyn Gate, outcome: Outcome) -> Result<TxnOutcome> {
        done(outcome)
    }
}

pub(super) fn done(outcome: Outcome) -> Result<TxnOutcome> {
    match outcome {
        Outcome::Txn(outcome) => Ok(outcome),
        other => Err(failed("transaction", other)),
    }
}

impl<T: fmt::Debug, E: fmt::Debug> fmt::Debug for TxnCall<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("op", &self.op)
            .field("timeout", &self.timeout)
            .field("asked", &self.asked)
            .finish_non_exhaustive()
    }
}
