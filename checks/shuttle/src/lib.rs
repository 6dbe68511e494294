//! The product's source, compiled a second time: over locks, flags and threads that a test
//! schedules.
//!
//! ```text
//!   src/**                      every file but three, as it is
//!   src/lib.rs                  here: this file, which declares the same rooms
//!   src/sync.rs                 here: sync/, the same names over shuttle's
//!   src/runtime/clock.rs        here: clock.rs, which goes on when a test says so
//! ```
//!
//! So the product needs no feature, no `cfg` and no open door for it, and what runs here is what
//! ships. Each `scenario` is one short life of one or two nodes in which threads meet at one
//! place; `tests/threads.rs` runs it under thousands of schedules.
//!
//! `docs/testing.md` says what is covered, what is not, and how a failure is replayed.
// It has no tests of its own, and the product's are not for these threads.
#![cfg(not(test))]
#![allow(dead_code, reason = "the product's own package says what is dead")]
#![allow(unused_imports, reason = "as above: what it exports, nobody imports here")]
#![allow(
    clippy::disallowed_methods,
    clippy::wrong_self_convention,
    clippy::disallowed_types,
    reason = "the product's own package holds it to its bans; what stands here is not shipped"
)]

#[path = "../../../src/codec.rs"]
mod codec;
#[path = "../../../src/core/mod.rs"]
mod core;
#[path = "../../../src/driver/mod.rs"]
mod driver;
#[path = "../../../src/entry.rs"]
mod entry;
#[path = "../../../src/error.rs"]
mod error;
#[path = "../../../src/gate.rs"]
mod gate;
#[path = "../../../src/ids.rs"]
mod ids;
#[path = "../../../src/keys.rs"]
mod keys;
#[path = "../../../src/planted.rs"]
mod planted;
#[path = "../../../src/service/mod.rs"]
mod service;
#[path = "../../../src/storage/mod.rs"]
mod storage;
#[path = "../../../src/store.rs"]
mod store;
mod sync;
#[path = "../../../src/time.rs"]
mod time;
#[path = "../../../src/transport.rs"]
mod transport;

/// A file that is named by its path takes its children from its own folder; in here it is not.
#[path = "../../../src"]
mod rest {
    pub(crate) mod config;
    pub(crate) mod vfs;
}
use rest::{config, vfs};

#[path = "../../../src/runtime"]
mod runtime {
    #[path = "../../checks/shuttle/src/clock.rs"]
    mod clock;
    mod errands;
    mod local;
    mod node;
    mod open;
    #[path = "../../checks/shuttle/src/scenario/mod.rs"]
    pub mod scenario;
    mod shared;
    mod snapshotter;
    mod status;
    mod threads;
    mod writer;

    pub use self::local::{LinkCounts, LocalEndpoint, LocalNetwork};
    pub use self::node::{Inbox, Node};
    pub use self::status::{Role, StateHash, Status};
}

pub use config::{Config, InitialState};
pub use core::mvcc::{Event, EventKind, KeyValue, Order, SortBy};
pub use error::{Error, Result, WriteOutcome};
pub use ids::{ClusterId, Incarnation, Index, LeaseId, NodeId, Revision, Term};
pub use keys::KeyRange;
pub use runtime::{Inbox, LinkCounts, LocalEndpoint, LocalNetwork, Node, Role, StateHash, Status};
pub use service::{
    Compact, CompactResponse, Delete, DeleteResponse, Get, GetResponse, Header, Put, PutResponse,
    RangeChunks, RangeRead, RangeResponse, RangeStream, TransferLeader, WatchEnd, Watcher,
};
pub use storage::Disk;
pub use store::Store;
pub use transport::{Lane, Peer, Transport};
pub use vfs::{OpenMode, Vfs, VfsFile, VfsLock};

pub use runtime::scenario;
