//! Members from outside, from one moment to the next: what is rare shows where they change.

use std::collections::BTreeMap;

use super::{Counts, Mark};
use crate::core::replica::Replica;
use crate::core::replica::consensus::Role;
use crate::core::replica::envelope::{Body, ChunkStage};
use crate::core::replica::io::Persist;
use crate::core::replica::tally::Tally;
use crate::ids::{Index, NodeId, Term};
use crate::sim::seen::Seen;
use crate::storage::WalStats;

/// A time in which a member led, and another did in a higher term.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reign {
    pub(super) member: NodeId,
    pub(super) from: u64,
    pub(super) to: u64,
}

/// See the top of the file. Members by their place.
#[derive(Debug)]
pub(super) struct Watch {
    members: Vec<Member>,
    /// Who stood for election in a term that has elected nobody yet: a bit for each.
    stood: BTreeMap<Term, u64>,
    /// Who was elected last.
    leader: Option<usize>,
    /// Who was last told to stand for election at once.
    handover: Option<usize>,
    /// No member was up, and nobody has led since.
    dark: bool,
    reigns: Vec<Reign>,
}

/// A member at its last turn.
#[derive(Debug)]
struct Member {
    id: NodeId,
    up: bool,
    role: Role,
    term: Term,
    /// The end of its log, in memory and on its disk.
    last: (Index, Term),
    durable: (Index, Term),
    /// Callers' writes whose fate is open.
    open_writes: usize,
    tally: Tally,
    log: WalStats,
    /// A sync takes too long.
    overdue: bool,
    /// The last transfer of a snapshot that it said anything about.
    transfer: u64,
    /// It halted because its disk was full, and has not applied anything since.
    full: bool,
    /// What it had applied when it opened.
    opened: Index,
    /// Since when it leads although another does in a higher term.
    deposed: Option<u64>,
}

impl Member {
    fn new(id: NodeId) -> Self {
        Self {
            id,
            up: false,
            role: Role::Follower,
            term: Term::default(),
            last: Default::default(),
            durable: Default::default(),
            open_writes: 0,
            tally: Tally::default(),
            log: WalStats::default(),
            overdue: false,
            transfer: 0,
            full: false,
            opened: Index::default(),
            deposed: None,
        }
    }

    fn leads(&self) -> bool {
        self.up && self.role == Role::Leader
    }

    fn has_unsynced(&self) -> bool {
        self.last != self.durable
    }
}

impl Watch {
    pub(super) fn new(members: impl IntoIterator<Item = NodeId>) -> Self {
        Self {
            members: members.into_iter().map(Member::new).collect(),
            stood: BTreeMap::new(),
            leader: None,
            handover: None,
            dark: false,
            reigns: Vec::new(),
        }
    }

    /// Those that are over.
    pub(super) fn reigns(&self) -> &[Reign] {
        &self.reigns
    }

    pub(super) fn see(&mut self, now: u64, seen: &Seen<'_>, counts: &mut Counts) {
        match *seen {
            Seen::Opened { node, replica } => self.opened(node, replica),
            Seen::Durable { node, batch } => self.durable(node, batch, counts),
            Seen::Turned { node, replica } => self.turned(now, node, replica, counts),
            Seen::Ended { node } => self.ended(now, node, counts),
        }
    }

    fn place(&self, id: NodeId) -> Option<usize> {
        self.members.iter().position(|member| member.id == id)
    }

