//! What users hold.
//!
//! A call is a *builder*: made by a [`Store`](crate::Store), refined by its options, and then
//! either awaited or waited for. It is the future itself, so there is nothing between the options
//! and the answer, no runtime is needed and any will do.
//!
//! A put, from the caller's thread to the node and back (`SEL-9` gives the order of the checks):
//!
//! ```text
//!   store.put("k", "v")              nothing has happened yet
//!     .await   or   .wait()
//!       empty key? (SEL-4) ......... is_invalid
//!       encode the command, once
//!       too many bytes? (SEL-10) ... is_too_large
//!       gate.submit(Write) ......... is_overloaded, is_closed: nothing was taken
//!         |
//!         |    .await: the reply wakes the task
//!         |    .wait(): the thread is lent to the node, then parks until the reply
//!         v
//!       reply: Outcome::Put { revision: 7 }
//!   PutResponse { header: { revision: 7, .. } }
//! ```
//!
//! A read asks the node at most one question, "how recent must the state be?", and then reads on
//! the caller's own thread:
//!
//! ```text
//!   this node leads alone ............ read at once: nothing newer can exist
//!   serializable ..................... read at once, as old as it is (KV-16)
//!   at least R, and it is there ...... read at once
//!   max age, and it is no older ...... read at once (gate.is_current_within)
//!   otherwise, gate.submit(Read) ..... a round of the leader, then read (LIN-1)
//! ```
//!
//! What happens later is watched, from the state of this member and on the thread that asks for it:
//! the chapters of `watch/` and, for a range that is kept at hand, `cache/` say how.
//!
//! What is held one after the other, locks and elections, stands on sessions and on watchers: the
//! chapters of `lease/`, `place/`, `lock/` and `election/`. Its calls are of several steps
//! (`place/task.rs`), each of which is one of the above.
//!
//! Options that several builders have are macros in `options.rs`, over how each reaches what is
//! set: one text and one implementation, found on the builder itself. Keys go in and come out
//! through the builder's `Scope` (`scope.rs`), so that a handle may be confined to a prefix.
//!
//! # What holds
//!
//! - A builder does nothing before it is polled or waited for, and asks its node at most once; one
//!   of several steps at most once for each.
//! - A call ends: with the answer, with the node's error when the timeout has passed (the timeout
//!   travels with the request; no timer runs here), or with `is_closed` when the node is gone.
//! - A failed write says [`WriteOutcome::NotApplied`](crate::WriteOutcome) only if that is
//!   certain: it was refused before it was taken, or the node said so. A node that went away
//!   without an answer leaves it unknown.
//! - Dropping a future cancels the waiting, not the request: a write that was handed over may
//!   still happen, once.
//! - No builder reads, changes or shows a key that its scope has not translated (`HLP-1`).
//! - No thread, timer or lock of its own: what is here runs over any [`Gate`](crate::gate::Gate).
//!
//! # What is not done
//!
//! What one member alone cannot know: who watches, waits or reads elsewhere.

mod barrier;
mod cache;
mod cluster;
mod election;
#[cfg(test)]
mod fake;
mod guard;
mod kv;
mod lease;
mod lock;
mod maintenance;
mod once;
mod options;
mod pending;
mod place;
mod queue;
mod read;
mod response;
mod rwlock;
mod scope;
mod semaphore;
mod stream;
mod transact;
mod txn;
#[cfg(feature = "serde")]
mod typed;
mod watch;

pub use barrier::{
    Barrier, DoubleBarrier, EnterBarrier, Entered, HoldBarrier, LeaveBarrier, PassBarrier,
    ReleaseBarrier,
};
pub use cache::{Cache, CacheBuilder, CacheChange, CacheChanged, CacheRun, CacheWait};
pub use cluster::TransferLeader;
pub use election::{
    Campaign, Election, GetLeader, Leader, Leadership, NextObserved, Observe, Observed,
    ObservedIter, Observer, Outranked, Proclaim, Resign, Resume,
};
pub use kv::{Delete, Put};
pub use lease::{
    CloseSession, Grant, KeepAlive, Leases, OpenSession, Revoke, Session, SessionLost, TimeToLive,
};
pub use lock::{Acquire, Lock, LockGuard, Release, TryAcquire};
pub use maintenance::{Compact, HashRead};
pub use place::{HeldTxn, Lost};
pub use queue::{
    Ack, AckResponse, Claim, ClaimedItem, Dequeue, Enqueue, EnqueueResponse, PriorityQueue, Queue,
    QueueItem, ReleaseItem, TryClaim, TryDequeue,
};
pub use read::{Get, RangeRead};
pub use response::{
    CompactResponse, DeleteResponse, GetResponse, GrantResponse, HashResponse, Header,
    KeepAliveResponse, LeasesResponse, PutResponse, RangeResponse, RevokeResponse,
    TimeToLiveResponse,
};
pub use rwlock::{
    AcquireRead, AcquireWrite, ReadGuard, RwLock, TryAcquireRead, TryAcquireWrite, WriteGuard,
};
pub(crate) use scope::Scope;
pub use semaphore::{AcquirePermit, Permit, Semaphore, TryAcquirePermit};
pub use stream::{RangeChunks, RangeStream};
pub use transact::{Isolation, Transact, TransactResponse, Transaction};
pub use txn::{
    Branch, Compare, DeleteOp, GetOp, Op, OpResponse, Operand, PutOp, RangeOp, Txn, TxnOp, TxnOps,
    TxnResponse,
};
#[cfg(feature = "serde")]
pub use typed::{
    Codec, CodecError, Json, Typed, TypedGet, TypedRangeRead, TypedRangeResponse, TypedStore,
};
pub use watch::{
    ListAndWatch, Listing, NextBatch, NextUpdate, Watch, WatchBatch, WatchBatches, WatchCanceller,
    WatchCompacted, WatchEnd, WatchSet, WatchUpdate, WatchUpdates, Watcher,
};
