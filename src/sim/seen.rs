//! What the judges are shown.

use super::node::Node;
use crate::core::replica::Replica;
use crate::core::replica::io::Persist;
use crate::driver::{Driver, Mailbox};
use crate::ids::NodeId;
use crate::time::Instant;

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

/// What all clocks say at the moment at which something is seen.
#[derive(Clone, Copy)]
pub(crate) struct Clocks<'a> {
    /// True time, in nanoseconds.
    pub(super) truth: u64,
    pub(super) nodes: &'a [Node],
}

impl Clocks<'_> {
    pub(crate) fn truth(&self) -> Instant {
        Instant::from_nanos(self.truth)
    }

    /// Those of all members.
    pub(crate) fn all(&self) -> impl Iterator<Item = (NodeId, Instant)> {
        self.nodes.iter().map(|node| (node.id, node.clock.at(self.truth)))
    }
}

/// Knows one promise, and nothing of how it is kept.
pub(crate) trait Judge: Send {
    /// What it judges, in a word or two: part of a failure's text.
    fn name(&self) -> &'static str;

    /// Looks at what happened. An error says what was promised and what was seen instead.
    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String>;

    /// The same, for those who know a promise about time.
    fn see_at(&mut self, seen: &Seen<'_>, _clocks: Clocks<'_>) -> Result<(), String> {
        self.see(seen)
    }

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