    fn member(&mut self, id: NodeId) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id)
    }

    // ---- what is shown

    fn opened(&mut self, id: NodeId, replica: &Replica) {
        let look = replica.look();
        let Some(member) = self.member(id) else { return };
        *member = Member {
            up: true,
            role: look.log.role,
            term: look.log.term,
            last: look.last(),
            durable: look.last(),
            opened: look.applied.0,
            full: member.full,
            ..Member::new(id)
        };
    }

    fn durable(&mut self, id: NodeId, batch: &[Persist], counts: &mut Counts) {
        let Some(member) = self.member(id) else { return };
        for persist in batch {
            if let Some(mark) = &persist.install {
                counts.hit(Mark::SnapshotInstalled);
                if member.open_writes > 0 {
                    counts.hit(Mark::SnapshotUnderWrites);
                }
                member.durable = (mark.index, mark.term);
            }
            let (Some(first), Some(last)) = (persist.entries.first(), persist.entries.last())
            else {
                continue;
            };
            if first.index <= member.durable.0 {
                counts.hit(Mark::EntriesReplaced);
            }
            member.durable = (last.index, last.term);
        }
    }

    fn turned(&mut self, now: u64, id: NodeId, replica: &Replica, counts: &mut Counts) {
        let Some(place) = self.place(id) else { return };
        let Some(member) = self.members.get_mut(place) else { return };
        let look = replica.look();
        member.last = look.last();
        member.open_writes = replica.open_writes();
        member.count(replica.tally(), counts);
        if member.full && look.applied.0 > member.opened {
            member.full = false;
            counts.hit(Mark::RoomAgain);
        }
        let (role, term) = (look.log.role, look.log.term);
        if (role, term) == (member.role, member.term) {
            return;
        }
        (member.role, member.term) = (role, term);
        self.end_reign(now, place);
        match role {
            Role::Candidate => *self.stood.entry(term).or_default() |= 1 << place,
            Role::Leader => self.elected(now, place, replica, counts),
            Role::Follower | Role::PreCandidate => {}
        }
    }

    fn ended(&mut self, now: u64, id: NodeId, counts: &mut Counts) {
        let Some(place) = self.place(id) else { return };
        self.end_reign(now, place);
        let Some(member) = self.members.get_mut(place) else { return };
        if member.leads() && member.has_unsynced() {
            counts.hit(Mark::LeaderEndsUnsynced);
        }
        let was_up = std::mem::take(&mut member.up);
        self.dark |= was_up && self.members.len() > 1 && self.members.iter().all(|it| !it.up);
    }

    // ---- elections

    fn elected(&mut self, now: u64, place: usize, replica: &Replica, counts: &mut Counts) {
        let look = replica.look();
        let (term, commit) = (look.log.term, look.log.commit);
        // What it had before: an entry of its own term is there already.
        let inherited = look.log.entries.iter().rev().find(|entry| entry.term < term);
        let inherited = inherited.map_or(look.log.base.0, |entry| entry.index);
        if inherited > commit {
            counts.hit(Mark::EntriesInherited);
        }
        let mut others = self.members.iter().enumerate().filter(|(other, _)| *other != place);
        if others.any(|(_, other)| other.up && other.last.0 > inherited) {
            counts.hit(Mark::LongerLog);
        }
        self.count_elections(term, counts);
        self.replace_leader(now, place, term, counts);
        if std::mem::take(&mut self.dark) {
            counts.hit(Mark::LightAgain);
        }
        if self.handover.take() == Some(place) {
            counts.hit(Mark::Handover);
        }
    }

    /// Whoever stood in an earlier term has not won.
    fn count_elections(&mut self, term: Term, counts: &mut Counts) {
        let later = self.stood.split_off(&term);
        for candidates in std::mem::replace(&mut self.stood, later).into_values() {
            counts.hit(Mark::NobodyElected);
            if candidates.count_ones() > 1 {
                counts.hit(Mark::SplitVote);
            }
        }
        self.stood.remove(&term);
    }

    fn replace_leader(&mut self, now: u64, place: usize, term: Term, counts: &mut Counts) {
        let before = self.leader.replace(place).filter(|before| *before != place);
        if let Some(before) = before.and_then(|before| self.members.get(before))
            && before.up
        {
            if before.has_unsynced() {
                counts.hit(Mark::LeaderLeavesUnsynced);
            }
            if before.overdue {
                counts.hit(Mark::LeaderLeavesSlowDisk);
            }
        }
        let rivals = self.members.iter_mut().enumerate();
        let mut superior = None;
        for (_, rival) in rivals.filter(|(other, rival)| *other != place && rival.leads()) {
            counts.hit(Mark::TwoLeaders);
            if rival.term < term {
                rival.deposed.get_or_insert(now);
            } else {
                superior = Some(now);
            }
        }
        if let Some(member) = self.members.get_mut(place) {
            member.deposed = superior;
        }
    }

    fn end_reign(&mut self, now: u64, place: usize) {
        let Some(member) = self.members.get_mut(place) else { return };
        if let Some(from) = member.deposed.take() {
            self.reigns.push(Reign { member: member.id, from, to: now });
        }
    }

    // ---- what else is noticed

    pub(super) fn said(&mut self, from: usize, to: NodeId, body: &Body, counts: &mut Counts) {
        match body {
            Body::Raft(message) if message.is_refused_pre_vote() => {
                counts.hit(Mark::PreVoteRefused);
            }
            Body::Raft(message) if message.is_handover() => self.handover = self.place(to),
            // The first thing that a receiver says of a transfer is how much it has already.
            Body::ChunkAck { transfer, have, stage: ChunkStage::Receiving } => {
                let Some(member) = self.members.get_mut(from) else { return };
                let known = std::mem::replace(&mut member.transfer, *transfer) == *transfer;
                if !known && *have > 0 {
                    counts.hit(Mark::SnapshotResumed);
                }
            }
            _ => {}
        }
    }

    pub(super) fn log(&mut self, place: usize, stats: WalStats, counts: &mut Counts) {
        let Some(member) = self.members.get_mut(place) else { return };
        let before = std::mem::replace(&mut member.log, stats);
        counts.add(Mark::SegmentCut, before.cuts, stats.cuts);
        counts.add(Mark::SegmentReused, before.reused, stats.reused);
    }

    pub(super) fn overdue(&mut self, place: usize, overdue: bool) {
        if let Some(member) = self.members.get_mut(place) {
            member.overdue = overdue;
        }
    }

    pub(super) fn halted_full(&mut self, place: usize) {
        if let Some(member) = self.members.get_mut(place) {
            member.full = true;
        }
    }
}

impl Member {
    /// Counts what it has done since its last turn.
    fn count(&mut self, now: Tally, counts: &mut Counts) {
        let before = std::mem::replace(&mut self.tally, now);
        if before == now {
            return;
        }
        counts.add(Mark::WriteMoved, before.writes.changed, now.writes.changed);
        counts.add(Mark::WriteRepeated, before.writes.silent, now.writes.silent);
        counts.add(Mark::RoundAgain, before.reads.changed, now.reads.changed);
        counts.add(Mark::QuestionAgain, before.reads.silent, now.reads.silent);
        counts.add(Mark::RepeatSkipped, before.repeats, now.repeats);
        counts.add(Mark::LateSkipped, before.superseded, now.superseded);
        counts.add(Mark::PlaceLeftBehind, before.deletions, now.deletions);
    }
}
