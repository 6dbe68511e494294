//! Where threads meet: every lock, flag, queue and rest that one thread of a node shares with
//! another, and threads themselves.
//!
//! They are named here and nowhere else, so that `checks/shuttle` can compile the rest of the
//! source over others of the same shape, under which a test decides who runs next. What is here
//! is what is used: a new name has to be given there too.
//!
//! Locks that no two of these can be reached under (those within `storage/`, and within `core/` but
//! for `watch`) are not here: whoever holds one comes back without meeting another thread.

pub(crate) use crossbeam_channel as channel;
pub(crate) use crossbeam_utils::sync::{Parker, Unparker};
#[expect(clippy::single_component_path_imports, reason = "named as the others are")]
pub(crate) use oneshot;
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(crate) use std::sync::OnceLock;
pub(crate) use std::sync::atomic;
pub(crate) use std::thread;
