//! A cluster in a bottle: the real replica, log, snapshots and handles, with the threads, clock,
//! disk and network replaced by one queue of what happens next.

mod check;
mod clock;
mod cluster;
pub(crate) mod dice;
pub(crate) mod disk;
mod failure;
mod faults;
#[cfg(test)]
mod hand;
mod history;
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
mod script;
mod seen;
mod shared;
mod tasks;
mod trace;
mod workload;
mod world;

pub use clock::{Clock, Sleep};
pub use cluster::{Builder, Cluster};
pub use dice::Seed;
pub use disk::MemoryDisk;
pub use failure::Failure;
pub use faults::{Fault, Faults, Profile};
pub use marks::Mark;
pub use run::{Report, Run};
