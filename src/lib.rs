//! An embeddable, replicated, durable key-value store with etcd's data model.
#![forbid(unsafe_code)]
#![allow(dead_code, reason = "until the rooms are joined")]
#![allow(missing_docs, reason = "until the rooms are joined")]

mod codec;
mod config;
mod core;
mod entry;
mod error;
mod gate;
mod ids;
mod keys;
mod runtime;
mod service;
mod storage;
mod store;
mod time;
mod transport;

pub use config::{Config, InitialState};
pub use core::mvcc::KeyValue;
pub use error::{Error, Result, WriteOutcome};
pub use ids::{ClusterId, Incarnation, Index, LeaseId, NodeId, Revision, Term};
pub use keys::KeyRange;
pub use runtime::{Inbox, LinkCounts, LocalEndpoint, LocalNetwork, Node, Role, StateHash, Status};
pub use service::{
    Compact, CompactResponse, Delete, DeleteResponse, Get, GetResponse, Header, Put, PutResponse,
    RangeRead, RangeResponse, TransferLeader,
};
pub use storage::{Disk, OpenMode, Vfs, VfsFile, VfsLock};
pub use store::Store;
pub use transport::{Lane, Peer, Transport};
