//! Driving the replica: one turn takes what waits, decides it, and hands the consequences out.
//!
//! No turn waits for a disk. A turn is short: its length is bounded by what the mailbox holds.

use bytes::Bytes;

use crate::core::machine::Outcome;
use crate::core::replica::Replica;
use crate::core::replica::io::{Answer, Input, Output, Persist, Token};
#[cfg(feature = "sim")]
use crate::core::replica::sizes::Size;
use crate::error::{Error, Kind, Result};
use crate::gate::{Reply, Request};
use crate::ids::{Index, NodeId};
use crate::time::Instant;
use crate::transport::{Lane, Peer};

use super::mailbox::{Batch, Mailbox, Posted};

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// With the bytes that the mailbox counts for it.
    Write(Reply<Outcome>, usize),
    Done(Reply<()>),
}

impl From<Request> for Waiter {
    fn from(request: Request) -> Self {
        match request {
            Request::Write { reply, payload, .. } => Self::Write(reply, payload.len()),
            Request::Read { reply, .. } | Request::Transfer { reply, .. } => Self::Done(reply),
        }
    }
}

impl Waiter {
    /// The bytes that the mailbox counts for it.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Write(_, bytes) => *bytes,
            Self::Done(_) => 0,
        }
    }

    /// Tells the caller that no answer will come. A write that a turn has taken may have happened
    /// all the same.
    pub(crate) fn fail(self, error: Error, taken: bool) {
        match self {
            Self::Write(reply, _) => {
                let error = if taken { error.with_unknown_outcome() } else { error };
                drop(reply.send(Err(error)));
            }
            Self::Done(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// What a turn hands out, and to whom: a runtime. None of it may wait.
pub(crate) trait Host {
    /// What callers and peers may see of the replica from here on.
    fn publish(&mut self, replica: &Replica);

    fn send(&mut self, to: NodeId, lane: Lane, envelope: Bytes);

    /// For [`LogEnd::write`](super::LogEnd::write), in the order of the calls.
    fn persist(&mut self, persist: Persist);

    /// For [`LogEnd::housekeep`](super::LogEnd::housekeep).
    fn release_log(&mut self, upto: Index);

    /// For [`Worker::work`](super::Worker::work), in the order of the calls.
    fn job(&mut self, job: Output) -> Result<()>;

    fn members_changed(&mut self, peers: &[Peer]);
}

/// Jobs that may wait for the worker. The protocol's windows keep far below it.
pub(crate) const MAX_JOBS: usize = 1024;

/// More jobs wait than ever should: the worker is stuck.
pub(crate) fn stuck_worker() -> Error {
    Error::new(Kind::Halted, format!("{MAX_JOBS} jobs wait for the snapshot thread: it is stuck"))
}

/// The replica and the callers it owes answers.
pub(crate) struct Driver {
    pub(crate) replica: Replica,
    waiters: Vec<Option<Waiter>>,
    /// Places in `waiters` that are free.
    free: Vec<usize>,
    batch: Batch,
    /// Answers to give once the driver is let go: waking a caller may run the caller's code.
    answers: Vec<(Waiter, Answer)>,
}

/// Answers that leave with whoever drove.
pub(crate) struct Answers(Vec<(Waiter, Answer)>);

impl Driver {
    pub(crate) fn new(replica: Replica) -> Self {
        Self {
            replica,
            waiters: Vec::new(),
            free: Vec::new(),
            batch: Batch::default(),
            answers: Vec::new(),
        }
    }

    /// One turn. An error halts the node.
    pub(crate) fn turn(
        &mut self,
        now: Instant,
        mailbox: &Mailbox,
        host: &mut impl Host,
    ) -> Result<Answers> {
        mailbox.take(&mut self.batch);
        // What is durable first (R3), then what the others say, then new work.
        while let Some(report) = self.batch.reports.pop_front() {
            self.replica.handle(now, report)?;
        }
        while let Some(envelope) = self.batch.envelopes.pop_front() {
            self.replica.handle(now, Input::Deliver(envelope))?;
        }
        while let Some(posted) = self.batch.requests.pop_front() {
            let input = self.admit(posted);
            self.replica.handle(now, input)?;
        }
        self.replica.handle(now, Input::Time)?;
        while let Some(output) = self.replica.poll()? {
            // Before anything leaves: what is sent may make another member answer callers.
            host.publish(&self.replica);
            self.obey(output, host)?;
        }
        host.publish(&self.replica);
        Ok(Answers(std::mem::take(&mut self.answers)))
    }

    /// Every caller that is still owed an answer, and whether a turn has taken the request: for a
    /// node that ends.
    pub(crate) fn abandon(&mut self, mailbox: &Mailbox) -> Vec<(Waiter, bool)> {
        let answers = std::mem::take(&mut self.answers).into_iter().map(|(waiter, _)| waiter);
        let taken = self.waiters.drain(..).flatten().chain(answers);
        let mut left: Vec<(Waiter, bool)> = taken.map(|waiter| (waiter, true)).collect();
        self.free.clear();
        let mut waiting = std::mem::take(&mut self.batch).requests;
        mailbox.take(&mut self.batch);
        waiting.append(&mut self.batch.requests);
        self.batch = Batch::default();
        left.extend(waiting.into_iter().map(|posted| (posted.request.into(), false)));
        left
    }

    /// How much there is of what has a bound, between two turns; the replica's part aside.
    #[cfg(feature = "sim")]
    pub(crate) fn sizes(&self, mailbox: &Mailbox, out: &mut Vec<Size>) {
        mailbox.sizes(out);
        out.push(Size::new("callers owed an answer", self.waiters.len(), mailbox.max_requests()));
        out.push(Size::new("answers not given", self.answers.len(), 0));
    }

    fn admit(&mut self, posted: Posted) -> Input {
        let Posted { request, at } = posted;
        match request {
            Request::Write { payload, timeout, reply } => {
                let token = self.register(Waiter::Write(reply, payload.len()));
                Input::Write { token, payload, deadline: at.after(timeout) }
            }
            Request::Read { timeout, reply } => {
                let token = self.register(Waiter::Done(reply));
                Input::Read { token, deadline: at.after(timeout) }
            }
            Request::Transfer { to, timeout, reply } => {
                let token = self.register(Waiter::Done(reply));
                Input::Transfer { token, to, deadline: at.after(timeout) }
            }
        }
    }

    fn register(&mut self, waiter: Waiter) -> Token {
        let place = self.free.pop().unwrap_or(self.waiters.len());
        match self.waiters.get_mut(place) {
            Some(slot) => *slot = Some(waiter),
            None => self.waiters.push(Some(waiter)),
        }
        Token(place as u64)
    }

    fn obey(&mut self, output: Output, host: &mut impl Host) -> Result<()> {
        match output {
            Output::Send { to, lane, envelope } => host.send(to, lane, envelope),
            Output::Persist(persist) => host.persist(persist),
            Output::Reply { token, answer } => {
                let place = usize::try_from(token.0).unwrap_or(usize::MAX);
                let waiter = self.waiters.get_mut(place).and_then(Option::take);
                if let Some(waiter) = waiter {
                    self.free.push(place);
                    self.answers.push((waiter, answer));
                }
            }
            Output::Members(peers) => host.members_changed(&peers),
            Output::ReleaseLog(upto) => host.release_log(upto),
            job => host.job(job)?,
        }
        Ok(())
    }
}

impl Answers {
    /// Gives them out. The driver must have been let go.
    pub(crate) fn give(self, mailbox: &Mailbox) {
        if self.0.is_empty() {
            return;
        }
        let bytes = self.0.iter().map(|(waiter, _)| waiter.bytes()).sum();
        mailbox.answered(self.0.len(), bytes);
        for (waiter, answer) in self.0 {
            // A caller that has gone away does not want to know.
            match (waiter, answer) {
                (Waiter::Write(reply, _), Answer::Applied(outcome)) => {
                    drop(reply.send(Ok(outcome)));
                }
                (Waiter::Write(reply, _), Answer::Failed(error)) => drop(reply.send(Err(error))),
                (Waiter::Done(reply), Answer::Done) => drop(reply.send(Ok(()))),
                (Waiter::Done(reply), Answer::Failed(error)) => drop(reply.send(Err(error))),
                // The core answers a write with its outcome and all else with "done": dropping
                // the reply tells the waiter that the node is gone.
                (Waiter::Write(..), Answer::Done) | (Waiter::Done(_), Answer::Applied(_)) => {}
            }
        }
    }
}
