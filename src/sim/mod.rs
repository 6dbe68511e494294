//! A cluster in a bottle: the real replica, log, snapshots and handles, with the threads, clock,
//! disk and network replaced by one queue of what happens next.

mod dice;
mod seen;

#[cfg(test)]
pub(crate) use dice::Dice;
pub use dice::Seed;
