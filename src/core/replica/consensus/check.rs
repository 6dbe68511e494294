//! What a message must fulfil before the `raft` crate sees it (R13).
//!
//! The crate trusts its peers: about twenty distinct panics and several silent damages are one
//! bad message away (raft-notes 7.3). Each check below names what would happen without it.
//! A message that no correct member sends is invalid: it is dropped and counted. One that is
//! right by itself and contradicts what this member holds is fatal: this member has lost log
//! that it acknowledged, or has diverged, and must not go on.

use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{ProgressState, Raft, StateRole};

use super::conf::{self, ConfChange};
use super::log::{self, LogView};
use super::reads::Rounds;
use super::wire::{MAX_POSITION, travels};
use crate::ids::NodeId;

/// A term further ahead than this is no term that elections have reached.
const MAX_TERM_JUMP: u64 = 1 << 32;

/// Why a message was not stepped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    /// No correct member sends this, or not now: drop it and count it.
    #[error("invalid message: {0}")]
    Invalid(&'static str),
    /// This member must stop: its log lost what it acknowledged, or differs from the cluster's.
    #[error("{0}")]
    Fatal(String),
}

/// What to do with a message that is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Step,
    /// True but stale: stepping it would only do harm.
    Ignore,
}

/// What the checks look at.
pub(super) struct Checks<'a> {
    pub(super) raft: &'a Raft<LogView>,
    pub(super) rounds: &'a Rounds,
    /// The current (term, vote) is durable.
    pub(super) ballot_durable: bool,
    /// An election may start here now (R9, and the guards of `Consensus::may_campaign`).
    pub(super) may_campaign: bool,
}

type Checked = Result<Verdict, Rejected>;

fn invalid<T>(why: &'static str) -> Result<T, Rejected> {
    Err(Rejected::Invalid(why))
}

fn require(holds: bool, why: &'static str) -> Result<(), Rejected> {
    if holds { Ok(()) } else { invalid(why) }
}

