//! What can be asked of consensus.

use raft::{ProgressState, StateRole};

use super::Consensus;
use crate::ids::{Index, NodeId, Term};

/// What a member is in the current term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Follower,
    /// Asks whether an election could be won, without disturbing anybody.
    PreCandidate,
    Candidate,
    Leader,
}

/// How a leader feeds a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerState {
    /// Looks for where the logs agree: one append per heartbeat.
    Probe,
    /// Sends ahead of the acknowledgements.
    Replicate,
    /// Waits for a snapshot to be reported (R14).
    Snapshot,
}

/// What a leader knows of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PeerProgress {
    pub(crate) id: NodeId,
    /// Replicated up to here, durably.
    pub(crate) matched: Index,
    /// The next entry to send.
    pub(crate) next: Index,
    pub(crate) state: PeerState,
    /// Heard of since the last check of the quorum.
    pub(crate) active: bool,
}

/// A view of consensus at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) role: Role,
    pub(crate) term: Term,
    pub(crate) leader: Option<NodeId>,
    pub(crate) vote: Option<NodeId>,
    /// Known to be committed; may exceed what is durable here.
    pub(crate) commit: Index,
    /// The end of the log, durable or not.
    pub(crate) last_index: Index,
    /// The first entry that is still in memory.
    pub(crate) first_index: Index,
    /// The end of what is durable here.
    pub(crate) persisted: Index,
    /// This member votes in the current configuration.
    pub(crate) voter: bool,
    /// This member is the only one that votes.
    pub(crate) sole_voter: bool,
    /// It leads and has committed an entry of its term: only then it may serve read rounds.
    pub(crate) committed_in_term: bool,
    /// The leadership is on its way to this member; proposals are refused.
    pub(crate) transferring: Option<NodeId>,
    /// The other members, by id; empty unless this member leads.
    pub(crate) peers: Vec<PeerProgress>,
}

impl Consensus {
    pub(crate) fn status(&self) -> Status {
        let raft = &self.core.raft;
        let log = &raft.raft_log;
        let (role, term, leader) = self.role();
        Status {
            role,
            term,
            leader,
            vote: known(raft.vote),
            commit: Index::new(log.committed),
            last_index: Index::new(log.last_index()),
            first_index: Index::new(log.first_index()),
            persisted: Index::new(log.persisted),
            voter: raft.promotable(),
            sole_voter: self.is_alone(),
            committed_in_term: role == Role::Leader && raft.commit_to_current_term(),
            transferring: raft.lead_transferee.and_then(known),
            peers: self.peers(),
        }
    }

    /// No other member can have acknowledged a write that this one has not applied: it leads, has
    /// committed in its term, and is the only voter.
    pub(crate) fn leads_alone(&self) -> bool {
        let raft = &self.core.raft;
        raft.state == StateRole::Leader && self.is_alone() && raft.commit_to_current_term()
    }

    /// In how many ticks it would vote for another than the leader that it follows.
    #[cfg(test)]
    pub(crate) fn loyal_ticks(&self) -> usize {
        let raft = &self.core.raft;
        if raft.leader_id == 0 {
            0
        } else {
            self.election_ticks.saturating_sub(raft.election_elapsed)
        }
    }

    /// What [`super::Effect::Role`] reports, without the cost of a whole [`Status`].
    pub(crate) fn role(&self) -> (Role, Term, Option<NodeId>) {
        let raft = &self.core.raft;
        let role = match raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        };
        (role, Term::new(raft.term), known(raft.leader_id))
    }

    fn peers(&self) -> Vec<PeerProgress> {
        let raft = &self.core.raft;
        if raft.state != StateRole::Leader {
            return Vec::new();
        }
        let others = raft.prs().iter().filter(|(id, _)| **id != raft.id);
        let mut peers: Vec<_> = others
            .map(|(id, peer)| PeerProgress {
                id: NodeId::new(*id),
                matched: Index::new(peer.matched),
                next: Index::new(peer.next_idx),
                state: match peer.state {
                    ProgressState::Probe => PeerState::Probe,
                    ProgressState::Replicate => PeerState::Replicate,
                    ProgressState::Snapshot => PeerState::Snapshot,
                },
                active: peer.recent_active,
            })
            .collect();
        peers.sort_unstable_by_key(|peer| peer.id);
        peers
    }
}

fn known(id: u64) -> Option<NodeId> {
    (id != 0).then(|| NodeId::new(id))
}
