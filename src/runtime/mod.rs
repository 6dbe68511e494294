//! The node: threads, a mailbox, the only reading of a clock.
//!
//! ```text
//!  callers' threads        peers (transport)
//!        │ submit                │ deliver
//!        ▼                       ▼
//!  ┌──────────── mailbox ────────────┐     whoever fills it tries for the driver
//!  └────────────────┬────────────────┘
//!                   ▼
//!            driver: one turn ───────► transport.send, answers
//!                   │ persists              ▲
//!                   ▼                       │
//!   log: gather, write, one sync ───► reports into the mailbox, drives
//!                   │ jobs
//!                   ▼
//!   snapshot: images out and in  ───► reports into the mailbox, drives
//! ```
//!
//! Three threads belong to a node: `node` (time, and whatever nobody else drives), `log` and
//! `snapshot`. Callers' and the transport's threads drive turns too, but wait for nothing there;
//! a caller that blocks for its answer anyway may write the log (`docs/threads.md`).
//!
//! What a turn does, and what is written, is `driver/`: here is who does it when. Exactly one
//! thread drives at a time, and it may be any: whoever has put something into the mailbox tries
//! for the driver, and if another thread has it, that one will find what was put there before it
//! goes (the mailbox's fences see to that). So a lone caller's write, a peer's envelope and the
//! end of a sync are each decided on the thread that brought them, without waking another, which
//! costs a quarter of a sync (`docs/decisions/0003`).
//!
//! Invariants:
//! * one thread drives at a time, one holds the log at a time, and no thread waits for the disk
//!   while it drives;
//! * host code (the transport's `members_changed` and `send` aside) runs with no lock held;
//! * after a failure the node is *halted*: everybody who waits is told, nothing more is decided,
//!   nothing more reaches the disk, the process lives.
//!
//! Not done here: no thread pool, no async runtime, no signal handling; a host that wants fewer
//! threads per node has to wait for a later version.

mod clock;
mod errands;
mod local;
mod node;
mod open;
mod shared;
mod snapshotter;
mod status;
mod threads;
mod writer;

pub use self::local::{LinkCounts, LocalEndpoint, LocalNetwork};
pub use self::node::{Inbox, Node};
pub use self::status::{Role, StateHash, Status};
