//! Consensus: what the cluster agrees on, as values in and values out.
//!
//! This room wraps the `raft` crate (0.7.0), and nothing outside of it names the crate. The
//! crate's state machine is sound where it is driven as its authors drive it, and panics or
//! loses data where it is not; what stands between are the rules R1 to R15, each cited where it
//! is kept.
//!
//! # The life of a proposal
//!
//! ```text
//!  propose([a, b])            one message, so one append per follower
//!    | drain
//!    +-> Send    append 5..=6   -> followers, at once: the leader's own disk is not awaited (R4)
//!    +-> Persist ticket 9: 5..=6 -> the log thread
//!  step(ack 6 from a follower)  a quorum has it, but only the disk lets us apply
//!  persisted(9)               R3: the crate is told first, then what waited leaves
//!    | drain
//!    +-> Send    append (commit 6) -> followers
//!    +-> Committed 5..=6          -> the machine
//! ```
//!
//! Whoever drives this gives inputs (`tick`, `step`, `propose`, `persisted`, ...) and then calls
//! [`Consensus::drain`], which appends [`Effect`]s to be carried out in their order. The order is
//! the promise: a message stands behind everything that it relies on.
//!
//! # Invariants
//!
//! - Nothing is promised before it is durable (R2). A follower's acknowledgement and everybody's
//!   votes wait for their tickets; `waiting.rs` keeps the books.
//! - A leader's messages leave at once, but not before its (term, vote) is durable (R4).
//! - The crate sees no message that a correct member would not have sent (R13, `check.rs`).
//! - A read round's context is used once, ever (R6, `reads.rs`).
//! - Committed entries are handed out contiguously, each once per boot, conf changes applied in
//!   their place (R7, R8, R10).
//! - No clock and no randomness: the same inputs give the same effects (`jitter.rs`).
//!
//! # What is not done
//!
//! Proposals, reads and transfers are not forwarded: their envelopes go to the leader by the
//! replica's own ways. The crate's leases are not used (R5), nor its priorities, group commit,
//! snapshot requests or asynchronous fetches: the tail in memory holds all that is asked for.

mod check;
mod conf;
mod jitter;
mod log;
mod logger;
#[cfg(feature = "sim")]
mod look;
mod reads;
mod ready;
mod show;
mod status;
mod tail;
mod waiting;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{self, MessageType};
use raft::{ProgressState, RawNode, ReadOnlyOption, SnapshotStatus, StateRole};

pub(crate) use self::check::Rejected;
use self::check::{Checks, Verdict};
#[cfg(test)]
pub(crate) use self::conf::ConfStep;
pub(crate) use self::conf::{ConfChange, ConfRefused};
use self::jitter::{Attempts, election_timeout};
use self::log::LogView;
#[cfg(feature = "sim")]
pub(crate) use self::look::LogLook;
use self::reads::Rounds;
#[cfg(test)]
pub(crate) use self::status::PeerState;
pub(crate) use self::status::{Role, Status};
pub(crate) use self::tail::Tail;
use self::waiting::Waiting;
pub(crate) use self::wire::Message;
use crate::entry::{ConfState, Entry, HardState, SnapshotMark};
use crate::error::{Error, Kind};
use crate::ids::{Index, NodeId, Term};

/// More entries behind than this, and a transfer would stop proposals for too long.
const TRANSFER_LAG_ENTRIES: u64 = 1_024;

/// Longer than any sane setting; keeps tick arithmetic away from its bounds.
const MAX_TICKS: usize = 1 << 20;

/// Where a member starts from: what recovery found, and the settings.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    /// Unique for ever; not used again after the disk was lost.
    pub(crate) id: NodeId,
    /// Decides the election timeouts and the nonce of read rounds. Differs from boot to boot.
    pub(crate) seed: u64,
    /// A follower campaigns after at least so many ticks without a leader, and less than twice.
    pub(crate) election_ticks: usize,
    pub(crate) heartbeat_ticks: usize,
    /// The most entry bytes in one append; a single larger entry still goes.
    pub(crate) max_append_bytes: u64,
    /// Appends on their way to one follower.
    pub(crate) max_inflight: usize,
    /// Proposals beyond this are refused until some commit. At least `max_append_bytes`.
    pub(crate) max_uncommitted_bytes: u64,
    /// The most entry bytes in one [`Effect::Committed`].
    pub(crate) max_apply_bytes: u64,
    pub(crate) hard_state: HardState,
    /// Where the log begins. All zero and empty for a joiner, that knows no member yet (R12).
    pub(crate) mark: SnapshotMark,
    /// What the machine was restored to: the index of `mark`.
    pub(crate) applied: Index,
    /// Contiguous from `mark.index + 1`.
    pub(crate) entries: Vec<Entry>,
}

