//! What happens to the members, step by step.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::host::{CLUSTER, Disk, Host, Snapshot, TICK, genesis};
use crate::core::machine::Command;
use crate::core::machine::txn::{Delete, Put};
use crate::core::replica::Replica;
use crate::core::replica::consensus::Role;
use crate::core::replica::envelope::{Address, Envelope};
use crate::core::replica::io::{Input, Output, Persist, Token};
use crate::ids::NodeId;
use crate::keys::KeyRange;
use crate::sim::check::bounds::BoundsJudge;
use crate::sim::check::durable::DurableJudge;
use crate::sim::check::log::LogJudge;
use crate::sim::check::state::StateJudge;
use crate::sim::dice::{Dice, Seed};
use crate::sim::seen::{Judge, Seen};
use crate::time::Instant;

type Verdict = Result<(), String>;

/// A host that breaks its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Writes are reported as durable when they are handed over.
    ReportsEarly,
    /// A vote is not there any more after a restart.
    ForgetsVotes,
    /// The last synced entry is not there any more after a restart.
    LosesTail,
    /// One member begins with another name of a member.
    BeginsApart,
}

/// What there was to see.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) applied: u64,
    pub(super) crashes: u64,
    pub(super) elections: u64,
    pub(super) installs: u64,
    /// Writes of which a part survived.
    pub(super) half_written: u64,
    /// Synced entries that were replaced.
    pub(super) replaced: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Self) {
        self.applied += other.applied;
        self.crashes += other.crashes;
        self.elections += other.elections;
        self.installs += other.installs;
        self.half_written += other.half_written;
        self.replaced += other.replaced;
    }
}

struct Packet {
    from: NodeId,
    to: NodeId,
    bytes: Bytes,
}

pub(super) struct World {
    dice: Dice,
    fault: Option<Fault>,
    voters: u64,
    learners: u64,
    hosts: Vec<Host>,
    now: Instant,
    network: Vec<Packet>,
    /// Cut off from everybody.
    isolated: BTreeSet<NodeId>,
    archive: Vec<Snapshot>,
    tokens: u64,
    /// Chances in a hundred: a packet is lost, a packet comes twice, a disk does something.
    loss: u64,
    repeats: u64,
    speed: u64,
    judges: Vec<Box<dyn Judge>>,
    pub(super) tally: Tally,
    highest_term: u64,
}

impl World {
    pub(super) fn new(seed: Seed, fault: Option<Fault>) -> Self {
        let mut dice = Dice::new(seed);
        let (voters, learners) = match dice.below(6) {
            0 => (1, 1),
            1 => (5, 0),
            2 => (3, 1),
            _ => (3, 0),
        };
        let disk = Disk::new(genesis(voters, learners).mark);
        let hosts = (1..=voters + learners).map(|id| Host::new(NodeId::new(id), disk.clone()));
        Self {
            fault,
            voters,
            learners,
            hosts: hosts.collect(),
            now: Instant::default(),
            network: Vec::new(),
            isolated: BTreeSet::new(),
            archive: Vec::new(),
            tokens: 0,
            loss: dice.below(4) * 4,
            repeats: dice.below(3) * 8,
            speed: 20 + dice.below(80),
            judges: vec![
                Box::new(LogJudge::default()),
                Box::new(DurableJudge::default()),
                Box::new(StateJudge::new(3)),
                Box::new(BoundsJudge::new(2)),
            ],
            tally: Tally::default(),
            highest_term: 1,
            dice,
        }
    }

    pub(super) fn begin(&mut self) -> Verdict {
        (0..self.hosts.len()).try_for_each(|at| self.open(at))
    }

    pub(super) fn step(&mut self) -> Verdict {
        let at = self.dice.place(self.hosts.len());
        let up = self.hosts[at].replica.is_some();
        match self.dice.below(1_000) {
            0..6 if up => self.crash(at),
            6..50 if !up => self.open(at),
            50..56 => {
                // Whoever leads more often than others.
                let leads = self.hosts.iter().find(|host| host.leads());
                let id = leads.map_or(self.hosts[at].id, |host| host.id);
                self.isolated.insert(id);
                Ok(())
            }
            56..66 => {
                self.isolated.clear();
                Ok(())
            }
            66..140 => self.call(at),
            140..330 => {
                self.now = self.now.after(TICK * 2);
                self.turn(at, Vec::new())
            }
            330..550 => self.disk(at),
            550..600 => self.job(at),
            _ => self.deliver(),
        }
    }

    fn see(judges: &mut [Box<dyn Judge>], seen: &Seen<'_>) -> Verdict {
        judges.iter_mut().try_for_each(|judge| {
            judge.see(seen).map_err(|what| format!("{}: {what}", judge.name()))
        })
    }

