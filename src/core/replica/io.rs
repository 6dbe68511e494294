//! Everything that the core can be told, and everything that it can ask for.
//!
//! A driver gives [`Input`]s in any order it likes and obeys [`Output`]s in the order in which
//! they come, with one freedom: a `Persist` may be handed to the disk before the sends around it.
//! Requests for slow work carry what to say when the work is done, so no order lives in the
//! driver's head.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

pub(crate) use super::consensus::Tail;
use super::consensus::Ticket;
use super::envelope::Envelope;
use crate::core::lease::{Kept, Opened, Opening};
use crate::core::machine::{Image, Machine, Outcome};
pub(crate) use crate::core::mvcc::Pinned;
use crate::entry::{Entry, HardState, SnapshotMark};
use crate::error::Error;
use crate::ids::{Index, LeaseId, NodeId};
use crate::time::Instant;
use crate::transport::{Lane, Peer};

/// Names a waiting caller. The driver chooses it; the core only gives it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token(pub(crate) u64);

/// A snapshot as a file: what a sender offers and a receiver checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotFile {
    pub(crate) mark: SnapshotMark,
    pub(crate) file_bytes: u64,
    /// Over the whole file: two files with one hash are one file.
    pub(crate) hash: u64,
}

/// What the core can be told.
#[derive(Debug)]
pub(crate) enum Input {
    /// Only time has passed.
    Time,
    /// An envelope whose frame has been checked ([`Envelope::open`]).
    Deliver(Envelope),
    /// A caller's write.
    Write { token: Token, payload: BytesMut, deadline: Instant },
    /// A caller's linearizable read.
    Read { token: Token, deadline: Instant },
    /// A caller wants another leader.
    Transfer { token: Token, to: NodeId, deadline: Instant },
    /// A caller wants to hold the history as it is.
    Pin { token: Token },
    /// A caller wants to look at the machine as it is.
    Look { token: Token },
    /// A caller's keep-alive.
    KeepAlive { token: Token, lease: LeaseId, deadline: Instant },
    /// A caller wants a lease that is kept alive.
    Open { token: Token, how: Opening, deadline: Instant },
    /// The transport lost its connection to a peer.
    Unreachable(NodeId),
    /// A `Persist` and all before it are durable.
    Persisted(Ticket),
    /// A sync has been under way for too long, or no longer is.
    DiskOverdue(bool),
    /// A `TakeSnapshot` is durable. `oldest` is the oldest snapshot still kept.
    SnapshotTaken { file: SnapshotFile, oldest: Index },
    /// The bytes that a `ReadChunk` asked for.
    ChunkRead { to: NodeId, transfer: u64, offset: u64, bytes: Bytes },
    /// The file that a `ReadChunk` asked for is gone.
    ChunkLost { to: NodeId, transfer: u64 },
    /// A `Stage` is open and holds `have` bytes from its front.
    Staged { hash: u64, have: u64 },
    /// A staged snapshot is whole, verified and decoded.
    StageReady { hash: u64, machine: Box<Machine> },
    /// A staged snapshot turned out bad.
    StageFailed { hash: u64, why: String },
}

/// What the core can ask for.
#[derive(Debug)]
pub(crate) enum Output {
    /// Hand an envelope to the transport.
    Send { to: NodeId, lane: Lane, envelope: Bytes },
    /// Write to the log, in the order of tickets.
    Persist(Persist),
    /// Answer a caller.
    Reply { token: Token, answer: Answer },
    /// Wake who waits for a kept lease to be over: it is.
    Lost(Arc<Kept>),
    /// Write a snapshot in the background and say [`Input::SnapshotTaken`].
    TakeSnapshot(Image),
    /// Read part of a snapshot file and say [`Input::ChunkRead`] or [`Input::ChunkLost`].
    ReadChunk { to: NodeId, transfer: u64, index: Index, offset: u64, len: u32 },
    /// Make or find the place for a snapshot that is being received; say [`Input::Staged`].
    Stage(SnapshotFile),
    /// Keep a piece of it; say [`Input::Staged`].
    StageChunk { hash: u64, offset: u64, bytes: Bytes },
    /// It is complete: verify, decode; say [`Input::StageReady`] or [`Input::StageFailed`].
    StageFinish { hash: u64 },
    /// A staged snapshot will not be installed: throw it away.
    Unstage { hash: u64 },
    /// Free a state that is no longer needed: slow, for one of size.
    Discard(Box<Machine>),
    /// Likewise, entries that nobody will ask for.
    DiscardEntries(Tail),
    /// Entries up to here are in every kept snapshot: their segments can be used again.
    ReleaseLog(Index),
    /// Tell the transport who the other members are.
    Members(Vec<Peer>),
}

/// One hand-over to the log.
#[derive(Debug)]
pub(crate) struct Persist {
    pub(crate) ticket: Ticket,
    pub(crate) entries: Vec<Entry>,
    pub(crate) hard_state: Option<HardState>,
    /// Adopt the staged snapshot with this mark first; the log begins behind it.
    pub(crate) install: Option<SnapshotMark>,
}

/// What a caller is told.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The write was applied, here, with this outcome.
    Applied(Outcome),
    /// The local state may be read now; or leadership has moved as asked.
    Done,
    /// What came of an opening.
    Opened(Opened),
    /// The history of what is published.
    Pinned(Pinned),
    Failed(Error),
}
