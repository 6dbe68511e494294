//! What decides, and touches nothing.
//!
//! Everything in this room is a value: it is given what happened, with the moment it happened at,
//! and says what to do. No thread, file, socket, clock, randomness or unordered map is in here
//! (`clippy.toml` and `tests/tidy.rs` see to it), so the same inputs give the same outputs, on
//! every member and in every test.
//!
//! ```text
//! replica ──► consensus (the raft crate)      what the cluster agrees on
//!    │
//!    ├──────► machine ──► mvcc                what agreed entries do to the state
//!    ├──────► watch   ──────┘                 who is told of it
//!    └──────► lease                           until when a holder may rely on what it holds
//! ```
//!
//! One liberty: `mvcc`, `watch` and `lease` have locks, because threads that read, watch and hold
//! share with the one that writes. They are never held across anything that waits.

pub(crate) mod lease;
pub(crate) mod machine;
pub(crate) mod mvcc;
pub(crate) mod replica;
pub(crate) mod watch;