    fn open(&mut self, at: usize) -> Verdict {
        let mut genesis = genesis(self.voters, self.learners);
        let host = &mut self.hosts[at];
        match self.fault {
            Some(Fault::ForgetsVotes) => host.disk.hard_state.vote = NodeId::default(),
            Some(Fault::LosesTail) => drop(host.disk.entries.pop()),
            Some(Fault::BeginsApart) if at == 1 => genesis.members[0].name = "x".into(),
            _ => {}
        }
        host.open(genesis, self.now).unwrap();
        let (node, replica) = (host.id, host.replica.as_ref().unwrap());
        Self::see(&mut self.judges, &Seen::Opened { node, replica })
    }

    /// The process dies. Of the writes on their way the first few reached the disk, and perhaps a
    /// part of the next.
    fn crash(&mut self, at: usize) -> Verdict {
        self.tally.crashes += 1;
        let host = &mut self.hosts[at];
        host.replica = None;
        let mut writing = std::mem::take(&mut host.writing);
        for _ in 0..self.dice.below(3) {
            let Some(persist) = writing.pop_front() else { break };
            let received = host.received(&persist, &self.archive);
            host.disk.write(&persist, received);
        }
        if let Some(mut half) = writing.pop_front().filter(|half| half.install.is_none()) {
            let survive = self.dice.place(half.entries.len() + 1);
            half.entries.truncate(survive);
            half.hard_state = None;
            self.tally.half_written += u64::from(survive > 0);
            host.disk.write(&half, None);
        }
        let node = host.id;
        Self::see(&mut self.judges, &Seen::Ended { node })
    }

    fn turn(&mut self, at: usize, inputs: Vec<Input>) -> Verdict {
        let host = &mut self.hosts[at];
        let outputs = host.turn(self.now, inputs);
        let node = host.id;
        let Some(replica) = &host.replica else { return Ok(()) };
        let status = replica.status();
        if status.role == Role::Leader && status.term.get() > self.highest_term {
            self.highest_term = status.term.get();
            self.tally.elections += 1;
        }
        self.tally.applied = self.tally.applied.max(status.applied.get());
        Self::see(&mut self.judges, &Seen::Turned { node, replica })?;
        let mut early = None;
        for output in outputs {
            match output {
                Output::Send { to, envelope, .. } => {
                    self.network.push(Packet { from: node, to, bytes: envelope });
                }
                Output::Persist(persist) => {
                    early = Some(persist.ticket);
                    self.hosts[at].writing.push_back(persist);
                }
                Output::Reply { .. }
                | Output::Members(_)
                | Output::Discard(_)
                | Output::DiscardEntries(_) => {}
                job => self.hosts[at].jobs.push_back(job),
            }
        }
        match early.filter(|_| self.fault == Some(Fault::ReportsEarly)) {
            Some(ticket) => self.turn(at, vec![Input::Persisted(ticket)]),
            None => Ok(()),
        }
    }

    /// The disk gets on, or does not, and then the member may notice.
    fn disk(&mut self, at: usize) -> Verdict {
        let host = &mut self.hosts[at];
        if host.replica.is_none() {
            return Ok(());
        }
        if host.writing.is_empty() {
            host.writing_since = None;
        }
        let since = *host.writing_since.get_or_insert(self.now);
        let late = !host.writing.is_empty() && self.now.since(since) >= TICK * 10;
        let mut inputs = Vec::new();
        if late != host.overdue {
            host.overdue = late;
            inputs.push(Input::DiskOverdue(late));
        }
        if self.dice.below(100) < self.speed {
            let count = 1 + self.dice.place(4);
            inputs.extend(self.sync(at, count)?);
        }
        self.turn(at, inputs)
    }

    fn sync(&mut self, at: usize, count: usize) -> Result<Option<Input>, String> {
        let host = &mut self.hosts[at];
        let count = count.min(host.writing.len());
        let batch: Vec<Persist> = host.writing.drain(..count).collect();
        host.writing_since = None;
        let Some(ticket) = batch.last().map(|persist| persist.ticket) else { return Ok(None) };
        for persist in &batch {
            let received = host.received(persist, &self.archive);
            self.tally.installs += u64::from(received.is_some());
            let first = persist.entries.first();
            let last = host.disk.entries.last().map(|entry| entry.index);
            let replaces = first.is_some_and(|first| last.is_some_and(|last| first.index <= last));
            self.tally.replaced += u64::from(replaces);
            host.disk.write(persist, received);
        }
        let node = host.id;
        Self::see(&mut self.judges, &Seen::Durable { node, batch: &batch })?;
        Ok(Some(Input::Persisted(ticket)))
    }

