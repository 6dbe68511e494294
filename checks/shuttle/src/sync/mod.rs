//! What `src/sync.rs` names, over shuttle: every call is a place where the scheduler may let
//! another thread go on.
//!
//! ```text
//!   src/sync.rs                  here
//!   parking_lot                  lock.rs      shuttle's mutex and condition variable
//!   std::sync::atomic            shuttle's: as if all were SeqCst
//!   std::sync::OnceLock          once.rs
//!   crossbeam_utils::sync        park.rs      a token
//!   crossbeam_channel            channel.rs   a queue
//!   oneshot                      oneshot.rs   one answer, and a count of what became of each
//!   std::thread                  thread.rs    shuttle's, and a rest that time ends
//! ```
//!
//! What waits for another thread stands on [`place::Place`]; what waits for time also on
//! [`time`], which goes on only when a scenario says so. So a wake-up that is lost is not covered
//! up by a timeout: everybody waits, and shuttle calls it a deadlock.
//!
//! Not here: weak memory. The fences of the product do nothing under shuttle, and leaving one out
//! changes nothing.

pub(crate) mod channel;
mod lock;
mod once;
pub(crate) mod oneshot;
mod park;
pub(crate) mod place;
pub(crate) mod thread;
pub(crate) mod time;

pub(crate) use self::lock::{Condvar, Mutex, MutexGuard};
pub(crate) use self::once::OnceLock;
pub(crate) use self::park::{Parker, Unparker};
pub(crate) use shuttle::sync::atomic;

/// Forgets the run before: one thread runs many, one after the other.
pub(crate) fn begin() {
    time::begin();
    oneshot::begin();
}

/// Lets another thread go on, perhaps.
pub(crate) fn step() {
    // Shuttle knows no time: this is a place to switch, and nothing else.
    thread::sleep(std::time::Duration::ZERO);
}
