//! Driving the replica: one turn takes what waits, decides it, and hands the consequences out.
//!
//! No turn waits for a disk. A turn is short: its length is bounded by what the mailbox holds.

use bytes::Bytes;

use crate::core::machine::Outcome;
use crate::core::replica::Replica;
use crate::core::replica::io::{Answer, Input, Output, Persist, Pinned, Token};
#[cfg(feature = "sim")]
use crate::core::replica::sizes::Size;
use crate::error::{Error, Kind, Result};
use crate::gate::{Reply, Request};
use crate::ids::{Index, NodeId, Revision};
use crate::time::Instant;
use crate::transport::{Lane, Peer};

use super::mailbox::{Batch, Mailbox, Posted};

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// With the bytes that the mailbox counts for it.
    Write(Reply<Outcome>, usize),
    /// Likewise; and when it was done, this member removes what it forgets first, unless that
    /// takes longer than this.
    Compact(Reply<Outcome>, usize, Instant),
    Pin(Reply<Pinned>),
    Done(Reply<()>),
}

impl From<Request> for Waiter {
    fn from(request: Request) -> Self {
        match request {
            Request::Write { reply, payload, .. } | Request::Compact { reply, payload, .. } => {
                Self::Write(reply, payload.len())
            }
            Request::Pin { reply } => Self::Pin(reply),
            Request::Read { reply, .. } | Request::Transfer { reply, .. } => Self::Done(reply),
        }
    }
}

impl Waiter {
    /// The bytes that the mailbox counts for it.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Write(_, bytes) | Self::Compact(_, bytes, _) => *bytes,
            Self::Pin(_) | Self::Done(_) => 0,
        }
    }

    /// Tells the caller that no answer will come. A write that a turn has taken may have happened
    /// all the same.
    pub(crate) fn fail(self, error: Error, taken: bool) {
        match self {
            Self::Write(reply, _) | Self::Compact(reply, ..) => {
                let error = if taken { error.with_unknown_outcome() } else { error };
                drop(reply.send(Err(error)));
            }
            Self::Pin(reply) => drop(reply.send(Err(error))),
            Self::Done(reply) => drop(reply.send(Err(error))),
        }
    }
}

/// A compaction that was applied, and whoever waits for what follows from it (`CMP-9`).
#[derive(Debug)]
struct Removal {
    reply: Reply<Outcome>,
    bytes: usize,
    deadline: Instant,
    outcome: Outcome,
    /// Everything below must be gone.
    upto: Option<Revision>,
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
    /// Compactions that were applied and are to be finished.
    removals: Vec<Removal>,
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
            removals: Vec::new(),
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
        self.end_removals(now);
        Ok(Answers(std::mem::take(&mut self.answers)))
    }

    /// Removes some of what was compacted (`CMP-8`): looks at up to `work` records, which takes
    /// about two microseconds for each. Says whether to come again soon: after another turn, and
    /// not before those have had theirs who want something of the driver.
    pub(crate) fn tidy(&mut self, work: usize) -> bool {
        let removed = |replica: &Replica| replica.machine().mvcc().removed();
        let before = removed(&self.replica);
        let more = self.replica.tidy(work);
        // Who waits for it is told by a turn.
        more || (!self.removals.is_empty() && removed(&self.replica) != before)
    }

    /// Answers who waited for what is removed by now, or has waited long enough.
    fn end_removals(&mut self, now: Instant) {
        let removed = self.replica.machine().mvcc().removed();
        let over = |it: &mut Removal| removed >= it.upto || it.deadline <= now;
        for removal in self.removals.extract_if(.., over) {
            let Removal { reply, bytes, outcome, upto, .. } = removal;
            let answer = if removed >= upto {
                Answer::Applied(outcome)
            } else {
                let text = "the compaction was applied, but what it forgets was not removed here \
                            in time: that goes on";
                Answer::Failed(Error::new(Kind::Timeout, text).with_unknown_outcome())
            };
            self.answers.push((Waiter::Write(reply, bytes), answer));
        }
    }

    /// Every caller that is still owed an answer, and whether a turn has taken the request: for a
    /// node that ends.
    pub(crate) fn abandon(&mut self, mailbox: &Mailbox) -> Vec<(Waiter, bool)> {
        let answers = std::mem::take(&mut self.answers).into_iter().map(|(waiter, _)| waiter);
        let removals = self.removals.drain(..).map(|it| Waiter::Write(it.reply, it.bytes));
        let taken = self.waiters.drain(..).flatten().chain(removals).chain(answers);
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
        let most = mailbox.max_requests();
        out.push(Size::new("callers that wait for a removal", self.removals.len(), most));
        out.push(Size::new("answers not given", self.answers.len(), 0));
    }

    fn admit(&mut self, posted: Posted) -> Input {
        let Posted { request, at } = posted;
        match request {
            Request::Write { payload, timeout, reply } => {
                let token = self.register(Waiter::Write(reply, payload.len()));
                Input::Write { token, payload, deadline: at.after(timeout) }
            }
            Request::Compact { payload, timeout, reply } => {
                let deadline = at.after(timeout);
                let token = self.register(Waiter::Compact(reply, payload.len(), deadline));
                Input::Write { token, payload, deadline }
            }
            Request::Pin { reply } => Input::Pin { token: self.register(Waiter::Pin(reply)) },
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

    fn answer(&mut self, waiter: Waiter, answer: Answer) {
        match (waiter, answer) {
            (
                Waiter::Compact(reply, bytes, deadline),
                Answer::Applied(outcome @ Outcome::Compacted { .. }),
            ) => {
                let upto = self.replica.machine().mvcc().compacted();
                self.removals.push(Removal { reply, bytes, deadline, outcome, upto });
            }
            (waiter, answer) => self.answers.push((waiter, answer)),
        }
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
                    self.answer(waiter, answer);
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
                (
                    Waiter::Write(reply, _) | Waiter::Compact(reply, ..),
                    Answer::Applied(outcome),
                ) => {
                    drop(reply.send(Ok(outcome)));
                }
                (Waiter::Write(reply, _) | Waiter::Compact(reply, ..), Answer::Failed(error)) => {
                    drop(reply.send(Err(error)));
                }
                (Waiter::Pin(reply), Answer::Pinned(pinned)) => drop(reply.send(Ok(pinned))),
                (Waiter::Pin(reply), Answer::Failed(error)) => drop(reply.send(Err(error))),
                (Waiter::Done(reply), Answer::Done) => drop(reply.send(Ok(()))),
                (Waiter::Done(reply), Answer::Failed(error)) => drop(reply.send(Err(error))),
                // The core answers each with what was asked for: dropping the reply tells the
                // waiter that the node is gone.
                (waiter, _) => drop(waiter),
            }
        }
    }
}
