//! A replicated, durable key-value store with etcd's data model, inside your own process.
//!
//! The members of a cluster are processes of yours (or several nodes of one process). Each has a
//! directory, all hold the same data, and a majority of them must be there to write. A
//! [`Node`] is a running member, a [`Store`] the handle to its data, and a [`Transport`] what you
//! implement to carry bytes between members: this crate opens no socket.
//!
//! ```
//! use quorate::{Config, LocalNetwork, Node};
//! use std::time::Duration;
//!
//! # fn main() -> quorate::Result<()> {
//! # let temporary = tempfile::tempdir().unwrap();
//! # let dir = temporary.path().join("solo");
//! // A cluster of one: it leads at once, and answers when its disk has synced.
//! let network = LocalNetwork::new();
//! let config = Config::new("solo", dir).initial_cluster([("solo", "here")]);
//! let endpoint = network.endpoint(config.node_id()?);
//! let node = Node::open(config, endpoint)?;
//!
//! let store = node.store();
//! let green = store.put("color", "green").wait()?.header.revision;
//! store.put("color", "blue").wait()?;
//!
//! let now = store.get("color").wait()?.kv;
//! let then = store.get("color").at(green).wait()?.kv;
//! assert_eq!(now.as_ref().map(|kv| kv.value()), Some(b"blue".as_slice()));
//! assert_eq!(then.as_ref().map(|kv| kv.value()), Some(b"green".as_slice()));
//! node.close(Duration::from_secs(5))
//! # }
//! ```
//!
//! # Cookbook
//!
//! **Run a cluster**
//!
//! - Open a member, alone or with others: [`Node::open`], [`Config::initial_cluster`]
//! - Several members in one process, and a network to break: [`LocalNetwork`]
//! - Carry bytes between processes: [`Transport`], [`Lane`], [`Node::inbox`], [`Inbox::deliver`]
//! - Put the log on a disk of its own: [`Config::wal_dir`]
//! - Refuse to begin anew on a disk that was lost: [`InitialState::Existing`]
//! - See how a member is: [`Node::status`], [`Status`]; compare members: [`Node::hash`]
//! - Move leadership: [`Node::transfer_leader`]
//! - Stop: [`Node::close`]
//!
//! **Write**
//!
//! - Put, and learn what was there: [`Store::put`], [`Put::prev_value`]
//! - Delete a key or a range: [`Store::delete`], [`Delete::prev_values`]
//! - Compare, then write, as one: [`Store::txn`], [`Compare`], [`Op`], [`Branch`]
//! - Read, think and write as one, again until nobody gets in the way: [`Store::transact`]
//! - Know what a failed write did: [`Error::outcome`], [`WriteOutcome`]
//! - Bound the wait: [`Put::timeout`], [`Config::request_timeout`]
//!
//! **Read**
//!
//! - One key: [`Store::get`]; many: [`Store::range`], [`KeyRange::prefix`], [`RangeRead::limit`]
//! - In another order: [`RangeRead::sort_by`], [`RangeRead::order`]; only what is new:
//!   [`RangeRead::min_mod_revision`]; without values: [`RangeRead::keys_only`]
//! - More than one wants in memory, in chunks of one snapshot: [`Store::stream`]
//! - Page through one snapshot: [`RangeRead::at`]
//! - The past: [`Get::at`]
//! - At once, perhaps old, without a leader: [`Get::serializable`], [`RangeRead::serializable`]
//! - At once, if it is recent enough: [`Get::max_staleness`]; if it has what somebody else wrote:
//!   [`Get::at_least`]
//! - Count only: [`RangeRead::count_only`]
//! - Forget the past: [`Store::compact`], [`Config::retain_time`]
//! - Compare members: [`Store::hash`]
//!
//! **Share one store**
//!
//! - A part of the keys that seems to be all there is: [`Store::scoped`]
//! - Values that are Rust types, with the feature `serde`: `Store::typed`
//! - All of it in one program: `examples/config_store.rs` in the repository
//!
//! **Watch**
//!
//! - Every change of a range, in order, once: [`Store::watch`], [`Watcher`]
//! - From where another one stopped: [`Watch::from_revision`], [`WatchBatch::revision`]
//! - With what was there before: [`Watch::prev_values`]
//! - Many watchers, one consumer: [`Store::watch_set`], [`WatchSet`]
//! - What holds now, and every change from there on: [`Store::list_and_watch`]
//! - Why it ended, and how to go on: [`WatchEnd`], [`WatchCompacted::relist`]
//! - A range at hand, always current, with callbacks: [`Store::cache`], [`Cache::on_change`],
//!   [`Cache::run`]; at least as new as what somebody else has seen: [`Cache::wait_for`]
//! - A service that follows its settings: `examples/config_watch.rs` in the repository
//!
//! **Hold something alone**
//!
//! - Keys that go when their owner does: [`Store::session`], [`Store::grant`]
//! - One holder at a time, in order: [`Store::lock`]; with a token, and transactions that commit
//!   only while it is held: [`LockGuard::token`], [`LockGuard::txn`]
//! - One leader, whom all can see: [`Store::election`], [`Leadership::run`], [`Election::observe`]
//! - What a lock cannot do: `docs/locks-and-elections.md` in the repository, first
//!
//! **Wait**, in whatever way suits: each of these calls is a future for any runtime, and has
//! `wait` and `wait_timeout` for a thread ([`Put::wait`], [`Put::wait_timeout`]).
//!
//! **Handle errors**: there is one [`Error`], asked with `is_*`. To try again later:
//! [`Error::is_overloaded`], [`Error::is_unavailable`], [`Error::is_timeout`]. To close and reopen:
//! [`Error::is_halted`]. To ask a person: [`Error::is_corrupt`], [`Error::is_foreign`],
//! [`Error::is_newer_format`].
//!
//! **Bring your own files**: [`Vfs`], [`VfsFile`], [`Config::vfs`]; the real ones are [`Disk`].
//!
//! # Words
//!
//! A *revision* counts changes of the store; a *version* counts those of one key; an *index* is a
//! place in the replicated log. Types keep them apart: [`Revision`], [`Index`], [`Term`],
//! [`NodeId`], [`ClusterId`], [`LeaseId`], [`Incarnation`].
//!
//! # Rooms
//!
//! For whoever reads the source: folders are divided by what code may touch, and each opens with a
//! chapter. Arrows point down.
//!
//! ```text
//!   service, store    what users hold: one builder for each call
//!        │
//!       gate          the one way from a handle to a node
//!        │
//!   runtime   sim     who does it when: threads and a clock, or one queue of what happens next
//!        │     │
//!       driver        a member without threads: mailbox, turns, the ends to the disk
//!      │     │
//!      │   storage    the log and the snapshots, over a small file trait
//!      │
//!     core            decides, and touches nothing
//!      ├─ replica       inputs in, outputs out; consensus/ wraps the raft crate
//!      ├─ machine       apply(entry): commands, sessions, members, the image
//!      ├─ watch         who is told of what happened
//!      └─ mvcc          keys, revisions, history
//! ```
//!
//! `docs/architecture.md` in the repository goes through them in order.
//!
//! # Features
//!
//! - `sim`: the deterministic simulator, for your tests.
//! - `serde`: [`Config`] implements `Deserialize`, with sizes and durations in words; and
//!   `Store::typed`, for values that are Rust types.
#![forbid(unsafe_code)]

