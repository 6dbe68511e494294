//! What a replica says of itself.

use super::Replica;
use super::consensus::{self, Role};
use crate::ids::{Index, NodeId, Revision, Term};
use crate::time::Instant;

/// Envelopes that went no further, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// From a member with another incarnation than it had, or meant for another of this one.
    pub(crate) identity: u64,
    /// The body could not be decoded, or was not its sender's to send.
    pub(crate) malformed: u64,
    /// A message that consensus must not see.
    pub(crate) invalid: u64,
}

/// A moment's view of a replica.
#[derive(Clone, Debug)]
pub(crate) struct ReplicaStatus {
    pub(crate) role: Role,
    pub(crate) term: Term,
    pub(crate) leader: Option<NodeId>,
    pub(crate) commit: Index,
    pub(crate) applied: Index,
    pub(crate) first_index: Index,
    pub(crate) last_index: Index,
    pub(crate) revision: Revision,
    pub(crate) compacted: Option<Revision>,
    pub(crate) snapshot: Index,
    /// Writes whose fate is not known yet.
    pub(crate) pending: usize,
    pub(crate) dropped: Dropped,
}

impl Replica {
    pub(crate) fn status(&self) -> ReplicaStatus {
        let consensus::Status { role, term, leader, commit, first_index, last_index, .. } =
            self.consensus.status();
        let (applied, _) = self.machine.applied();
        let reader = self.machine.reader();
        ReplicaStatus {
            role,
            term,
            leader,
            commit,
            applied,
            first_index,
            last_index,
            revision: reader.revision(),
            compacted: reader.compacted(),
            snapshot: self.saved.as_ref().map_or(Index::new(1), |saved| saved.mark.index),
            pending: self.proposals.len(),
            dropped: self.dropped,
        }
    }

    /// The end of what is durable here, as far as this member was told.
    #[cfg(test)]
    pub(crate) fn persisted(&self) -> Index {
        self.consensus.status().persisted
    }

    /// In how many ticks it would vote for another than the leader that it follows.
    #[cfg(test)]
    pub(crate) fn loyal_ticks(&self) -> usize {
        self.consensus.loyal_ticks()
    }

    /// The term that responses carry (`SEL-7`).
    pub(crate) fn term(&self) -> Term {
        self.standing.term
    }

    /// No other member could have acknowledged a write since this one last applied: it leads, has
    /// committed in its term, and is the only voter.
    pub(crate) fn leads_alone(&self) -> bool {
        self.consensus.leads_alone()
    }

    /// Everything that was acknowledged, by any member, before this moment is applied and published
    /// here. Zero if that is known of no moment.
    pub(crate) fn current_as_of(&self) -> Instant {
        self.reads.current_as_of()
    }

    /// Who should lead when this node leaves: the most advanced other voter that is heard from
    /// (`LIN-14`).
    pub(crate) fn successor(&self) -> Option<NodeId> {
        let status = self.consensus.status();
        if status.role != Role::Leader {
            return None;
        }
        let voters = &self.machine.conf().voters;
        let others = status.peers.iter().filter(|peer| peer.active && peer.id != self.me.node);
        others
            .filter(|peer| voters.contains(&peer.id))
            .max_by_key(|peer| peer.matched)
            .map(|peer| peer.id)
    }
}
