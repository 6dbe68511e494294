//! Driving the replica: one turn takes what waits, decides it, and hands the consequences out.
//!
//! No turn waits for a disk. A turn is short: its length is bounded by what the mailbox holds.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::lease::{Kept, Look, Opened};
use crate::core::machine::Outcome;
use crate::core::replica::Replica;
use crate::core::replica::io::{Answer, Input, Output, Persist, Pinned, Token};
#[cfg(feature = "sim")]
use crate::core::replica::sizes::Size;
use crate::error::{Error, Kind, Result};
use crate::gate::{Reply, Request};
use crate::ids::{Index, LeaseId, NodeId, Revision};
use crate::time::Instant;
use crate::transport::{Lane, Peer};

use super::mailbox::{Batch, Mailbox, Posted};
use super::sleepers::Sleepers;

/// A lease, if it is there, and the revision at which it was looked at.
type SeenLease = (Revision, Option<Look>);
type SeenLeases = (Revision, Vec<LeaseId>);

/// Who waits for an answer.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// With the bytes that the mailbox counts for it.
    Write(Reply<Outcome>, usize),
    /// Likewise; and when it was done, this member removes what it forgets first, unless that
    /// takes longer than this.
    Compact(Reply<Outcome>, usize, Instant),
    Open(Reply<Opened>, usize),
    /// Wants to know of this lease, and of its keys, once the state is recent enough; then it has
    /// been looked at.
    Lease {
        reply: Reply<SeenLease>,
        lease: LeaseId,
        keys: bool,
        seen: Option<SeenLease>,
    },
    Leases {
        reply: Reply<SeenLeases>,
        seen: Option<SeenLeases>,
    },
    Pin(Reply<Pinned>),
    Done(Reply<()>),
}

impl From<Request> for Waiter {
    fn from(request: Request) -> Self {
        match request {
            Request::Write { reply, payload, .. } | Request::Compact { reply, payload, .. } => {
                Self::Write(reply, payload.len())
            }
            Request::KeepAlive { reply, .. } => Self::Write(reply, 0),
            Request::Open { reply, how, .. } => Self::Open(reply, how.bytes()),
            Request::Lease { reply, lease, keys, .. } => {
                Self::Lease { reply, lease, keys, seen: None }
            }
            Request::Leases { reply } => Self::Leases { reply, seen: None },
            Request::Pin { reply } => Self::Pin(reply),
            Request::Read { reply, .. }
            | Request::Transfer { reply, .. }
            | Request::Sleep { reply, .. } => Self::Done(reply),
        }
    }
}

