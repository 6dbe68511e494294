//! One member's part in the cluster: inputs in, outputs out.
//!
//! A [`Replica`] is a value. It owns the consensus state and the machine, decides everything and
//! touches nothing: whoever drives it tells it what happened ([`Input`]), and obeys what it asks
//! for ([`Output`]). The runtime drives it with threads and a disk, a simulator without either.
//!
//! ```text
//!            Write, Read, Deliver, Persisted, Time ...
//!                              │ handle(now, input)
//!  ┌───────────────────────────▼──────────────────────────────┐
//!  │ proposals   writes from stamp to answer                  │
//!  │ reads       rounds that make a local read safe           │
//!  │ snapshots   transfers of whole states                    │
//!  │ timekeeper  moments to ticks                             │
//!  │ retention   compaction by itself                         │
//!  │ leases      their clock, and those that are kept alive   │
//!  │ consensus   the raft crate behind its guards ──► effects │
//!  │ machine     committed entries become state    ◄──┘       │
//!  └───────────────────────────┬──────────────────────────────┘
//!                              │ poll()
//!            Send, Persist, Reply, TakeSnapshot ...
//! ```
//!
//! How to drive it: any number of `handle`, then `poll` until it gives nothing. Inputs that are
//! given together are decided together: a hundred writes become one proposal, one append for
//! each follower and one sync. That is the whole of group commit; there is no timer in it.
//!
//! Invariants:
//! * an answer to a write is polled only after the entry was applied here and published, and an
//!   entry is applied only when it is durable here and on a quorum;
//! * nothing that promises something about this member's disk leaves before the disk has it (R2,
//!   R4): such envelopes come out after the `Persisted` that covers them;
//! * an error from `handle` or `poll` means that this member cannot go on. It is never a remote
//!   party's doing: bad envelopes are dropped and counted.
//!
//! Not done here: growing and shrinking the membership has its guards in `consensus`, and no
//! call that reaches them yet.

pub(crate) mod consensus;
mod effects;
pub(crate) mod envelope;
pub(crate) mod io;
mod kept;
mod leases;
mod leftovers;
#[cfg(feature = "sim")]
pub(crate) mod look;
mod offers;
mod proposals;
mod reads;
mod renewals;
mod retention;
mod settings;
#[cfg(feature = "sim")]
pub(crate) mod sizes;
mod snapshots;
mod status;
#[cfg(feature = "sim")]
pub(crate) mod tally;
mod ticks;
mod timekeeper;

#[cfg(test)]
mod script;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use self::consensus::{Consensus, Effect, Rejected, Role};
use self::envelope::{Address, Body, ChunkStage, Envelope};
use self::io::{Answer, Input, Output, SnapshotFile, Token};
use self::kept::KeptLeases;
pub(crate) use self::proposals::Me;
use self::proposals::{Proposals, Whose};
use self::reads::{Reads, Waiter};
use self::renewals::Renewals;
pub(crate) use self::retention::Retain;
use self::retention::{Retention, Watched};
pub(crate) use self::settings::{Restored, Settings};
use self::snapshots::{Offered, Pace, Snapshots, Step};
use self::status::Dropped;
use self::ticks::Ticks;
use self::timekeeper::Timekeeper;
use crate::core::lease::Kept;
use crate::core::machine::Machine;
use crate::core::mvcc::Reader;
use crate::core::watch::Watches;
use crate::error::{Error, Kind, Result};
use crate::ids::{Incarnation, NodeId, Term};
use crate::planted::{Bug, planted};
use crate::time::Instant;

/// See the top of the file.
pub(crate) struct Replica {
    settings: Settings,
    me: Me,
    address: Address,
    /// The latest moment that an input came with. Never falls.
    now: Instant,
    consensus: Consensus,
    machine: Machine,
    proposals: Proposals,
    reads: Reads,
    snapshots: Snapshots,
    time: Timekeeper,
    retention: Retention,
    ticks: Ticks,
    renewals: Renewals,
    kept: KeptLeases,
    watches: Arc<Watches>,
    watched: Option<Watched>,
    /// When there was a leader last.
    led_at: Instant,
    /// What consensus last said of itself.
    standing: Standing,
    /// Forwarded writes that wait to be proposed here.
    forwarded: Vec<Bytes>,
    /// Any of those begins the time of a lease.
    forwarded_begins: bool,
    /// The first incarnation heard from each member since this node opened; what the machine
    /// has bound takes precedence.
    heard: BTreeMap<NodeId, Incarnation>,
    /// The newest durable snapshot.
    saved: Option<SnapshotFile>,
    /// A snapshot is being written, of a log of this many bytes since the one before.
    taking: Option<u64>,
    /// A follower needs a snapshot newer than `saved`.
    wanted: bool,
    /// Bytes of entries applied since the last snapshot was begun.
    log_bytes: u64,
    /// The entry that tells the cluster this node's incarnation is on its way.
    announced: bool,
    /// Something was applied that readers cannot see yet.
    unpublished: bool,
    /// A caller waits for leadership to reach a member.
    transfer: Option<Moving>,
    /// Consensus has been given a received snapshot and has not said yet what it makes of it.
    stepped_snapshot: bool,
    dropped: Dropped,
    /// Since when the disk has not answered.
    overdue_since: Option<Instant>,
    #[cfg(feature = "sim")]
    tally: tally::Tally,
    /// Inputs were handled since the last settling.
    dirty: bool,
    effects: VecDeque<Effect>,
    steps: Vec<Step>,
    out: VecDeque<Output>,
}

