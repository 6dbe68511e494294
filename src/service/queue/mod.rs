//! Queues: what one enqueues is somebody's, once, in order.
//!
//! ```text
//!   enqueue    one transaction: a put under a name that is nobody else's
//!   dequeue    one transaction: the first that is there when it is applied, and its deletion
//!   claim      the same, but it is marked as somebody's, until it is acknowledged
//!                                                         or that somebody's session ends
//! ```
//!
//! How items are called is in `layout.rs`, which of them is the first in `head.rs`, how it is taken
//! although others take too in `attempt.rs`, and in which order the consumers of a handle do that
//! in `line.rs`.
//!
//! # What holds
//!
//! - Items come by their priority, then in the order in which they were enqueued: that of their
//!   create revisions, which no clock can get wrong (`REC-40`, `REC-41`).
//! - An item is given to one consumer. It is deleted by the transaction that says so, or marked by
//!   a claim that is a key under a lease: whoever asks meanwhile sees it as it is at that moment.
//! - The work for an item is bounded: of the consumers that share a handle one asks for it, and the
//!   answer is decided when it is applied, for the first of several that is still there. Handles
//!   on other members may be in each other's way, but somebody always gets on.
//! - A caller who goes away loses nothing by that alone: what was being dequeued for him is given
//!   to the next one who dequeues from the same handle, what was being claimed is given back.
//! - A claim that nobody has is deleted, for as long as the node is open: what is refused or fails
//!   is left to the node, with places in lines (`core/replica/leftovers.rs`). That is not before
//!   the claim is known to be there, or can come behind its deletion no more. And what deletes one
//!   deletes no other claim on that item: it is told by its revision, or by the mark of its attempt
//!   and the lease.
//!
//! # What is not done
//!
//! Queues do not count how often an item was given out, and have no place for those that nobody can
//! deal with.

mod attempt;
mod call;
mod claim;
mod enqueue;
mod head;
mod layout;
mod line;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub use self::call::{Claim, Dequeue, TryClaim, TryDequeue};
pub use self::claim::{Ack, AckResponse, ClaimedItem, ReleaseItem};
pub use self::enqueue::{Enqueue, EnqueueResponse};
use self::layout::Layout;
use self::line::Line;
use super::lease::Session;
use crate::ids::Revision;
use crate::store::Store;

/// A queue, first in, first out: made by [`Store::queue`](crate::Store::queue).
///
/// Items are keys in the directory of that name (`REC-40`), in the order in which they were
/// enqueued, and stay until somebody takes them; those that were enqueued with a
/// [lease](Enqueue::lease) go with it (`REC-42`).
///
/// There are two ways to take one, and what they differ in is what a crash does:
///
/// | | item | consumer ends before it is done |
/// |---|---|---|
/// | [`dequeue`](Self::dequeue) | gone when it is given out | lost: *at most once* |
/// | [`claim`](Self::claim) | kept until it is acknowledged | given out again: *at least once* |
///
/// Clone it for each of the consumers in a program, rather than ask the store for many: those that
/// share a handle stand in one line, and of them one asks for an item. Others are in each other's
/// way, which costs but harms nobody.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let jobs = store.queue("jobs");
/// jobs.enqueue("sweep the yard").await?;
/// let job = jobs.dequeue().await?;
/// assert_eq!(job.value, "sweep the yard");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Queue {
    line: Arc<Line>,
}

/// A queue whose items have priorities: made by
/// [`Store::priority_queue`](crate::Store::priority_queue).
///
/// As a [`Queue`], but the item with the smallest priority number comes first, and of those with
/// the same number the oldest (`REC-41`). It is the smallest at the moment when it is taken, also
/// for whoever has waited. Only if eight more urgent ones come one by one while somebody is taking
/// one, he is given what was the smallest when he looked.
///
/// ```no_run
/// # async fn example(store: quorate::Store) -> quorate::Result<()> {
/// let jobs = store.priority_queue("jobs");
/// jobs.enqueue(10, "sweep the yard").await?;
/// jobs.enqueue(0, "put out the fire").await?;
/// assert_eq!(jobs.dequeue().await?.value, "put out the fire");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct PriorityQueue {
    line: Arc<Line>,
}

