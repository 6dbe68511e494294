//! A running member, but for the threads: what every runtime needs to drive a replica.
//!
//! ```text
//!   requests ──┐                                  ┌─► transport
//!   envelopes ─┼─► mailbox ─► Driver::turn ─► Host ├─► LogEnd::write   (the log)
//!   reports ───┘     ▲                            └─► Worker::work    (whole states)
//!                    └──────── what was done ◄────────────┴──────┘
//! ```
//!
//! There are two runtimes: `runtime/` with threads, a clock and a disk, and `sim/` with none of
//! them. Both are thin: who calls these parts, and when, is all that is left to them. So what the
//! simulator shows is true of what runs.
//!
//! Invariants:
//! * whoever drives does not wait: a turn touches no file, and what it asks for is handed over;
//! * a report says what is done, never what is hoped: [`LogEnd::write`] returns when the disk has
//!   synced;
//! * a caller that was taken into the mailbox is answered once, at the latest when the node ends.
//!
//! Not here: threads, locks that anybody waits for, and any reading of a clock.

mod jobs;
mod log;
mod mailbox;
mod open;
mod sleepers;
mod turn;

pub(crate) use self::jobs::Worker;
pub(crate) use self::log::LogEnd;
pub(crate) use self::mailbox::{Mailbox, Posted};
pub(crate) use self::open::open;
pub(crate) use self::turn::{Driver, Host, MAX_JOBS, stuck_worker};