/// Names a write to the log. Tickets rise; reporting one reports all before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// The message may leave now.
    Send { to: NodeId, message: Message },
    /// Write this, sync it, report the ticket. In order: first the snapshot named by `install`
    /// replaces the log, then the entries (the first replaces whatever stood at its index and
    /// after), with the hard state. Every one of them needs the sync.
    Persist {
        ticket: Ticket,
        entries: Vec<Entry>,
        hard_state: Option<HardState>,
        install: Option<SnapshotMark>,
    },
    /// Apply these. A conf change comes with the configuration as of its index; one that does
    /// not fit (the same for every member) leaves it as it was.
    Committed { entries: Vec<(Entry, Option<ConfState>)> },
    /// The round is confirmed: reads that joined it may be served once `index` is applied.
    ReadReady { round: u64, index: Index },
    /// Every open round is void.
    ReadsLost,
    /// Stream the snapshot of `mark` to the follower, then deliver it the message. Answer with
    /// [`Consensus::report_snapshot`] on every path: until then it gets nothing else (R14).
    SendSnapshot { to: NodeId, mark: SnapshotMark, message: Message },
    /// A follower needs a newer snapshot, or one that it is part of. Build one and report it
    /// with [`Consensus::snapshot_saved`]; asked once until then.
    WantSnapshot,
    /// The snapshot is durable and the log begins after it: swap the machine now.
    Install { mark: SnapshotMark },
    /// Free these, where nobody waits for it: a snapshot has taken their place.
    Discard { entries: Tail },
    /// The role, the term or the known leader changed.
    Role { role: Role, term: Term, leader: Option<NodeId> },
}

/// Why proposals were not taken. Nothing of the batch was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ProposeError {
    #[error("this member does not lead")]
    NotLeader,
    #[error("too many bytes are waiting to be committed")]
    Full,
    #[error("the leadership is being transferred")]
    Transferring,
    #[error("the disk has not answered for too long")]
    Stalled,
}

/// One member's part in the agreement.
pub(crate) struct Consensus {
    core: RawNode<LogView>,
    id: u64,
    seed: u64,
    election_ticks: usize,
    attempts: Attempts,
    rounds: Rounds,
    waiting: Waiting,
    /// The hard state as last handed to the log. `commit` may run ahead on our side: it is no
    /// promise, so it rides along with the next write.
    written: HardState,
    /// The hard state as of the last `Ready`.
    current: HardState,
    /// Everything up to here was handed out as committed, or is in an installed snapshot.
    handed_out: u64,
    /// A sync is overdue (raft-notes 9.2).
    overdue: bool,
    #[cfg(feature = "sim")]
    max_uncommitted_bytes: u64,
    /// What the last [`Effect::Role`] said.
    reported: (Role, Term, Option<NodeId>),
    effects: VecDeque<Effect>,
}

impl Consensus {
    /// Starts from what is durable.
    ///
    /// Fails if that contradicts itself or the settings break a rule of the crate: each of them
    /// is a panic there.
    pub(crate) fn new(start: Start) -> Result<Self, Error> {
        check_start(&start)?;
        let config = config(&start);
        let last = start.entries.last().map_or(start.mark.index, |entry| entry.index);
        // R11: the commit index may lag behind on disk, and may lead after a torn tail.
        let commit = start.hard_state.commit.max(start.applied).clamp(start.mark.index, last);
        let hard_state = HardState { commit, ..start.hard_state };
        let mark_index = start.mark.index.get();
        let log = LogView::new(start.mark, hard_state, start.entries);
        let core = RawNode::new(&config, log, &logger::logger())
            .map_err(|error| Error::config(format!("consensus cannot start: {error}")))?;
        Ok(Self {
            id: start.id.get(),
            seed: start.seed,
            election_ticks: start.election_ticks,
            attempts: Attempts::default(),
            rounds: Rounds::new(start.id.get(), start.seed),
            waiting: Waiting::default(),
            written: start.hard_state,
            current: hard_state,
            handed_out: mark_index,
            overdue: false,
            #[cfg(feature = "sim")]
            max_uncommitted_bytes: start.max_uncommitted_bytes,
            reported: (Role::Follower, hard_state.term, None),
            effects: VecDeque::new(),
            core,
        })
    }