/// What was in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QueueItem {
    /// That of its enqueueing, as [`EnqueueResponse::revision`] has said: among all items of a
    /// queue there is one of it. Who is given an item twice knows it by this.
    pub revision: Revision,
    /// Its priority; 0 in a queue that has none.
    pub priority: u16,
    /// What was enqueued.
    pub value: Bytes,
}

impl Queue {
    pub(crate) fn new(store: &Store, name: &Bytes) -> Self {
        Self { line: Line::new(store, Layout::new(name, false)) }
    }

    /// Puts an item at the end: see [`Enqueue`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let revision = store.queue("jobs").enqueue("sweep the yard").await?.revision;
    /// # Ok(())
    /// # }
    /// ```
    pub fn enqueue(&self, value: impl Into<Bytes>) -> Enqueue {
        Enqueue::new(&self.line, 0, value.into())
    }
}

impl PriorityQueue {
    pub(crate) fn new(store: &Store, name: &Bytes) -> Self {
        Self { line: Line::new(store, Layout::new(name, true)) }
    }

    /// Puts an item behind all with the same priority or a smaller number: see [`Enqueue`].
    ///
    /// ```no_run
    /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
    /// let jobs = store.priority_queue("jobs");
    /// let revision = jobs.enqueue(10, "sweep the yard").await?.revision;
    /// # Ok(())
    /// # }
    /// ```
    pub fn enqueue(&self, priority: u16, value: impl Into<Bytes>) -> Enqueue {
        Enqueue::new(&self.line, priority, value.into())
    }
}

/// What consumers do, which is the same with priorities and without.
macro_rules! impl_consumers {
    ($queue:ident, $make:literal) => {
        impl $queue {
            /// Takes the first item, once there is one: see [`Dequeue`].
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let jobs = ", $make, ";")]
            /// loop {
            ///     println!("{:?}", jobs.dequeue().await?.value);
            /// }
            /// # }
            /// ```
            pub fn dequeue(&self) -> Dequeue {
                Dequeue::new(&self.line)
            }

            /// Takes the first item, if there is one: see [`TryDequeue`].
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store) -> quorate::Result<()> {
            #[doc = concat!("let jobs = ", $make, ";")]
            /// while let Some(job) = jobs.try_dequeue().await? {
            ///     println!("{:?}", job.value);
            /// }
            /// # Ok(())
            /// # }
            /// ```
            pub fn try_dequeue(&self) -> TryDequeue {
                TryDequeue::new(&self.line)
            }

            /// Claims the first item, once there is one: see [`Claim`].
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store, session: quorate::Session)
            /// # -> quorate::Result<()> {
            #[doc = concat!("let jobs = ", $make, ";")]
            /// loop {
            ///     let job = jobs.claim(&session).await?;
            ///     println!("{:?}", job.value());
            ///     job.ack().await?;
            /// }
            /// # }
            /// ```
            pub fn claim(&self, session: &Session) -> Claim {
                Claim::new(&self.line, session)
            }

            /// Claims the first item, if there is one: see [`TryClaim`].
            ///
            /// ```no_run
            /// # async fn example(store: quorate::Store, session: quorate::Session)
            /// # -> quorate::Result<()> {
            #[doc = concat!("let jobs = ", $make, ";")]
            /// while let Some(job) = jobs.try_claim(&session).await? {
            ///     job.ack().await?;
            /// }
            /// # Ok(())
            /// # }
            /// ```
            pub fn try_claim(&self, session: &Session) -> TryClaim {
                TryClaim::new(&self.line, session)
            }
        }

        impl fmt::Debug for $queue {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let keys = self.line.layout.all();
                f.debug_struct(stringify!($queue)).field("keys", &keys).finish_non_exhaustive()
            }
        }
    };
}

impl_consumers!(Queue, "store.queue(\"jobs\")");
impl_consumers!(PriorityQueue, "store.priority_queue(\"jobs\")");
