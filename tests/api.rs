//! The public interface, from outside: real nodes, real directories, threads and clocks.
//!
//! Nothing here waits for time to pass: a test waits for a call to answer, or for a disk that it
//! holds itself.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test, and its helpers: the world around the library"
)]

#[path = "api/barriers.rs"]
mod barriers;
#[path = "api/basics.rs"]
mod basics;
#[path = "api/cluster.rs"]
mod cluster;
#[path = "api/directories.rs"]
mod directories;
#[path = "api/elections.rs"]
mod elections;
#[path = "api/envelopes.rs"]
mod envelopes;
#[path = "api/executors.rs"]
mod executors;
#[path = "api/failover.rs"]
mod failover;
#[path = "api/faults.rs"]
mod faults;
#[path = "api/founding.rs"]
mod founding;
#[path = "api/halting.rs"]
mod halting;
#[path = "api/history.rs"]
mod history;
#[path = "api/leases.rs"]
mod leases;
#[path = "api/lifecycle.rs"]
mod lifecycle;
#[path = "api/locks.rs"]
mod locks;
#[path = "api/queues.rs"]
mod queues;
#[path = "api/reads.rs"]
mod reads;
#[path = "api/refusals.rs"]
mod refusals;
#[path = "api/rwlocks.rs"]
mod rwlocks;
#[path = "api/semaphores.rs"]
mod semaphores;
#[path = "api/transactions.rs"]
mod transactions;
#[path = "api/watch.rs"]
mod watch;