impl Checks<'_> {
    /// All checks of raft-notes 7.3, in its order.
    pub(super) fn check(&self, m: &Message) -> Checked {
        // Another member's message is accepted as ours otherwise.
        require(m.to == self.raft.id, "not for this member")?;
        // An acknowledgement "from ourselves" commits entries that are not durable here.
        require(m.from != 0 && m.from != self.raft.id, "the sender is nobody, or this member")?;
        // Local kinds act on the state machine directly, and proposals, read requests and
        // transfers panic with the wrong fields: none of them travels.
        require(travels(m.msg_type), "a kind of message that does not travel")?;
        self.numbers(m)?;
        if is_answer(m.msg_type) {
            // The core refuses these itself, and unwraps a member's progress in places.
            require(self.raft.prs().get(m.from).is_some(), "an answer from a stranger")?;
        }
        match m.msg_type {
            // The crate answers these by their term alone, or ignores them.
            _ if m.term < self.raft.term => Ok(Verdict::Step),
            MessageType::MsgHeartbeat => self.heartbeat(m),
            MessageType::MsgAppend => self.append(m),
            MessageType::MsgSnapshot => self.snapshot(m),
            MessageType::MsgAppendResponse => self.append_answer(m),
            MessageType::MsgHeartbeatResponse => self.heartbeat_answer(m),
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => candidacy(m),
            MessageType::MsgTimeoutNow => self.timeout_now(m),
            _ => self.vote(m),
        }
    }

    fn numbers(&self, m: &Message) -> Result<(), Rejected> {
        // Term 0 means "local": it bypasses every term check and can reset a candidate's term.
        require(m.term >= 1, "no term")?;
        // Terms and indices are added to without checks; near the end they wrap or panic.
        let fields = [m.term, m.log_term, m.index, m.commit, m.commit_term, m.reject_hint];
        require(fields.iter().all(|n| *n < MAX_POSITION), "a term or index out of bounds")?;
        let reach = self.raft.term.saturating_add(MAX_TERM_JUMP);
        require(m.term <= reach, "a term far ahead of ours")?;
        // A forged wish for a snapshot stops replication to its sender; ours never wish.
        require(m.request_snapshot == 0, "a request for a snapshot")
    }

    /// A term has one leader. Stepped, a second one's messages would be obeyed.
    fn sole_leader(&self, m: &Message) -> Result<(), Rejected> {
        let raft = self.raft;
        let rival = m.term == raft.term
            && (raft.state == StateRole::Leader
                || (raft.leader_id != 0 && raft.leader_id != m.from));
        require(!rival, "a second leader in one term")
    }

    fn heartbeat(&self, m: &Message) -> Checked {
        self.sole_leader(m)?;
        // A leader's commit for us never exceeds what we acknowledged: the crate panics.
        let last = self.raft.raft_log.last_index();
        if m.commit > last {
            return Err(Rejected::Fatal(format!(
                "member {} counts on entries up to {} here in term {}, and the log ends at \
                 {last}: acknowledged entries are lost",
                m.from, m.commit, m.term
            )));
        }
        Ok(Verdict::Step)
    }

    fn append(&self, m: &Message) -> Checked {
        self.sole_leader(m)?;
        // Out of range the crate takes every term for 0, so a log term of 0 matches anything:
        // a panic with entries, a false acknowledgement without. No log begins at 0 (R12).
        require(m.index >= 1 && m.log_term >= 1, "an append before the start of the log")?;
        // The crate slices and counts by position; an index of 0 is swallowed, then falsely
        // acknowledged.
        let mut before = (m.index, m.log_term);
        for entry in &m.entries {
            let next = before.0.saturating_add(1);
            require(entry.index == next && next < MAX_POSITION, "entries with a gap")?;
            require(entry.term >= before.1, "entries whose terms fall")?;
            require(well_formed(entry), "an entry that no leader appends")?;
            before = (entry.index, entry.term);
        }
        require(before.1 <= m.term, "entries of a term after the leader's")?;
        // What is committed here is in every later leader's log: the crate panics on a conflict.
        self.agrees(m, m.index, m.log_term)?;
        for entry in m.entries.iter().take_while(|e| e.index <= self.raft.raft_log.committed) {
            self.agrees(m, entry.index, entry.term)?;
        }
        Ok(Verdict::Step)
    }

    /// A committed position that is still in our log must have the term that the leader says.
    fn agrees(&self, m: &Message, index: u64, term: u64) -> Result<(), Rejected> {
        let log = &self.raft.raft_log;
        let known = log.first_index().saturating_sub(1)..=log.committed;
        if known.contains(&index) && !log.match_term(index, term) {
            return Err(Rejected::Fatal(format!(
                "the entry {index} is committed here with term {}, and member {} leads term {} \
                 with term {term} there: the logs have diverged",
                log.term(index).unwrap_or(0),
                m.from,
                m.term
            )));
        }
        Ok(())
    }

    fn snapshot(&self, m: &Message) -> Checked {
        self.sole_leader(m)?;
        let snapshot = m.get_snapshot();
        let mark = log::mark_of(snapshot);
        let (index, term) = (mark.index.get(), mark.term.get());
        require(snapshot.data.is_empty(), "a snapshot with data in its message")?;
        require((1..MAX_POSITION).contains(&index), "a snapshot out of bounds")?;
        require((1..=m.term).contains(&term), "a snapshot of a term after the leader's")?;
        // The crate panics on a configuration that contradicts itself.
        conf::check(&mark.conf).map_err(Rejected::Invalid)?;
        // The crate ignores such a snapshot, and the leader would send it for ever.
        let member = conf::contains(&mark.conf, NodeId::new(self.raft.id));
        require(member, "a snapshot that this member is not part of")?;
        self.agrees(m, index, term)?;
        Ok(Verdict::Step)
    }

    /// Whether this member leads the message's term. Only then the core looks into an answer:
    /// one to an earlier boot of ours, that led and lost its undurable tail, is ignored.
    fn leads(&self, m: &Message) -> bool {
        self.raft.state == StateRole::Leader && m.term == self.raft.term
    }

    fn append_answer(&self, m: &Message) -> Checked {
        let raft = self.raft;
        if !self.leads(m) {
            return Ok(Verdict::Step);
        }
        // The crate would count entries as replicated that do not exist, and send appends that
        // panic the follower.
        require(m.index <= raft.raft_log.last_index(), "an acknowledgement beyond the log")?;
        require(m.reject_hint <= m.index, "a hint beyond what was rejected")?;
        require(m.log_term <= m.term, "a hint of a later term")?;
        // A late rejection of something acknowledged since would set the next index to it or
        // below (tikv/raft-rs 555).
        let stale = raft.prs().get(m.from).is_some_and(|peer| {
            m.reject && m.index <= peer.matched && peer.state != ProgressState::Replicate
        });
        Ok(if stale { Verdict::Ignore } else { Verdict::Step })
    }

    fn heartbeat_answer(&self, m: &Message) -> Checked {
        // R6: a context that we did not draw in this term confirms no round of ours.
        let ours = m.context.is_empty() || self.rounds.issued(&m.context, self.raft.term);
        require(ours || !self.leads(m), "the answer to a read round that is not ours")?;
        Ok(Verdict::Step)
    }

    fn timeout_now(&self, m: &Message) -> Checked {
        let raft = self.raft;
        // From anyone else it is an election at any time that anyone likes.
        let led = m.from == raft.leader_id && m.term == raft.term;
        require(led, "a call to campaign from somebody who does not lead")?;
        // R9: a campaign while a snapshot is being installed panics.
        let may = raft.promotable() && self.may_campaign;
        require(may, "a call to campaign that cannot be followed now")?;
        Ok(Verdict::Step)
    }

    fn vote(&self, m: &Message) -> Checked {
        require(m.commit_term <= m.term, "a commit of a later term")?;
        // R3: our request leaves when our own vote is durable, so an answer before that answers
        // nothing; counted, it would make a leader whose own log is not durable: a panic.
        let real = m.msg_type == MessageType::MsgRequestVoteResponse && m.term == self.raft.term;
        let asked = self.raft.state != StateRole::Candidate || self.ballot_durable;
        require(!real || asked, "a vote that was not asked for")?;
        Ok(Verdict::Step)
    }
}

fn is_answer(kind: MessageType) -> bool {
    matches!(
        kind,
        MessageType::MsgAppendResponse
            | MessageType::MsgHeartbeatResponse
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVoteResponse
    )
}

fn candidacy(m: &Message) -> Checked {
    // A candidate is a voter, and a voter's log starts at index 1, term 1 or later (R12).
    require(m.index >= 1 && m.log_term >= 1, "a candidate without a log")?;
    require(m.log_term <= m.term, "a candidate whose log is of a later term")?;
    require(m.commit <= m.index && m.commit_term <= m.log_term, "a commit beyond the log")?;
    Ok(Verdict::Step)
}

/// Conf changes are read again when they are applied: what cannot be read then is refused now.
fn well_formed(entry: &Entry) -> bool {
    let plain = entry.context.is_empty();
    plain
        && match entry.entry_type {
            EntryType::EntryNormal => true,
            EntryType::EntryConfChangeV2 => ConfChange::decode(entry.data.clone()).is_ok(),
            EntryType::EntryConfChange => false,
        }
}
