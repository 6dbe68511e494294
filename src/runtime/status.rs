//! What a node says of itself.

use std::time::Duration;

use crate::core::replica::{Replica, consensus};
use crate::ids::{ClusterId, Index, NodeId, Revision, Term};
use crate::sync::atomic::Ordering;

use super::shared::Shared;

/// A member's part in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks for votes.
    Candidate,
    /// Orders the writes.
    Leader,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Follower => "follower",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        })
    }
}

/// A member at one moment (`MNT-1`). Sizes are in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// The name from the configuration.
    pub name: String,
    /// The member.
    pub id: NodeId,
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its part.
    pub role: Role,
    /// Whom it takes for the leader; `None` while there is none.
    pub leader: Option<NodeId>,
    /// The election's number.
    pub term: Term,
    /// Everything up to here is committed, as far as this member knows.
    pub commit: Index,
    /// Everything up to here is in its state.
    pub applied: Index,
    /// The oldest entry that it could still send as an entry.
    pub first_index: Index,
    /// The newest entry of its log.
    pub last_index: Index,
    /// The store's revision here.
    pub revision: Revision,
    /// The oldest readable revision, if anything was compacted.
    pub compacted: Option<Revision>,
    /// How far the removal of what was compacted has come on this member: up to this revision it
    /// is finished (`CMP-8`). Equal to `compacted` when nothing is left to remove.
    pub removed: Option<Revision>,
    /// The longest that removing has kept writers waiting at a time, since this node opened.
    pub removal_pause: Duration,
    /// Live keys.
    pub keys: u64,
    /// Versions of keys in memory, deletions among them; what was compacted counts until it has
    /// been removed.
    pub versions: u64,
    /// Bytes of all those versions, keys and values.
    pub data_bytes: u64,
    /// Segments of the log on disk.
    pub segments: u64,
    /// What they take.
    pub log_bytes: u64,
    /// Syncs of the log since this node opened.
    pub syncs: u64,
    /// Snapshots on disk.
    pub snapshots: u64,
    /// Where the newest of them stands.
    pub snapshot_index: Index,
    /// This node's own writes whose fate is not known yet.
    pub pending_writes: u64,
    /// Envelopes dropped: not for this member, damaged, nonsense, or too many at once.
    pub dropped_envelopes: u64,
    /// Envelopes dropped because the sender, or this member in the sender's memory, had another
    /// incarnation: somebody came back without its disk.
    pub dropped_identities: u64,
    /// Why the node has halted, if it has.
    pub halted: Option<String>,
}

/// A member's whole state in one number; see [`Node::hash`](crate::Node::hash).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateHash {
    /// The last applied index that it covers.
    pub applied: Index,
    /// The revision that it covers.
    pub revision: Revision,
    /// The hash.
    pub hash: u32,
}

impl Status {
    pub(super) fn of(shared: &Shared, name: &str) -> Self {
        let look = |replica: &Replica| (replica.status(), replica.machine().mvcc().stats());
        let (replica, stats) = shared.look(look);
        let log = shared.log.stats();
        let dropped = replica.dropped;
        Self {
            name: name.to_owned(),
            id: shared.address.node,
            cluster: shared.address.cluster,
            role: match replica.role {
                consensus::Role::Leader => Role::Leader,
                consensus::Role::Follower => Role::Follower,
                consensus::Role::Candidate | consensus::Role::PreCandidate => Role::Candidate,
            },
            leader: replica.leader,
            term: replica.term,
            commit: replica.commit,
            applied: replica.applied,
            first_index: replica.first_index,
            last_index: replica.last_index,
            revision: replica.revision,
            compacted: replica.compacted,
            removed: replica.removed,
            removal_pause: Duration::from_nanos(shared.longest_slice.load(Ordering::Relaxed)),
            keys: stats.keys as u64,
            versions: stats.versions as u64,
            data_bytes: stats.bytes as u64,
            segments: log.segments,
            log_bytes: log.bytes,
            syncs: log.syncs,
            snapshots: shared.snapshots.list().len() as u64,
            snapshot_index: replica.snapshot,
            pending_writes: replica.pending as u64,
            dropped_envelopes: shared.refused.load(Ordering::Relaxed)
                + shared.mailbox.dropped()
                + dropped.malformed
                + dropped.invalid,
            dropped_identities: dropped.identity,
            halted: shared.halted.get().map(ToString::to_string),
        }
    }
}

impl StateHash {
    pub(super) fn of(shared: &Shared) -> Self {
        // Pinned under the lock, read without it.
        let image = shared.look(|replica| replica.machine().pin());
        Self { applied: image.mark().index, revision: image.revision(), hash: image.hash() }
    }
}
