//! A cluster in a bottle: the real replica, log, snapshots and handles, with the threads, clock,
//! disk and network replaced by one queue of what happens next.
//!
//! For tests of programs that stand on this crate, and for the crate's own. Enable it there only:
//!
//! ```toml
//! [dev-dependencies]
//! quorate = { version = "0.1", features = ["sim"] }
//! ```
//!
//! A [`Cluster`] is made from a [`Seed`]. Its members are the real ones, each on a machine that is
//! made up; a [`Store`](crate::Store) of it is the real handle. Programs run in it as tasks, wait
//! by its [`Clock`], and things are broken around them: by hand ([`Cluster::isolate`],
//! [`Cluster::crash`], [`Cluster::cut_power`]), or by chance, as often as [`Faults`] say.
//!
//! ```
//! use quorate::sim::{Builder, Fault, Faults, Seed};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (often, short) = (Duration::from_secs(2), Duration::from_millis(300));
//! for seed in 0..3 {
//!     let faults = Faults::none().loss(20_000).with(Fault::PowerLoss, often, short..often);
//!     let cluster = Builder::new(Seed::new(seed)).faults(faults).build()?;
//!     let (inside, clock) = (cluster.clone(), cluster.clock());
//!     cluster.spawn(async move {
//!         // The program under test: here one that counts, and tries again when it fails. A
//!         // handle ends with its member, as in a process that crashes.
//!         let mut count = 0;
//!         while count < 100 {
//!             let Ok(store) = inside.store("a") else {
//!                 clock.sleep(Duration::from_millis(50)).await;
//!                 continue;
//!             };
//!             if store.put("count", count.to_string()).await.is_ok() {
//!                 count += 1;
//!             }
//!             clock.sleep(Duration::from_millis(50)).await;
//!         }
//!     });
//!     let done = cluster.run_until(Duration::from_secs(120), |cluster| cluster.tasks() == 0)?;
//!     assert!(done);
//!     cluster.settle()?;
//!     let store = cluster.store("b")?;
//!     let count = cluster.block_on(async move { store.get("count").await })??.kv;
//!     assert_eq!(count.unwrap().value(), b"99");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! `tests/scheduler.rs` of this crate is a whole test of this kind, with a mistake that it finds.
//!
//! # What holds
//!
//! - **The same seed and the same binary give the same run**, event for event, in any process:
//!   [`Cluster::trace_hash`] is one number for all of it. That is so for tasks that depend on
//!   nothing but the simulation: no other clock, no thread, no map in random order.
//! - **Time costs nothing.** An hour in which nothing happens passes at once.
//! - **The library is judged all the while**: at most one leader for each term, logs that agree,
//!   equal states at equal positions, acknowledged writes on the disks of a quorum, queues within
//!   their bounds. What breaks is a [`Failure`], with the last events and the way back to them.
//!   Your own judges add to that with [`Cluster::fail`]; a task that panics is a failure too.
//! - **What a disk loses is what a real one may**: see [`MemoryDisk`].
//!
//! [`Run`] is what this crate does to itself: clients, faults and settings from one seed, and
//! judges of everything that the clients were told. `examples/simulate/` does many of them.
//!
//! ```text
//!   run.rs        one run: drawn, let go, brought to peace, judged       workload.rs   its clients
//!   cluster.rs    what a user holds, made by builder.rs; programs run in it: tasks.rs, clock.rs
//!   world.rs      the queue, and whom it concerns
//!     life.rs     a member opens, turns, writes, ends                    node.rs, port.rs
//!     nemesis.rs  what goes wrong, from faults.rs                        network.rs, disk.rs
//!     trace.rs    everything that happened, in words and as a number     marks.rs   rare paths
//!   history.rs    what clients called and were told     watched.rs, held.rs   watchers, holders
//!   check/        the judges
//!   script.rs     clusters driven by hand, from text
//! ```
//!
//! # What is not here
//!
//! The threads of [`Node`](crate::Node) (`runtime/`): members are driven in turns, one at a time,
//! as one thread would. How threads hand over to each other is checked elsewhere
//! (`checks/shuttle`), and whole nodes with real threads and disks are run by `tests/api.rs` and
//! `tests/kill.rs`. Processor time: a turn takes none. `docs/testing.md` has the whole list.

mod builder;
pub(crate) mod check;
mod clock;
mod cluster;
pub(crate) mod dice;
pub(crate) mod disk;
mod failure;
mod faults;
#[cfg(test)]
mod hand;
mod held;
pub(crate) mod history;
mod life;
mod marks;
mod nemesis;
mod network;
mod node;
#[cfg(test)]
mod planted;
mod port;
mod run;
#[cfg(test)]
mod scenes;
#[cfg(test)]
mod script;
mod seen;
mod shared;
mod tasks;
mod trace;
mod watched;
mod workload;
mod world;
mod zero;

pub use builder::Builder;
pub use clock::{Clock, Sleep};
pub use cluster::Cluster;
pub use dice::Seed;
pub use disk::MemoryDisk;
pub use failure::Failure;
pub use faults::{Fault, Faults, Profile};
pub use marks::Mark;
pub use run::{Report, Run};
