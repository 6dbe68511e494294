//! Judges of members: each knows a promise, and nothing of the code that keeps it.
//!
//! They are shown what happens to each member ([`Seen`](super::seen::Seen)) and compare members
//! with each other, with their own past, and with their disks.
//!
//! ```text
//!   log.rs      logs, terms and leaders: what raft promises
//!   durable.rs  what counts is on a quorum's disks, and is found again
//!   state.rs    members that have applied the same entries are the same (INV-11)
//!   bounds.rs   nothing grows without bound
//! ```
//!
//! By example, three members; `D` is a sync, `>` a turn, `|` the end of a boot:
//!
//! ```text
//!   1   > leads term 2, has 5     D 5     > commits 5
//!   2          > has 5     D 5  > |                        opens with 5, or durable.rs complains
//!   3                 > has 5               > commits 5
//!                                           ▲
//!                 durable.rs: 5 is on the disks of 1 and 2, two of three; 3 may still lose it
//!                 log.rs: 5 is what 1 committed; whoever leads from now on must have it
//! ```
//!
//! # What holds
//!
//! - A member is shown after each turn, before anything of what it decided has left it; its disk
//!   when a sync has returned, before the member is told; and when it opens, before its first turn.
//!   The judges rely on that order: an effect is never shown before its cause.
//! - Each turn costs what has changed, not what there is: they look on at every turn of every
//!   member of every simulation.
//! - A complaint names members, entries and terms, and what was expected of them.
//! - Judges are deterministic: the same run gives the same words.
//!
//! # What is not here
//!
//! Messages: what a member says before its disk can vouch for it is caught by what others make of
//! it, a commit or a vote that no quorum of disks has. Clients' histories. Whether anything
//! *happens* at all.
#![cfg_attr(
    not(test),
    expect(dead_code, reason = "the simulator that shows them members comes next")
)]

mod ballot;
pub(crate) mod bounds;
pub(crate) mod durable;
pub(crate) mod log;
mod row;
pub(crate) mod state;

#[cfg(test)]
mod rehearsal;