    /// Time passes by one tick.
    pub(crate) fn tick(&mut self) {
        let raft = &self.core.raft;
        let (term, leads) = (raft.term, raft.state == StateRole::Leader);
        if !leads && !self.may_campaign() {
            return;
        }
        // The crate drew its own timeout whenever it reset; it looks at it only in `tick`.
        let attempt = self.attempts.in_term(term);
        let timeout = election_timeout(self.seed, self.id, term, attempt, self.election_ticks);
        let raft = &mut self.core.raft;
        raft.set_randomized_election_timeout(timeout);
        if !leads && raft.promotable() && raft.election_elapsed.saturating_add(1) >= timeout {
            self.attempts.one_more();
        }
        self.core.tick();
    }

    /// Stands for election at once if this member is the only voter: there is nobody to wait for
    /// (`BST-9`).
    pub(crate) fn stand_if_alone(&mut self) {
        if self.is_alone() && self.may_campaign() && self.core.raft.state != StateRole::Leader {
            // It fails only without a log to stand on, and then the next tick tries again.
            drop(self.core.campaign());
        }
    }

    /// Takes a message of another member. `from` is who sent it, as the transport knows.
    pub(crate) fn step(&mut self, from: NodeId, message: Message) -> Result<(), Rejected> {
        let mut m = message.0;
        // Over the wire neither is set; between members of one process both are.
        if m.to == 0 && m.from == 0 {
            (m.to, m.from) = (self.id, from.get());
        }
        if m.from != from.get() {
            return Err(Rejected::Invalid("the message names another sender"));
        }
        let checks = Checks {
            raft: &self.core.raft,
            rounds: &self.rounds,
            ballot_durable: self.ballot_durable(),
            may_campaign: self.may_campaign(),
        };
        if checks.check(&m)? == Verdict::Step {
            // The crate's own errors: a local kind, or an answer from a stranger.
            self.core.step(m).map_err(|_| Rejected::Invalid("refused by the core"))?;
        }
        Ok(())
    }

    /// Appends the batch to the log, if this member leads. An empty batch is nothing.
    pub(crate) fn propose(&mut self, batch: Vec<Bytes>) -> Result<(), ProposeError> {
        let entry = |data| eraftpb::Entry { data, ..Default::default() };
        self.propose_entries(batch.into_iter().map(entry).collect())
    }

    /// One `MsgPropose` for all: each makes the leader send an append to every follower.
    fn propose_entries(&mut self, entries: Vec<eraftpb::Entry>) -> Result<(), ProposeError> {
        let raft = &self.core.raft;
        // A follower of the crate would forward it: no answer, and maybe twice (raft-notes 1.6).
        if raft.state != StateRole::Leader {
            return Err(ProposeError::NotLeader);
        }
        if raft.lead_transferee.is_some() {
            return Err(ProposeError::Transferring);
        }
        if self.overdue {
            return Err(ProposeError::Stalled);
        }
        if entries.is_empty() {
            return Ok(());
        }
        let mut m = eraftpb::Message {
            msg_type: MessageType::MsgPropose,
            from: self.id,
            ..Default::default()
        };
        m.set_entries(entries.into());
        self.core.step(m).map_err(|_| ProposeError::Full)
    }

    /// Proposes a change of the members, if it would fit and nothing speaks against it.
    #[cfg_attr(not(test), expect(dead_code, reason = "changing the members has no call yet"))]
    pub(crate) fn propose_conf(&mut self, change: &ConfChange) -> Result<(), ConfRefused> {
        let raft = &self.core.raft;
        if raft.state != StateRole::Leader {
            return Err(ConfRefused::NotLeader);
        }
        // The crate would append an empty entry in its place and say yes (raft-notes 1.5).
        if raft.has_pending_conf() {
            return Err(ConfRefused::Pending);
        }
        let leader = NodeId::new(self.id);
        conf::check_proposal(raft.prs(), change, leader, raft.raft_log.committed)?;
        let entry = eraftpb::Entry {
            entry_type: eraftpb::EntryType::EntryConfChangeV2,
            data: change.encode(),
            ..Default::default()
        };
        self.propose_entries(vec![entry]).map_err(ConfRefused::Proposal)?;
        match self.core.raft.raft_log.unstable_entries().last() {
            Some(last) if last.entry_type == eraftpb::EntryType::EntryConfChangeV2 => Ok(()),
            _ => Err(ConfRefused::Pending),
        }
    }