    fn job(&mut self, at: usize) -> Verdict {
        let host = &mut self.hosts[at];
        let Some(job) = host.jobs.pop_front() else { return Ok(()) };
        match host.work(job, &mut self.archive) {
            Some(input) => self.turn(at, vec![input]),
            None => Ok(()),
        }
    }

    fn call(&mut self, at: usize) -> Verdict {
        self.tokens += 1;
        let token = Token(self.tokens);
        let deadline = self.now.after(TICK * 60);
        let key = Bytes::from(format!("k{}", self.dice.below(12)));
        let input = match self.dice.below(10) {
            0 => {
                let command = Command::Delete(Delete { range: KeyRange::key(key), prev: false });
                Input::Write { token, payload: command.encode(), deadline }
            }
            1..4 => Input::Read { token, deadline },
            4 => {
                let to = NodeId::new(1 + self.dice.below(self.voters));
                Input::Transfer { token, to, deadline }
            }
            _ => {
                let value = vec![0; self.dice.place(200)].into();
                let put = Command::Put(Put::new(key, value));
                Input::Write { token, payload: put.encode(), deadline }
            }
        };
        self.turn(at, vec![input])
    }

    fn deliver(&mut self) -> Verdict {
        if self.network.is_empty() {
            return Ok(());
        }
        // Mostly in order, sometimes whatever comes.
        let window = if self.dice.below(100) < 80 { 3 } else { self.network.len() };
        let at = self.dice.place(window.min(self.network.len()));
        let packet = self.network.remove(at);
        if self.dice.below(100) < self.repeats {
            let Packet { from, to, ref bytes } = packet;
            self.network.push(Packet { from, to, bytes: bytes.clone() });
        }
        if self.network.len() > 300 {
            self.network.remove(0);
        }
        if self.dice.below(100) < self.loss { Ok(()) } else { self.arrive(&packet) }
    }

    fn arrive(&mut self, packet: &Packet) -> Verdict {
        let Packet { from, to, bytes } = packet;
        let cut = self.isolated.contains(from) || self.isolated.contains(to);
        let at = self.hosts.iter().position(|host| host.id == *to).unwrap();
        if cut || self.hosts[at].replica.is_none() {
            return Ok(());
        }
        let incarnation = self.hosts[at].incarnation;
        let address = Address { cluster: CLUSTER, node: *to, incarnation };
        let envelope = Envelope::open(&address, *from, bytes.clone()).unwrap();
        self.turn(at, vec![Input::Deliver(envelope)])
    }

    /// Everybody comes back and nothing is lost any more: all become the same.
    pub(super) fn heal(&mut self) -> Verdict {
        self.isolated.clear();
        for at in 0..self.hosts.len() {
            if self.hosts[at].replica.is_none() {
                self.open(at)?;
            }
        }
        for _ in 0..600 {
            self.now = self.now.after(TICK);
            for at in 0..self.hosts.len() {
                let overdue = std::mem::take(&mut self.hosts[at].overdue);
                let inputs = if overdue { vec![Input::DiskOverdue(false)] } else { Vec::new() };
                self.turn(at, inputs)?;
            }
            self.settle()?;
            if self.is_at_rest() {
                let members: Vec<(NodeId, &Replica)> =
                    self.hosts.iter().map(|h| (h.id, h.replica.as_ref().unwrap())).collect();
                return self.judges.iter_mut().try_for_each(|judge| judge.end(&members));
            }
        }
        let all = self.hosts.iter().map(|host| host.replica.as_ref().unwrap().status());
        Err(format!("never at rest: {:#?}", all.collect::<Vec<_>>()))
    }

    fn settle(&mut self) -> Verdict {
        for _ in 0..1_000 {
            let mut quiet = true;
            for at in 0..self.hosts.len() {
                while !self.hosts[at].jobs.is_empty() {
                    self.job(at)?;
                }
                if let Some(input) = self.sync(at, usize::MAX)? {
                    quiet = false;
                    self.turn(at, vec![input])?;
                }
            }
            for packet in std::mem::take(&mut self.network) {
                quiet = false;
                self.arrive(&packet)?;
            }
            if quiet {
                return Ok(());
            }
        }
        Err("never quiet".into())
    }

    fn is_at_rest(&self) -> bool {
        let all = self.hosts.iter().map(|host| host.replica.as_ref().unwrap().status());
        let all: Vec<_> = all.collect();
        let leader = all.iter().find(|status| status.role == Role::Leader);
        leader.is_some_and(|leader| {
            all.iter().all(|status| {
                (status.applied, status.commit) == (leader.last_index, leader.last_index)
                    && status.leader == leader.leader
                    && status.pending == 0
            })
        })
    }
}