impl Waiter {
    /// The bytes that the mailbox counts for it.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Write(_, bytes) | Self::Compact(_, bytes, _) | Self::Open(_, bytes) => *bytes,
            Self::Lease { .. } | Self::Leases { .. } | Self::Pin(_) | Self::Done(_) => 0,
        }
    }

    /// Tells the caller that no answer will come. A write that a turn has taken may have happened
    /// all the same.
    pub(crate) fn fail(self, error: Error, taken: bool) {
        let unknown = |error: Error| if taken { error.with_unknown_outcome() } else { error };
        match self {
            Self::Write(reply, _) | Self::Compact(reply, ..) => {
                drop(reply.send(Err(unknown(error))));
            }
            Self::Open(reply, _) => drop(reply.send(Err(unknown(error)))),
            Self::Lease { reply, .. } => drop(reply.send(Err(error))),
            Self::Leases { reply, .. } => drop(reply.send(Err(error))),
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
    sleepers: Sleepers,
    /// Answers to give once the driver is let go: waking a caller may run the caller's code.
    answers: Vec<(Waiter, Answer)>,
    /// Likewise, to those who sleep, and may not or need not any longer.
    woken: Vec<Woken>,
    /// Leases that are kept no more: who waits for that is woken then, too.
    lost: Vec<Arc<Kept>>,
}

/// Who slept, and why no longer. The mailbox does not count them: they wait for nothing of this
/// node, and have a bound of their own.
type Woken = (Reply<()>, Result<()>);

/// Answers that leave with whoever drove.
pub(crate) struct Answers {
    answers: Vec<(Waiter, Answer)>,
    woken: Vec<Woken>,
    lost: Vec<Arc<Kept>>,
}

/// What a node that ends owes.
pub(crate) struct Left {
    /// Every caller, and whether a turn has taken the request.
    waiters: Vec<(Waiter, bool)>,
    sleepers: Vec<Reply<()>>,
    /// Leases that are kept no more.
    lost: Vec<Arc<Kept>>,
}

impl Driver {
    pub(crate) fn new(replica: Replica) -> Self {
        Self {
            replica,
            waiters: Vec::new(),
            free: Vec::new(),
            batch: Batch::default(),
            removals: Vec::new(),
            sleepers: Sleepers::default(),
            answers: Vec::new(),
            woken: Vec::new(),
            lost: Vec::new(),
        }
    }

    /// One turn. An error halts the node.
    pub(crate) fn turn(
        &mut self,
        clock: impl FnOnce() -> Instant,
        mailbox: &Mailbox,
        host: &mut impl Host,
    ) -> Result<Answers> {
        mailbox.take(&mut self.batch);
        // Behind the mailbox: a turn must not be earlier than what it is told (`Replica::handle`).
        let now = clock();
        // What is durable first (R3), then what the others say, then new work.
        while let Some(report) = self.batch.reports.pop_front() {
            self.replica.handle(now, report)?;
        }
        while let Some(envelope) = self.batch.envelopes.pop_front() {
            self.replica.handle(now, Input::Deliver(envelope))?;
        }
        while let Some(posted) = self.batch.requests.pop_front() {
            if let Some(input) = self.admit(posted, mailbox) {
                self.replica.handle(now, input)?;
            }
        }
        self.replica.handle(now, Input::Time)?;
        while let Some(output) = self.replica.poll()? {
            // Before anything leaves: what is sent may make another member answer callers.
            host.publish(&self.replica);
            self.obey(output, host)?;
        }
        host.publish(&self.replica);
        self.end_removals(now);
        self.woken.extend(self.sleepers.due(now).into_iter().map(|reply| (reply, Ok(()))));
        let (answers, woken) = (std::mem::take(&mut self.answers), std::mem::take(&mut self.woken));
        Ok(Answers { answers, woken, lost: std::mem::take(&mut self.lost) })
    }

    /// When to turn again at the latest.
    pub(crate) fn wake_at(&self) -> Instant {
        let at = self.replica.wake_at();
        self.sleepers.next().map_or(at, |next| next.min(at))
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

    /// Every caller that is still owed an answer, and every holder: for a node that ends.
    pub(crate) fn abandon(&mut self, mailbox: &Mailbox) -> Left {
        let answers = std::mem::take(&mut self.answers).into_iter().map(|(waiter, _)| waiter);
        let removals = self.removals.drain(..).map(|it| Waiter::Write(it.reply, it.bytes));
        let woken = self.woken.drain(..).map(|(reply, _)| reply);
        let sleepers = self.sleepers.take_all().chain(woken).collect();
        let waiters = self.waiters.drain(..).flatten();
        let taken = waiters.chain(removals).chain(answers);
        let mut left: Vec<(Waiter, bool)> = taken.map(|waiter| (waiter, true)).collect();
        self.free.clear();
        let mut waiting = std::mem::take(&mut self.batch).requests;
        mailbox.take(&mut self.batch);
        waiting.append(&mut self.batch.requests);
        self.batch = Batch::default();
        left.extend(waiting.into_iter().map(|posted| (posted.request.into(), false)));
        let mut lost = std::mem::take(&mut self.lost);
        lost.extend(self.replica.end_leases());
        Left { waiters: left, sleepers, lost }
    }

    /// How much there is of what has a bound, between two turns; the replica's part aside.
    #[cfg(feature = "sim")]
    pub(crate) fn sizes(&self, mailbox: &Mailbox, out: &mut Vec<Size>) {
        mailbox.sizes(out);
        out.push(Size::new("callers owed an answer", self.waiters.len(), mailbox.max_requests()));
        let most = mailbox.max_requests();
        out.push(Size::new("callers that wait for a removal", self.removals.len(), most));
        out.push(Size::new("callers that sleep", self.sleepers.len(), most));
        out.push(Size::new("answers not given", self.answers.len(), 0));
    }

    /// Nothing for what does not concern the replica.
    fn admit(&mut self, posted: Posted, mailbox: &Mailbox) -> Option<Input> {
        let Posted { request, at } = posted;
        Some(match request {
            Request::Write { payload, timeout, reply } => {
                let token = self.register(Waiter::Write(reply, payload.len()));
                Input::Write { token, payload, deadline: at.after(timeout) }
            }
            Request::Compact { payload, timeout, reply } => {
                let deadline = at.after(timeout);
                let token = self.register(Waiter::Compact(reply, payload.len(), deadline));
                Input::Write { token, payload, deadline }
            }
            Request::KeepAlive { lease, timeout, reply } => {
                let token = self.register(Waiter::Write(reply, 0));
                Input::KeepAlive { token, lease, deadline: at.after(timeout) }
            }
            Request::Open { how, timeout, reply } => {
                let token = self.register(Waiter::Open(reply, how.bytes()));
                Input::Open { token, how, deadline: at.after(timeout) }
            }
            Request::Lease { lease, keys, timeout, reply } => {
                let token = self.register(Waiter::Lease { reply, lease, keys, seen: None });
                Input::Read { token, deadline: at.after(timeout) }
            }
            Request::Leases { reply } => {
                Input::Look { token: self.register(Waiter::Leases { reply, seen: None }) }
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
            Request::Sleep { timeout, reply } => {
                mailbox.answered(1, 0);
                let most = mailbox.max_requests();
                if let Err(reply) = self.sleepers.add(at.after(timeout), reply, most) {
                    let text = format!("{most} callers wait for a time-out, and no more may");
                    self.woken.push((reply, Err(Error::new(Kind::Overloaded, text))));
                }
                return None;
            }
        })
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
            // As the state is now, which is recent enough, not as it is when this is given.
            (Waiter::Lease { reply, lease, keys, .. }, Answer::Done) => {
                let revision = self.replica.machine().mvcc().revision();
                let seen = Some((revision, self.replica.look_at_lease(lease, keys)));
                self.answers.push((Waiter::Lease { reply, lease, keys, seen }, Answer::Done));
            }
            (Waiter::Leases { reply, .. }, Answer::Done) => {
                let machine = self.replica.machine();
                let seen = Some((machine.mvcc().revision(), machine.leases().ids().collect()));
                self.answers.push((Waiter::Leases { reply, seen }, Answer::Done));
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
            Output::Lost(kept) => self.lost.push(kept),
            Output::Members(peers) => host.members_changed(&peers),
            Output::ReleaseLog(upto) => host.release_log(upto),
            job => host.job(job)?,
        }
        Ok(())
    }
}

impl Left {
    /// Without a word: the process is no more.
    #[cfg(feature = "sim")]
    pub(crate) fn leave(self) {
        drop((self.waiters, self.sleepers));
        self.lost.iter().for_each(|kept| kept.waiters.wake());
    }

    /// Tells them all why nothing more will come. The driver must have been let go.
    pub(crate) fn tell(self, mailbox: &Mailbox, why: impl Fn() -> Error) {
        let bytes = self.waiters.iter().map(|(waiter, _)| waiter.bytes()).sum();
        mailbox.answered(self.waiters.len(), bytes);
        for (waiter, taken) in self.waiters {
            waiter.fail(why(), taken);
        }
        for reply in self.sleepers {
            drop(reply.send(Err(why())));
        }
        self.lost.iter().for_each(|kept| kept.waiters.wake());
    }
}

impl Answers {
    /// Gives them out. The driver must have been let go.
    pub(crate) fn give(self, mailbox: &Mailbox) {
        if !self.answers.is_empty() {
            let bytes = self.answers.iter().map(|(waiter, _)| waiter.bytes()).sum();
            mailbox.answered(self.answers.len(), bytes);
        }
        for (waiter, answer) in self.answers {
            waiter.give(answer);
        }
        for (reply, answer) in self.woken {
            drop(reply.send(answer));
        }
        self.lost.iter().for_each(|kept| kept.waiters.wake());
    }
}

impl Waiter {
    fn give(self, answer: Answer) {
        // A caller that has gone away does not want to know.
        match (self, answer) {
            (Self::Write(reply, _) | Self::Compact(reply, ..), Answer::Applied(outcome)) => {
                drop(reply.send(Ok(outcome)));
            }
            (Self::Open(reply, _), Answer::Opened(opened)) => drop(reply.send(Ok(opened))),
            (Self::Lease { reply, seen: Some(seen), .. }, Answer::Done) => {
                drop(reply.send(Ok(seen)));
            }
            (Self::Leases { reply, seen: Some(seen) }, Answer::Done) => drop(reply.send(Ok(seen))),
            (Self::Pin(reply), Answer::Pinned(pinned)) => drop(reply.send(Ok(pinned))),
            (Self::Done(reply), Answer::Done) => drop(reply.send(Ok(()))),
            // What is unknown of it the error says already.
            (waiter, Answer::Failed(error)) => waiter.fail(error, false),
            // The core answers each with what was asked for: dropping the reply tells the waiter
            // that the node is gone.
            (waiter, _) => drop(waiter),
        }
    }
}

#[cfg(test)]
mod tests;
