//! The one way from a handle to a node.
//!
//! Handles ([`Store`](crate::Store) and what is built on it) know this trait and nothing of
//! threads. The runtime implements it with threads, a simulator without, so whatever is written
//! against a handle runs in both.

use bytes::BytesMut;
use std::sync::Arc;
use std::time::Duration;

use crate::core::lease::{Look, Opened, Opening};
use crate::core::machine::Outcome;
use crate::core::mvcc::{Pinned, Reader};
use crate::core::watch::Watches;
use crate::error::{Error, Result};
use crate::ids::{ClusterId, LeaseId, NodeId, Revision, Term};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::oneshot;
use crate::time::Instant;

/// Where an answer goes. Dropping it without an answer tells the waiter that the node is gone.
pub(crate) type Reply<T> = oneshot::Sender<Result<T>>;

/// What a handle can ask of its node. Every request is answered once, at the latest when its
/// timeout has passed.
#[derive(Debug)]
pub(crate) enum Request {
    /// A write: an encoded command with room for its stamp (`Command::encode`).
    Write { payload: BytesMut, timeout: Duration, reply: Reply<Outcome> },
    /// A linearizable read: answered when the local state is recent enough to be read (`LIN-1`).
    Read { timeout: Duration, reply: Reply<()> },
    /// A compaction, answered when this member has removed what it forgets (`CMP-9`).
    Compact { payload: BytesMut, timeout: Duration, reply: Reply<Outcome> },
    /// The history as it is here: to be gone through on the caller's thread.
    Pin { reply: Reply<Pinned> },
    /// A lease is to have its whole time again (`LSE-12`).
    KeepAlive { lease: LeaseId, timeout: Duration, reply: Reply<Outcome> },
    /// A lease is to be kept alive until its holder lets go of it.
    Open { how: Opening, timeout: Duration, reply: Reply<Opened> },
    /// What there is to know of a lease, with its keys or without; linearizable, and the store's
    /// revision then (`LSE-20`).
    Lease { lease: LeaseId, keys: bool, timeout: Duration, reply: Reply<(Revision, Option<Look>)> },
    /// The leases that this member knows, by when they are due (`LSE-21`).
    Leases { reply: Reply<(Revision, Vec<LeaseId>)> },
    /// To be answered when the timeout has passed, and not before. Who goes away leaves nothing.
    Sleep { timeout: Duration, reply: Reply<()> },
    /// Hand leadership to another member (`MEM-25`).
    Transfer { to: NodeId, timeout: Duration, reply: Reply<()> },
}

/// What the calling thread does once its request is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It goes on: the node's own threads must do all the work.
    Leave,
    /// It calls [`Gate::drive`] soon, when it has let others hand in theirs.
    Gather,
    /// It calls [`Gate::lend`] at once, so nobody has to be woken to write the log.
    Lend,
}

/// Who answers: the part of a response header that does not depend on the request (`SEL-7`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) cluster: ClusterId,
    pub(crate) member: NodeId,
    pub(crate) term: Term,
}

/// The limits that are checked before a request leaves the caller's thread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_request_bytes: usize,
    pub(crate) max_txn_ops: usize,
    pub(crate) request_timeout: Duration,
    /// A lease has this TTL at least (`LSE-4`).
    pub(crate) min_ttl: Duration,
}

/// A node, as a handle sees it.
pub(crate) trait Gate: Send + Sync + 'static {
    /// Hands a request over without blocking. An error means that nothing was taken.
    fn submit(&self, request: Request, then: Then) -> Result<()>;

    /// Whether several callers ask at about the same time: their requests are worth gathering.
    fn is_busy(&self) -> bool;

    /// Decides what has been handed in, unless another thread does.
    fn drive(&self);

    /// Lends the calling thread to the node until `done` says so or there is nothing for it to
    /// do. For callers that would block anyway: saves them the wake-up of another thread.
    fn lend(&self, done: &mut dyn FnMut() -> bool);

    /// Runs what may ask the node in its turn, soon, and where that is allowed: for whoever is told
    /// something on a thread of the node. Not at all once the node has ended.
    fn run(&self, job: Box<dyn FnOnce() + Send>);

    /// The moment, by the clock that the node goes by.
    fn now(&self) -> Instant;

    /// A moment of that clock as the system's clock tells it.
    fn system_time(&self, at: Instant) -> std::time::Instant;

    /// Blocks the calling thread until `woken` says so, which unparks it, or until some moment.
    /// Says whether it was woken.
    fn park(&self, woken: &dyn Fn() -> bool, until: Option<Instant>) -> bool;

    /// The data, readable on any thread at the last published revision, as long as the node is
    /// open.
    fn reader(&self) -> Result<&Reader>;

    /// Who watches the data, as long as the node is open.
    fn watches(&self) -> &Arc<Watches>;

    /// Why the node takes and gives nothing any more, once it does not.
    fn ending(&self) -> Error;

    /// This node leads alone: no other member could have acknowledged anything since, so what is
    /// published here is the newest state there is and a linearizable read needs no round.
    fn leads_alone(&self) -> bool;

    /// What is published here has everything that was acknowledged, by any member, longer than
    /// `age` ago: this node has asked since, and applied what it was told. By this node's clock.
    fn is_current_within(&self, age: Duration) -> bool;

    fn standing(&self) -> Standing;

    fn limits(&self) -> Limits;

    /// A number that nobody was given before, since the node was opened, and no lower than `least`:
    /// a part of a name.
    fn number(&self, least: u64) -> u64;
}

/// For [`Gate::number`]: the next one behind the last.
pub(crate) fn next_number(last: &AtomicU64, least: u64) -> u64 {
    let next = |last: u64| last.saturating_add(1).max(least);
    let last = last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(next(last)));
    next(last.unwrap_or_else(|last| last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_given_once_and_is_high_enough() {
        let last = AtomicU64::new(0);
        let given = [0, 7, 3, 0, 20].map(|least| next_number(&last, least));
        assert_eq!(given, [1, 7, 8, 9, 20]);
    }
}
