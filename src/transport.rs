//! How a node's bytes reach the other members: the host's part of the work.

use bytes::Bytes;

use crate::ids::NodeId;

/// How urgent an envelope is.
///
/// A transport keeps the lanes apart (two sockets, two queues), so that a heartbeat never waits
/// behind a megabyte of entries. Within a lane order is welcome but not needed: the protocol
/// tolerates loss, repeats and any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lane {
    /// Heartbeats, votes, read rounds: small, and late is as bad as lost.
    Urgent,
    /// Entries, their acknowledgements and snapshot chunks.
    Bulk,
}

/// A member as the transport must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Peer {
    /// Whom [`Transport::send`] will name.
    pub id: NodeId,
    /// The name from the configuration.
    pub name: String,
    /// The opaque address from the configuration: only the transport knows what it means.
    pub address: String,
}

/// Moves envelopes between the members of a cluster. The host implements it.
///
/// An envelope is opaque bytes of at most `Config::max_message_bytes`. What arrives at the other
/// end goes into [`Node::deliver`](crate::Node::deliver) there.
///
/// Delivery is best effort: an envelope may be lost, repeated, delayed or overtaken, and the
/// cluster stays correct. It must not be forged: authenticate the peers and protect the bytes as
/// your network needs.
pub trait Transport: Send + Sync + 'static {
    /// Hands over one envelope for `to`, without blocking: a full queue drops it.
    ///
    /// Called from the node's threads and from callers' threads, one at a time for each node. It
    /// may call `deliver` of another node of this process, and `deliver` may call `send`: so do
    /// not hold a lock around `deliver` that `send` takes, and ask the sending node for nothing
    /// (its status, its data) from within.
    fn send(&self, to: NodeId, lane: Lane, envelope: Bytes);

    /// The other members changed: the list is complete and replaces the one before. Called once
    /// before anything is sent, and after every change of the membership.
    fn members_changed(&self, peers: &[Peer]);
}
