//! A cluster in a bottle: the real replica, log, snapshots and handles, with the threads, clock,
//! disk and network replaced by one queue of what happens next.

#[cfg_attr(not(test), expect(dead_code, reason = "nobody records a history yet"))]
mod check;
mod dice;
#[cfg_attr(not(test), expect(dead_code, reason = "nobody records a history yet"))]
mod history;

pub use dice::Seed;
