//! What arbitrary bytes can do to the places where bytes come in: nothing that was not promised.
//!
//! One function for each *target*. It takes the bytes of one case, does something with them, and
//! panics if a promise is broken; what is promised stands at the head of its file and in
//! `docs/testing.md`. The same functions are run in two ways:
//!
//! ```text
//!   fuzz/fuzz_targets/NAME.rs   libFuzzer makes up cases, for as long as one lets it
//!   bounded.rs                  `cargo test`: every case in fuzz/corpus/NAME, and so many small
//!                               changes of each, the same ones every time
//! ```
//!
//! A target that only waits for a panic finds little. So each knows what must come out: what was
//! decoded encodes to the same, what is refused is refused in the right words, a log that is
//! opened is the one that was written, and a store does what a plain twin of it does.
//!
//! Checksums are walls that no chance gets through. Where something lies behind one, a case says
//! what stands there, and the target puts the right checksum on it (`wal/crafted.rs`,
//! `snapshot.rs`, `deliver/forge.rs`).
//!
//! Invariants:
//! - A target is a function of its bytes: no clock, no chance, no file. So a case that fails once
//!   fails always, and can be kept in the corpus.
//! - Any bytes are a case. Where they end too early, zeros follow (`input.rs`).
//! - What a case can cost is bounded, whatever it says.
//!
//! Not done here: how much memory a case takes. The fuzzer watches that from outside
//! (`-malloc_limit_mb`, `-rss_limit_mb`).
//!
//! This module is in no user's program: it is compiled for tests, and with `--cfg fuzzing`.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a target says by a panic what it has found"
)]
#![cfg_attr(
    not(test),
    allow(dead_code, unused_imports, reason = "some names are for the corpus, which tests make")
)]

mod cluster;
mod command;
mod config;
mod damage;
mod deliver;
mod disk;
mod envelope;
mod input;
mod mvcc;
mod snapshot;
mod store;
mod wal;

#[cfg(test)]
mod bounded;
#[cfg(test)]
mod corpus;

pub use cluster::cluster;
pub use command::command_decode;
pub use config::config;
pub use deliver::deliver;
pub use envelope::envelope;
pub use mvcc::mvcc_model;
pub use snapshot::snapshot_read;
pub use store::store_model;
pub use wal::wal_scan;
