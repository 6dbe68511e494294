//! The node: threads, a mailbox, the only reading of a clock.

mod clock;
mod local;

pub use self::local::{LinkCounts, LocalEndpoint, LocalNetwork};