/// Role, term and leader, as last heard from consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    role: Role,
    term: Term,
    leader: Option<NodeId>,
}

#[derive(Debug)]
struct Moving {
    token: Token,
    to: NodeId,
    deadline: Instant,
}

impl Replica {
    /// Puts a member together from what its disk held.
    pub(crate) fn new(settings: Settings, restored: Restored, now: Instant) -> Result<Self> {
        let Restored { me, cluster, start, mut machine, saved } = restored;
        machine.answer_to(me.node, me.boot);
        let ticks = start.election_ticks;
        let consensus = Consensus::new(start)?;
        let status = consensus.status();
        let pace = Pace {
            chunk_bytes: settings.chunk_bytes(),
            retry: settings.retry(),
            patience: settings.patience(),
        };
        let watches = Arc::new(Watches::new(machine.reader()));
        let standing = Standing { role: status.role, term: status.term, leader: status.leader };
        let mut replica = Self {
            me,
            address: Address { cluster, node: me.node, incarnation: me.incarnation },
            now,
            consensus,
            machine,
            proposals: Proposals::new(me),
            reads: Reads::new(me.boot),
            snapshots: Snapshots::new(pace, me.boot),
            time: Timekeeper::new(now, settings.tick, ticks),
            retention: Retention::new(settings.retain),
            ticks: Ticks::new(now, settings.election),
            renewals: Renewals::default(),
            kept: KeptLeases::new(settings.heartbeat),
            watches,
            watched: None,
            led_at: now,
            standing,
            forwarded: Vec::new(),
            forwarded_begins: false,
            heard: BTreeMap::new(),
            saved: None,
            taking: None,
            wanted: false,
            log_bytes: 0,
            announced: false,
            unpublished: false,
            transfer: None,
            stepped_snapshot: false,
            dropped: Dropped::default(),
            overdue_since: None,
            #[cfg(feature = "sim")]
            tally: tally::Tally::default(),
            dirty: true,
            effects: VecDeque::new(),
            steps: Vec::new(),
            out: VecDeque::new(),
            settings,
        };
        if let Some(file) = saved {
            replica.consensus.snapshot_saved(file.mark.clone());
            replica.saved = Some(file);
        }
        replica.consensus.stand_if_alone();
        replica.tell_members();
        Ok(replica)
    }

    /// Takes one input. What follows from it comes out of [`poll`](Self::poll).
    ///
    /// `now` must not be before the input: whoever drives takes what waits first and looks at the
    /// clock then. With an older `now` a leader would put too little time into the tick in front
    /// of a renewal, and count the rest once more in the next one: the lease would end before its
    /// holder's deadline (`LSE-11`).
    pub(crate) fn handle(&mut self, now: Instant, input: Input) -> Result<()> {
        self.now = self.now.max(now);
        self.dirty = true;
        match input {
            Input::Time => {}
            Input::Deliver(envelope) => self.deliver(&envelope)?,
            Input::Write { token, payload, deadline } => {
                let whose = Whose::Caller(token);
                if let Err(error) = self.proposals.push(whose, payload, deadline, self.now) {
                    let answer = Answer::Failed(error);
                    self.out.push_back(Output::Reply { token, answer });
                }
            }
            Input::Read { token, deadline } => self.reads.push(Waiter::Local { token, deadline }),
            Input::Transfer { token, to, deadline } => self.move_leader(token, to, deadline),
            Input::Pin { token } => {
                let answer = Answer::Pinned(self.machine.mvcc().pin());
                self.out.push_back(Output::Reply { token, answer });
            }
            Input::Look { token } => {
                self.out.push_back(Output::Reply { token, answer: Answer::Done });
            }
            Input::KeepAlive { token, lease, deadline } => self.keep_alive(token, lease, deadline),
            Input::Open { token, how, deadline } => self.open_lease(token, how, deadline),
            Input::Unreachable(peer) => self.consensus.unreachable(peer),
            Input::Persisted(ticket) => self.consensus.persisted(ticket),
            Input::DiskOverdue(overdue) => {
                self.overdue_since = overdue.then_some(self.now);
                self.consensus.disk_overdue(overdue);
            }
            Input::SnapshotTaken { file, oldest } => self.snapshot_taken(file, oldest),
            Input::ChunkRead { to, transfer, offset, bytes } => {
                self.steps.extend(self.snapshots.chunk_read(to, transfer, offset, bytes));
            }
            Input::ChunkLost { to, transfer } => {
                self.snapshots.chunk_lost(to, transfer, &mut self.steps);
            }
            Input::Staged { hash, have } => self.snapshots.staged(hash, have, &mut self.steps),
            Input::StageReady { hash, machine } => {
                if let Some((from, message)) = self.snapshots.ready(hash, machine) {
                    self.stepped_snapshot = true;
                    self.step(from, message)?;
                }
            }
            Input::StageFailed { hash, why } => {
                tracing::warn!(why, "a received snapshot was bad and has been thrown away");
                self.steps.extend(self.snapshots.failed(hash));
            }
        }
        Ok(())
    }