    /// Begins a read round: reads that are waiting now may join it, later ones may not. `None`
    /// while this member does not lead, or has committed nothing in its term yet.
    pub(crate) fn start_read(&mut self) -> Option<u64> {
        let raft = &self.core.raft;
        let term = raft.term;
        // The crate drops what it cannot serve without a word (raft-notes 3.2).
        if raft.state != StateRole::Leader || !raft.promotable() || !raft.commit_to_current_term() {
            return None;
        }
        let known = raft.pending_read_count().saturating_add(raft.ready_read_count());
        let (round, context) = self.rounds.draw(term);
        let entry = eraftpb::Entry { data: context, ..Default::default() };
        let mut m = eraftpb::Message { msg_type: MessageType::MsgReadIndex, ..Default::default() };
        m.set_entries(vec![entry].into());
        self.core.step(m).ok()?;
        let raft = &self.core.raft;
        if raft.pending_read_count().saturating_add(raft.ready_read_count()) <= known {
            return None;
        }
        self.rounds.opened(round, term);
        Some(round)
    }

    /// Moves the leadership to `to`, if that can be quick.
    pub(crate) fn transfer(&mut self, to: NodeId) -> Result<(), Error> {
        let raft = &self.core.raft;
        let refuse = |why: &str| {
            Err(Error::new(Kind::Unavailable, format!("cannot transfer to member {to}: {why}")))
        };
        if raft.state != StateRole::Leader {
            return refuse("this member does not lead");
        }
        if !raft.prs().conf().voters().contains(to.get()) {
            return refuse("it is not a voter");
        }
        let last = raft.raft_log.last_index();
        match raft.prs().get(to.get()) {
            _ if to.get() == self.id => Ok(()),
            Some(peer) if !peer.recent_active => refuse("it has not been heard of"),
            Some(peer) if peer.state == ProgressState::Snapshot => refuse("it needs a snapshot"),
            Some(peer) if last.saturating_sub(peer.matched) > TRANSFER_LAG_ENTRIES => {
                refuse("it is too far behind")
            }
            _ => {
                self.core.transfer_leader(to.get());
                Ok(())
            }
        }
    }

    /// The connection to `peer` broke: what was on its way may be lost. Once per loss.
    pub(crate) fn unreachable(&mut self, peer: NodeId) {
        self.core.report_unreachable(peer.get());
    }

