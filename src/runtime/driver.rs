//! Driving the replica: one turn takes what waits, decides it, and hands the consequences out.
//!
//! Exactly one thread drives at a time, and it may be any: whoever has put something into the
//! mailbox tries for the driver, and if another thread has it, that one will find what was put
//! there before it goes (the mailbox's fences see to that). So a lone caller's write, a peer's
//! envelope and the end of a sync are each decided on the thread that brought them, without
//! waking another, which costs a quarter of a sync (`docs/decisions/0003`).
//!
//! No turn waits for a disk. A turn is short: its length is bounded by what the mailbox holds.

use crate::core::machine::Outcome;
use crate::core::replica::Replica;
use crate::core::replica::io::{Answer, Input, Output, Token};
use crate::error::{Error, Result};
use crate::gate::{Reply, Request};

use super::mailbox::{Batch, Posted};
use super::shared::Shared;

/// Who waits for an answer.
#[derive(Debug)]
pub(super) enum Waiter {
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
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Write(_, bytes) => *bytes,
            Self::Done(_) => 0,
        }
    }

    /// Tells the caller that no answer will come. A write that a turn has taken may have happened
    /// all the same.
    pub(super) fn fail(self, error: Error, taken: bool) {
        match self {
            Self::Write(reply, _) => {
                let error = if taken { error.with_unknown_outcome() } else { error };
                drop(reply.send(Err(error)));
            }
            Self::Done(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// The replica and the callers it owes answers.
pub(super) struct Driver {
    pub(super) replica: Replica,
    waiters: Vec<Option<Waiter>>,
    /// Places in `waiters` that are free.
    free: Vec<usize>,
    batch: Batch,
    /// Answers to give once the driver is let go: waking a caller may run the caller's code.
    answers: Vec<(Waiter, Answer)>,
}

/// Answers that leave with whoever drove.
pub(super) struct Answers(Vec<(Waiter, Answer)>);

impl Driver {
    pub(super) fn new(replica: Replica) -> Self {
        Self {
            replica,
            waiters: Vec::new(),
            free: Vec::new(),
            batch: Batch::default(),
            answers: Vec::new(),
        }
    }

    /// One turn. An error halts the node.
    pub(super) fn turn(&mut self, shared: &Shared) -> Result<Answers> {
        let now = shared.clock.now();
        shared.mailbox.take(&mut self.batch);
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
            shared.publish(&self.replica);
            self.obey(output, shared)?;
        }
        shared.publish(&self.replica);
        Ok(Answers(std::mem::take(&mut self.answers)))
    }

    /// Every caller that is still owed an answer, and whether a turn has taken the request: for a
    /// node that ends.
    pub(super) fn abandon(&mut self, shared: &Shared) -> Vec<(Waiter, bool)> {
        let answers = std::mem::take(&mut self.answers).into_iter().map(|(waiter, _)| waiter);
        let taken = self.waiters.drain(..).flatten().chain(answers);
        let mut left: Vec<(Waiter, bool)> = taken.map(|waiter| (waiter, true)).collect();
        self.free.clear();
        let mut waiting = std::mem::take(&mut self.batch).requests;
        shared.mailbox.take(&mut self.batch);
        waiting.append(&mut self.batch.requests);
        self.batch = Batch::default();
        left.extend(waiting.into_iter().map(|posted| (posted.request.into(), false)));
        left
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

    fn obey(&mut self, output: Output, shared: &Shared) -> Result<()> {
        match output {
            Output::Send { to, lane, envelope } => shared.transport.send(to, lane, envelope),
            Output::Persist(persist) => shared.log.push(persist),
            Output::Reply { token, answer } => {
                let place = usize::try_from(token.0).unwrap_or(usize::MAX);
                let waiter = self.waiters.get_mut(place).and_then(Option::take);
                if let Some(waiter) = waiter {
                    self.free.push(place);
                    self.answers.push((waiter, answer));
                }
            }
            Output::Members(peers) => shared.transport.members_changed(&peers),
            Output::ReleaseLog(upto) => shared.log.release(upto),
            job => shared.jobs.hand_over(job)?,
        }
        Ok(())
    }
}

impl Answers {
    /// Gives them out. The driver must have been let go.
    pub(super) fn give(self, shared: &Shared) {
        if self.0.is_empty() {
            return;
        }
        let bytes = self.0.iter().map(|(waiter, _)| waiter.bytes()).sum();
        shared.mailbox.answered(self.0.len(), bytes);
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