    /// The next thing to do, or nothing until the next input.
    pub(crate) fn poll(&mut self) -> Result<Option<Output>> {
        if self.out.is_empty() && self.dirty {
            self.settle()?;
        }
        Ok(self.out.pop_front())
    }

    /// When to come back with [`Input::Time`] at the latest.
    pub(crate) fn wake_at(&self) -> Instant {
        let deadlines = [
            self.proposals.earliest(),
            self.reads.earliest(),
            self.transfer.as_ref().map(|moving| moving.deadline),
            self.next_of_leases(),
        ];
        deadlines.into_iter().flatten().fold(self.time.next(), Instant::min)
    }

    /// Reads of the machine's data, for any thread.
    pub(crate) fn reader(&self) -> Reader {
        self.machine.reader()
    }

    /// Who watches the machine's data. Whoever drives this advances it after every turn.
    pub(crate) fn watches(&self) -> &Arc<Watches> {
        &self.watches
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The node ends, and keeps no lease alive any more: gives those whose holders are to be woken.
    pub(crate) fn end_leases(&mut self) -> Vec<Arc<Kept>> {
        self.kept.end(self.now)
    }

    /// Carries everything that was handled to its consequences.
    fn settle(&mut self) -> Result<()> {
        self.dirty = false;
        let ticks = self.time.due(self.now);
        for _ in 0..ticks {
            self.consensus.tick();
        }
        if ticks > 0 {
            self.look_around();
        }
        self.expire();
        loop {
            self.obey_steps();
            self.announce();
            self.come_to_term();
            self.renew_leases();
            self.offer_writes();
            self.begin_read();
            self.consensus.drain(&mut self.effects)?;
            if self.effects.is_empty() && !self.stepped_snapshot {
                break;
            }
            self.obey_effects()?;
            self.end_ignored_snapshot();
        }
        if std::mem::take(&mut self.unpublished) {
            self.machine.publish();
        }
        let (applied, _) = self.machine.applied();
        self.reads.applied(applied, &mut self.out);
        self.maybe_snapshot();
        self.tell_watches();
        Ok(())
    }

    /// Those who would rather not be told by a member without a leader want to know (`WAT-33`).
    fn tell_watches(&mut self) {
        let led = self.standing.leader.is_some();
        if led {
            self.led_at = self.now;
        }
        let leaderless = self.now.since(self.led_at) >= self.settings.election * 3;
        self.watches.set_leader(led, leaderless && !planted(Bug::LeaderlessInSilence));
    }

    /// Once a tick: what has been lost on the way?
    fn look_around(&mut self) {
        let leads = self.standing.role == Role::Leader;
        if !leads {
            self.proposals.resend(self.now, self.settings.retry());
        }
        // A leader's round needs no asking again: every heartbeat repeats it (raft-notes 3.1).
        if let (false, Some(leader)) = (leads, self.standing.leader)
            && let Some(request) = self.reads.ask_again(self.now, self.settings.retry())
        {
            self.say(leader, &Body::Read { request });
        }
        // A leader without a disk applies nothing and yet keeps its followers loyal: somebody
        // else must lead (raft-notes 9.2).
        let hung = |since: Instant| self.now.since(since) >= self.settings.election;
        if leads
            && self.overdue_since.is_some_and(hung)
            && let Some(to) = self.successor()
        {
            drop(self.consensus.transfer(to));
        }
        self.snapshots.tick(self.now, &mut self.steps);
        self.retain();
    }

    fn expire(&mut self) {
        let led = self.standing.leader.is_some();
        for (whose, answer) in self.proposals.expire(self.now, led) {
            self.tell(whose, answer);
        }
        self.expire_renewals();
        self.reads.expire(self.now, led, &mut self.out);
        if let Some(moving) = self.transfer.take_if(|moving| moving.deadline <= self.now) {
            let text = format!("leadership did not reach member {} in time", moving.to);
            let answer = Answer::Failed(Error::new(Kind::Timeout, text));
            self.out.push_back(Output::Reply { token: moving.token, answer });
        }
    }

    // ---- envelopes

    fn deliver(&mut self, envelope: &Envelope) -> Result<()> {
        if !self.knows(envelope) {
            self.dropped.identity += 1;
            return Ok(());
        }
        let Ok(body) = envelope.body() else {
            self.dropped.malformed += 1;
            return Ok(());
        };
        let from = envelope.from;
        match body {
            Body::Raft(message) if message.is_snapshot() => self.dropped.malformed += 1,
            // To the protocol it is lost. Taken, it would wait in memory for a disk that does
            // not answer, and so would the next one after every heartbeat.
            Body::Raft(message) if message.is_append() && self.overdue_since.is_some() => {}
            Body::Raft(message) => self.step(from, message)?,
            Body::Forward(writes) => self.take_forwarded(envelope, writes),
            Body::Read { request } => {
                if self.machine.members().get(from).is_none() {
                    // One question of each member waits here: of strangers there is no end.
                    self.dropped.malformed += 1;
                } else if self.standing.role == Role::Leader {
                    self.reads.push(Waiter::Peer { id: from, request });
                }
            }
            Body::ReadAnswer { request, index } => {
                if self.standing.role != Role::Leader {
                    self.reads.confirmed(request, index);
                }
            }
            Body::Offer { transfer, file, message } => {
                if message.snapshot_mark().as_ref() != Some(&file.mark) {
                    self.dropped.malformed += 1;
                } else if file.mark.index <= self.machine.applied().0 {
                    // It has been installed, and word of it was lost.
                    let (have, stage) = (file.file_bytes, ChunkStage::Done);
                    self.say(from, &Body::ChunkAck { transfer, have, stage });
                } else {
                    let offer = Offered { from, transfer, file, message };
                    self.steps.extend(self.snapshots.offered(offer, self.now));
                }
            }
            Body::Chunk { transfer, offset, bytes } => {
                let (now, chunk) = (self.now, (offset, bytes));
                self.steps.extend(self.snapshots.chunk((from, transfer), chunk, now));
            }
            Body::ChunkAck { transfer, have, stage } => {
                let now = self.now;
                // A snapshot that was refused is bad here: take another, unless there is one. Who
                // was sent none has none to refuse.
                let file = self.snapshots.file(from, transfer);
                let refused = stage == ChunkStage::Refused && file.is_some();
                self.wanted |= refused && file == self.saved.as_ref();
                self.snapshots.acked((from, transfer), (have, stage), now, &mut self.steps);
            }
        }
        Ok(())
    }

    /// Is the sender who it was, and does it mean this node? A member that comes back with
    /// another incarnation has lost its disk, and with it its votes (design 4.2).
    fn knows(&mut self, envelope: &Envelope) -> bool {
        let bound = self.bound(envelope.from);
        let known = bound.or_else(|| self.heard.get(&envelope.from).copied());
        if known.is_some_and(|known| known != envelope.from_incarnation) {
            return false;
        }
        if known.is_none() && self.heard.len() < MAX_HEARD {
            self.heard.insert(envelope.from, envelope.from_incarnation);
        }
        let meant = envelope.to_incarnation;
        meant == Incarnation::default() || meant == self.me.incarnation
    }

    /// The incarnation that the log has bound to a member.
    fn bound(&self, id: NodeId) -> Option<Incarnation> {
        self.machine.members().get(id)?.incarnation
    }

    fn step(&mut self, from: NodeId, message: consensus::Message) -> Result<()> {
        match self.consensus.step(from, message) {
            Ok(()) => Ok(()),
            Err(Rejected::Invalid(why)) => {
                tracing::debug!(%from, why, "dropped a message");
                self.dropped.invalid += 1;
                Ok(())
            }
            Err(Rejected::Fatal(why)) => Err(Error::new(Kind::Halted, why)),
        }
    }

    fn say(&mut self, to: NodeId, body: &Body) {
        let bound = self.bound(to);
        let incarnation = bound.or_else(|| self.heard.get(&to).copied()).unwrap_or_default();
        let envelope = body.seal(&self.address, to, incarnation);
        self.out.push_back(Output::Send { to, lane: body.lane(), envelope });
    }
}

/// Strangers whose incarnation is remembered: more members than a cluster ever has.
const MAX_HEARD: usize = 1024;