    /// What became of an [`Effect::SendSnapshot`] (R14): `sent` if the follower confirmed that it
    /// has stepped the message, else it failed, timed out or was given up.
    pub(crate) fn report_snapshot(&mut self, peer: NodeId, sent: bool) {
        let status = if sent { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.core.report_snapshot(peer.get(), status);
    }

    /// A snapshot of this member is durable and may be offered to followers from now on, as long
    /// as no newer one is reported.
    pub(crate) fn snapshot_saved(&mut self, mark: SnapshotMark) {
        // Only what was handed out can have been applied, and so be in an image.
        if mark.index.get() <= self.handed_out && conf::check(&mark.conf).is_ok() {
            self.core.mut_store().saved(mark);
        }
    }

    /// Drops entries up to and including `upto` from memory, or as far as the rules let it.
    ///
    /// Keep some behind the newest saved snapshot: a follower that lacks a dropped entry needs a
    /// snapshot that ends at the last dropped one or later.
    pub(crate) fn compact(&mut self, upto: Index) {
        let raft = &self.core.raft;
        // R10: beyond what was handed out, committed entries are skipped in silence; beyond the
        // crate's `applied`, a campaign panics.
        let mut upto = upto.get().min(self.handed_out).min(raft.raft_log.applied);
        // A follower that is being sent a snapshot continues right behind it (raft-notes 4.1).
        if raft.state == StateRole::Leader {
            for (_, peer) in raft.prs().iter().filter(|(_, p)| p.state == ProgressState::Snapshot) {
                upto = upto.min(peer.pending_snapshot);
            }
        }
        let entries = self.core.mut_store().compact(upto);
        self.discard(entries);
        let unstable = &mut self.core.raft.raft_log.unstable.entries;
        if unstable.is_empty() {
            // It never gives back what a burst took (raft-notes 1.8).
            unstable.shrink_to(1_024);
        }
    }

    fn discard(&mut self, entries: Tail) {
        if !entries.is_empty() {
            self.effects.push_back(Effect::Discard { entries });
        }
    }

    /// A sync has been out for too long, or is no longer (raft-notes 9.2). Until then a follower
    /// starts no election and a leader takes no proposals.
    pub(crate) fn disk_overdue(&mut self, overdue: bool) {
        self.overdue = overdue;
    }

    /// Whether an election may start here.
    fn may_campaign(&self) -> bool {
        !self.overdue && !self.is_restoring() && (!self.is_alone() || self.is_all_durable())
    }

    /// R9: a campaign between a snapshot's arrival and its being applied panics.
    fn is_restoring(&self) -> bool {
        self.waiting.is_installing() || self.core.snap().is_some()
    }

    /// Whether this member's own vote is a quorum, so that a campaign makes a leader at once.
    fn is_alone(&self) -> bool {
        let raft = &self.core.raft;
        raft.promotable() && raft.prs().conf().voters().ids().iter().all(|id| id == self.id)
    }

    /// The crate's `become_leader` asserts that the log is durable. With other voters that holds
    /// because the request for their votes waits for the disk (R2); a lone voter asks nobody.
    fn is_all_durable(&self) -> bool {
        let log = &self.core.raft.raft_log;
        self.waiting.is_idle()
            && log.unstable_entries().is_empty()
            && log.last_index() == log.persisted
    }

    /// Whether the current (term, vote) is on disk.
    fn ballot_durable(&self) -> bool {
        let raft = &self.core.raft;
        (raft.term, raft.vote) == (self.current.term.get(), self.current.vote.get())
            && self.waiting.is_durable(self.waiting.ballot())
    }
}

/// What of the start the crate would panic on.
fn check_start(start: &Start) -> Result<(), Error> {
    let Start { mark, hard_state, .. } = start;
    if start.id.get() == 0 {
        return Err(Error::config("the member id 0 means nobody"));
    }
    if start.election_ticks > MAX_TICKS {
        return Err(Error::config(format!(
            "an election timeout of {} ticks is more than {MAX_TICKS}",
            start.election_ticks
        )));
    }
    let joiner = mark.conf == ConfState::default();
    if joiner {
        // R12: a joiner with a log would replay it, find itself alone and elect itself.
        if mark.index.get() != 0 || mark.term.get() != 0 || !start.entries.is_empty() {
            return Err(Error::corrupt("a log without a configuration to read it in"));
        }
    } else {
        // R12: a log that starts at 0 can be replayed by a joiner; term 0 panics in pre-votes.
        if mark.index.get() == 0 || mark.term.get() == 0 {
            return Err(Error::corrupt("a configuration at the index or the term 0"));
        }
        conf::check(&mark.conf).map_err(|why| {
            Error::corrupt(format!("the configuration contradicts itself: {why}"))
        })?;
    }
    if start.applied != mark.index {
        return Err(Error::corrupt(format!(
            "the machine stands at {} and the log begins after {}",
            start.applied, mark.index
        )));
    }
    let mut before = (mark.index, mark.term);
    for entry in &start.entries {
        if entry.index != before.0.next() || entry.term < before.1 {
            return Err(Error::corrupt(format!(
                "the entry {} of term {} does not follow {} of term {}",
                entry.index, entry.term, before.0, before.1
            )));
        }
        before = (entry.index, entry.term);
    }
    if hard_state.term < before.1 || before.0.get().max(hard_state.term.get()) >= wire::MAX_POSITION
    {
        return Err(Error::corrupt(format!(
            "the log ends at {} of term {}, and the recorded term is {}",
            before.0, before.1, hard_state.term
        )));
    }
    Ok(())
}

fn config(start: &Start) -> raft::Config {
    raft::Config {
        id: start.id.get(),
        election_tick: start.election_ticks,
        heartbeat_tick: start.heartbeat_ticks,
        min_election_tick: start.election_ticks,
        max_election_tick: start.election_ticks.saturating_mul(2),
        applied: start.applied.get(),
        max_size_per_msg: start.max_append_bytes,
        max_inflight_msgs: start.max_inflight,
        // Both or neither: pre-votes alone do not protect a healthy leader (raft-notes 5.8).
        check_quorum: true,
        pre_vote: true,
        // R5: leases of the crate serve stale reads with perfect clocks.
        read_only_option: ReadOnlyOption::Safe,
        // Followers learn of commits at once: watchers there are waiting.
        skip_bcast_commit: false,
        // It ignores the size limit; proposals are batched before they get here.
        batch_append: false,
        priority: 0,
        max_uncommitted_size: start.max_uncommitted_bytes,
        max_committed_size_per_ready: start.max_apply_bytes,
    }
}
