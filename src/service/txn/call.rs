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

/// The transaction, and how far it has come.
pub(super) struct TxnCall<T, E> {
    pub(super) gate: Arc<dyn Gate>,
    pub(super) scope: Scope,
    pub(super) op: TxnOp<T, E>,
    pub(super) freshness: Freshness,
    pub(super) timeout: Option<Duration>,
    pub(super) state: State,
}

pub(super) enum State {
    New,
    Reading(Call<ReadAsk>),
    Writing(Call<WriteAsk>),
}

#[derive(Debug)]
pub(super) struct ReadAsk {
    /// As it came of the builder; an error is the caller's mistake.
    txn: Result<Txn>,
    freshness: Freshness,
}

#[derive(Debug)]
pub(super) struct WriteAsk {
    txn: Result<Txn>,
    freshness: Freshness,
}

impl<T: Part, E: Part> TxnCall<T, E> {
    pub(super) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    pub(super) fn wait(&mut self) -> Result<TxnResponse<T::Response, E::Response>> {
        self.begin();
        let outcome = match &mut self.state {
            State::Reading(call) => call.wait(),
            State::Writing(call) => call.wait(),
            State::New => Err(Error::corrupt("a transaction was not begun")),
        };
        self.response(outcome?)
    }

    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<TxnResponse<T::Response, E::Response>>> {
        self.begin();
        let outcome = match &mut self.state {
            State::Reading(call) => call.poll(context),
            State::Writing(call) => call.poll(context),
            State::New => return Poll::Ready(Err(Error::corrupt("a transaction was not begun"))),
        };
        outcome.map(|outcome| self.response(outcome?))
    }

    /// Chooses what it is, once.
    fn begin(&mut self) {
        if !matches!(self.state, State::New) {
            return;
        }
        let (txn, freshness) = (self.op.to_core(&self.scope), self.freshness);
        // What cannot even be built is refused by either.
        self.state = if txn.as_ref().is_ok_and(Txn::is_read_only) {
            State::Reading(self.call(ReadAsk { txn, freshness }))
        } else {
            State::Writing(self.call(WriteAsk { txn, freshness }))
        };
    }

    fn call<A: Ask>(&self, ask: A) -> Call<A> {
        let mut call = Call::new(&self.gate, ask);
        if let Some(timeout) = self.timeout {
            call.set_timeout(timeout);
        }
        call
    }

    fn response(&self, outcome: TxnOutcome) -> Result<TxnResponse<T::Response, E::Response>> {
        let header = Header::at(&*self.gate, outcome.revision);
        let branch = self.op.branch(outcome, &*self.gate, &self.scope)?;
        Ok(TxnResponse { header, branch })
    }
}

/// The transaction, if it can be asked for.
fn checked(txn: &mut Result<Txn>, gate: &dyn Gate) -> Result<Txn> {
    let txn = std::mem::replace(txn, Ok(Txn::default()))?;
    txn.check(gate.limits().max_txn_ops)?;
    Ok(txn)
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
        self.txn = Ok(checked(&mut self.txn, counter.gate)?);
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
        let txn = checked(&mut self.txn, counter.gate)?;
        if self.freshness != Freshness::default() {
            let text = "a bound on staleness was given to a transaction that writes";
            return Err(Error::invalid(text));
        }
        counter.write(encode(counter.gate, &Command::Txn(txn))?)
    }

    fn finish(&mut self, _gate: &dyn Gate, outcome: Outcome) -> Result<TxnOutcome> {
        match outcome {
            Outcome::Txn(outcome) => Ok(outcome),
            other => Err(failed("transaction", other)),
        }
    }
}

impl<T: fmt::Debug, E: fmt::Debug> fmt::Debug for TxnCall<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Call");
        shown.field("op", &self.op).field("timeout", &self.timeout);
        match &self.state {
            State::New => shown.finish_non_exhaustive(),
            State::Reading(call) => shown.field("call", call).finish_non_exhaustive(),
            State::Writing(call) => shown.field("call", call).finish_non_exhaustive(),
        }
    }
}
