//! A cluster in a bottle: the real replica, log, snapshots and handles, with the threads, clock,
//! disk and network replaced by one queue of what happens next.

mod check;
mod dice;
mod seen;

pub use dice::Seed;