mod codec;
mod config;
mod core;
mod driver;
mod entry;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod gate;
mod ids;
mod keys;
mod planted;
mod runtime;
mod service;
#[cfg(feature = "sim")]
pub mod sim;
mod storage;
mod store;
mod sync;
mod time;
mod transport;
mod vfs;

pub use config::{Config, InitialState};
pub use core::mvcc::{Event, EventKind, KeyValue, Order, SortBy};
pub use error::{Error, Result, WriteOutcome};
pub use ids::{ClusterId, Incarnation, Index, LeaseId, NodeId, Revision, Term, WatchId};
pub use keys::KeyRange;
pub use runtime::{Inbox, LinkCounts, LocalEndpoint, LocalNetwork, Node, Role, StateHash, Status};
pub use service::{
    Ack, AckResponse, Acquire, AcquirePermit, AcquireRead, AcquireWrite, Barrier, Branch, Cache,
    CacheBuilder, CacheChange, CacheChanged, CacheRun, CacheWait, Campaign, Claim, ClaimedItem,
    CloseSession, Compact, CompactResponse, Compare, Delete, DeleteOp, DeleteResponse, Dequeue,
    DoubleBarrier, Election, Enqueue, EnqueueResponse, EnterBarrier, Entered, Get, GetLeader,
    GetOp, GetResponse, Grant, GrantResponse, HashRead, HashResponse, Header, HeldTxn, HoldBarrier,
    Isolation, KeepAlive, KeepAliveResponse, Leader, Leadership, Leases, LeasesResponse,
    LeaveBarrier, ListAndWatch, Listing, Lock, LockGuard, Lost, NextBatch, NextObserved,
    NextUpdate, Observe, Observed, ObservedIter, Observer, Op, OpResponse, OpenSession, Operand,
    Outranked, PassBarrier, Permit, PriorityQueue, Proclaim, Put, PutOp, PutResponse, Queue,
    QueueItem, RangeChunks, RangeOp, RangeRead, RangeResponse, RangeStream, ReadGuard, Release,
    ReleaseBarrier, ReleaseItem, Resign, Resume, Revoke, RevokeResponse, RwLock, Semaphore,
    Session, SessionLost, TimeToLive, TimeToLiveResponse, Transact, TransactResponse, Transaction,
    TransferLeader, TryAcquire, TryAcquirePermit, TryAcquireRead, TryAcquireWrite, TryClaim,
    TryDequeue, Txn, TxnOp, TxnOps, TxnResponse, Watch, WatchBatch, WatchBatches, WatchCanceller,
    WatchCompacted, WatchEnd, WatchSet, WatchUpdate, WatchUpdates, Watcher, WriteGuard,
};
#[cfg(feature = "serde")]
pub use service::{
    Codec, CodecError, Json, Typed, TypedGet, TypedRangeRead, TypedRangeResponse, TypedStore,
};
pub use storage::Disk;
pub use store::Store;
pub use transport::{Lane, Peer, Transport};
pub use vfs::{OpenMode, Vfs, VfsFile, VfsLock};

/// Its programs must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
