//! What the judges of a simulation look at: the log in memory, and how much is held of what must
//! not grow.

use raft::StateRole;

use super::tail::Tail;
use super::waiting::MAX_PARKED;
use super::{Consensus, Role};
use crate::core::replica::sizes::Size;
use crate::entry::HardState;
use crate::ids::{Index, NodeId, Term};

/// A member's log and ballot at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogLook<'a> {
    pub(crate) role: Role,
    pub(crate) term: Term,
    /// `NodeId(0)` for nobody.
    pub(crate) vote: NodeId,
    /// As last handed to the log; in a member that has just opened, as the log had it.
    pub(crate) written: HardState,
    pub(crate) commit: Index,
    /// The position before the first entry.
    pub(crate) base: (Index, Term),
    /// From there on, durable or not.
    pub(crate) entries: &'a Tail,
}

impl Consensus {
    pub(crate) fn look(&self) -> LogLook<'_> {
        let raft = &self.core.raft;
        let (base, entries) = raft.raft_log.store.held();
        LogLook {
            role: self.role().0,
            term: Term::new(raft.term),
            vote: NodeId::new(raft.vote),
            written: self.written,
            commit: Index::new(raft.raft_log.committed),
            base,
            entries,
        }
    }

    /// How much there is of what has a bound.
    pub(crate) fn sizes(&self, out: &mut Vec<Size>) {
        let raft = &self.core.raft;
        // The replica asks one question at a time, and the crate forgets those of other terms.
        out.push(Size::new("open read rounds", self.rounds.len(), 1));
        let asked = raft.pending_read_count().saturating_add(raft.ready_read_count());
        out.push(Size::new("read rounds in the core", asked, 1));
        // And a snapshot's message for each member.
        let most = MAX_PARKED.saturating_add(raft.prs().iter().len());
        out.push(Size::new("messages that wait for the disk", self.waiting.parked(), most));
        if raft.state == StateRole::Leader {
            let flying = raft.prs().iter().map(|(_, peer)| peer.ins.count()).max();
            let flying = flying.unwrap_or(0);
            out.push(Size::new("appends on their way to one member", flying, raft.max_inflight));
            // When nothing is uncommitted the crate takes a batch of any size; and the largest is
            // everything that callers and members may have waiting at a time, each as much.
            let most = self.max_uncommitted_bytes.saturating_mul(2);
            let size = raft.uncommitted_size() as u64;
            out.push(Size { what: "uncommitted bytes", is: size, most });
        }
        out.push(Size { what: "bytes not durable yet", is: self.volatile(), most: self.window() });
    }

    /// Bytes of entries that the log has not reported durable.
    fn volatile(&self) -> u64 {
        let log = &self.core.raft.raft_log;
        let (_, entries) = log.store.held();
        let new = entries.iter().rev().take_while(|entry| entry.index.get() > log.persisted);
        new.fold(0, |sum, entry| sum.saturating_add(entry.data.len() as u64))
    }

    /// The most that can be on its way to the disk: what a leader sends without an answer, once
    /// more after a change of the leader, with some more for heartbeats that each let one append
    /// go until the disk counts as overdue.
    fn window(&self) -> u64 {
        let raft = &self.core.raft;
        let appends = (raft.max_inflight as u64).saturating_add(64);
        let window = raft.max_msg_size.saturating_mul(2).saturating_mul(appends);
        window.max(self.max_uncommitted_bytes).saturating_mul(2)
    }
}
