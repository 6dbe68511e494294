//! What the judges are shown.

use crate::core::replica::Replica;
use crate::core::replica::io::Persist;
use crate::driver::{Driver, Mailbox};
use crate::ids::NodeId;

/// Something that happened to a member, shown in the order in which it happened.
pub(crate) enum Seen<'a> {
    /// It opened, with what its disk held.
    Opened { node: NodeId, replica: &'a Replica },
    /// These hand-overs are on its disk, synced; it has not been told yet.
    Durable { node: NodeId, batch: &'a [Persist] },
    /// It has decided something. Nothing of that has reached another member or a caller yet.
    Turned { node: NodeId, replica: &'a Replica },
    /// It stopped: killed, without power, halted or closed.
    Ended { node: NodeId },
}

/// Knows one promise, and nothing of how it is kept.
pub(crate) trait Judge: Send {
    /// What it judges, in a word or two: part of a failure's text.
    fn name(&self) -> &'static str;

    /// Looks at what happened. An error says what was promised and what was seen instead.
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String>;

    /// The disk of this member was damaged on purpose: what was on it may be gone.
    fn damaged(&mut self, _node: NodeId) {}

    /// Looks at what a member holds outside of its replica, between two turns now and then.
    fn host(&mut self, _node: NodeId, _driver: &Driver, _mailbox: &Mailbox) -> Result<(), String> {
        Ok(())
    }

    /// The disk of this member was replaced by an empty one on purpose.
    #[cfg(test)]
    fn replaced(&mut self, _node: NodeId) {}

    /// Looks at what is left when faults have ended and everything has come to rest. The members
    /// that are up, in order.
    fn end(&mut self, members: &[(NodeId, &Replica)]) -> Result<(), String>;
}
