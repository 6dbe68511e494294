//! A cluster in memory: consensus values, a network that misbehaves, disks that sync late.
//!
//! Every message passes through its bytes. The judges stand where effects are carried out: one
//! leader per term, every index committed alike everywhere and in order, no promise before it is
//! durable, no read round older than what was committed when it began.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{Bytes, BytesMut};
use raft::eraftpb::MessageType;

use super::super::*;

/// Numbers from a seed.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(1);
        super::super::jitter::mix(self.0) % sides
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

#[derive(Clone, Debug)]
pub(super) struct Write {
    pub(super) ticket: Ticket,
    pub(super) entries: Vec<Entry>,
    pub(super) hard_state: Option<HardState>,
    pub(super) install: Option<SnapshotMark>,
}

/// What survives a crash, and what is on its way there.
#[derive(Clone, Default)]
pub(super) struct Disk {
    pub(super) hard_state: HardState,
    pub(super) mark: SnapshotMark,
    pub(super) entries: Vec<Entry>,
    pub(super) queue: VecDeque<Write>,
    /// The furthest that the durable log ever reached in this boot.
    pub(super) covered: u64,
}

impl Disk {
    fn last(&self) -> u64 {
        self.entries.last().map_or(self.mark.index, |e| e.index).get()
    }

    fn write(&mut self, write: Write) {
        if let Some(mark) = write.install {
            self.mark = mark;
            self.entries.clear();
        }
        if let Some(first) = write.entries.first() {
            self.entries.retain(|e| e.index < first.index);
            assert_eq!(self.last() + 1, first.index.get(), "a gap on disk");
            self.entries.extend(write.entries);
        }
        if let Some(hard_state) = write.hard_state {
            assert!(hard_state.term >= self.hard_state.term, "a durable term falls");
            self.hard_state = hard_state;
        }
        self.covered = self.covered.max(self.last());
    }
}

pub(super) struct Node {
    pub(super) core: Option<Consensus>,
    pub(super) disk: Disk,
    pub(super) applied: u64,
    pub(super) conf: ConfState,
    pub(super) boot: u64,
    /// Open rounds, with what was committed anywhere when they began.
    pub(super) rounds: BTreeMap<u64, u64>,
    pub(super) reads: Vec<(u64, u64)>,
    pub(super) reads_lost: usize,
    pub(super) want_snapshot: usize,
    pub(super) installs: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Packet {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) kind: MessageType,
    pub(super) bytes: Bytes,
}

pub(super) struct Cluster {
    pub(super) seed: u64,
    pub(super) nodes: BTreeMap<u64, Node>,
    pub(super) network: Vec<Packet>,
    /// Links that lose everything, by (from, to).
    pub(super) cut: BTreeSet<(u64, u64)>,
    pub(super) ledger: BTreeMap<u64, Entry>,
    leaders: BTreeMap<u64, u64>,
    confs: BTreeMap<u64, ConfState>,
    pub(super) invalid: BTreeMap<&'static str, usize>,
    /// Everything that happened, if kept.
    pub(super) trace: Option<Vec<String>>,
}

pub(super) fn ids(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId::new).collect()
}

pub(super) fn conf_of(voters: &[u64], learners: &[u64]) -> ConfState {
    ConfState { voters: ids(voters), learners: ids(learners), ..Default::default() }
}

pub(super) fn mark_at(index: u64, term: u64, conf: ConfState) -> SnapshotMark {
    SnapshotMark { index: Index::new(index), term: Term::new(term), conf }
}

pub(super) fn start(id: u64, seed: u64, disk: &Disk) -> Start {
    Start {
        id: NodeId::new(id),
        seed,
        election_ticks: 10,
        heartbeat_ticks: 2,
        max_append_bytes: 512,
        max_inflight: 8,
        max_uncommitted_bytes: 1 << 16,
        max_apply_bytes: 2_048,
        hard_state: disk.hard_state,
        mark: disk.mark.clone(),
        applied: disk.mark.index,
        entries: disk.entries.clone(),
    }
}

impl Cluster {
    /// Members bootstrapped alike at index 1, term 1 (R12), and joiners that know nothing.
    pub(super) fn new(seed: u64, conf: &ConfState, joiners: &[u64]) -> Self {
        let mut cluster = Self {
            seed,
            nodes: BTreeMap::new(),
            network: Vec::new(),
            cut: BTreeSet::new(),
            ledger: BTreeMap::new(),
            leaders: BTreeMap::new(),
            confs: BTreeMap::new(),
            invalid: BTreeMap::new(),
            trace: None,
        };
        let born = Disk {
            hard_state: HardState {
                term: Term::new(1),
                vote: NodeId::new(0),
                commit: Index::new(1),
            },
            mark: mark_at(1, 1, conf.clone()),
            ..Default::default()
        };
        for id in conf.voters.iter().chain(&conf.learners) {
            cluster.add(id.get(), born.clone());
        }
        for id in joiners {
            cluster.add(*id, Disk::default());
        }
        cluster
    }

    fn add(&mut self, id: u64, disk: Disk) {
        let node = Node {
            core: None,
            disk,
            applied: 0,
            conf: ConfState::default(),
            boot: 0,
            rounds: BTreeMap::new(),
            reads: Vec::new(),
            reads_lost: 0,
            want_snapshot: 0,
            installs: 0,
        };
        self.nodes.insert(id, node);
        self.restart(id);
    }

    pub(super) fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    pub(super) fn core(&mut self, id: u64) -> &mut Consensus {
        self.node(id).core.as_mut().unwrap()
    }

    pub(super) fn status(&self, id: u64) -> Status {
        self.nodes[&id].core.as_ref().unwrap().status()
    }

    pub(super) fn up(&self) -> Vec<u64> {
        self.nodes.iter().filter(|(_, n)| n.core.is_some()).map(|(id, _)| *id).collect()
    }

    /// The member that leads the highest term.
    pub(super) fn leader(&self) -> Option<u64> {
        let leads = |id: &u64| self.status(*id).role == Role::Leader;
        self.up().into_iter().filter(leads).max_by_key(|id| self.status(*id).term)
    }

    /// The process dies; of the writes on their way the first `keep` had reached the disk.
    pub(super) fn crash(&mut self, id: u64, keep: usize) {
        self.note(|| format!("{id} crashes keeping {keep}"));
        let node = self.node(id);
        node.core = None;
        node.rounds.clear();
        let queue = std::mem::take(&mut node.disk.queue);
        queue.into_iter().take(keep).for_each(|write| node.disk.write(write));
    }

    pub(super) fn restart(&mut self, id: u64) {
        let seed = self.seed;
        let node = self.node(id);
        node.boot += 1;
        node.disk.covered = node.disk.last();
        node.applied = node.disk.mark.index.get();
        node.conf = node.disk.mark.conf.clone();
        let boot_seed = seed ^ (id << 32) ^ (node.boot << 48);
        let mut core = Consensus::new(start(id, boot_seed, &node.disk)).unwrap();
        if node.applied > 1 {
            core.snapshot_saved(node.disk.mark.clone());
        }
        node.core = Some(core);
        self.process(id);
    }

    pub(super) fn tick(&mut self, id: u64) {
        self.core(id).tick();
        self.process(id);
    }

    pub(super) fn propose(&mut self, id: u64, batch: &[&str]) -> Result<(), ProposeError> {
        let batch = batch.iter().map(|data| Bytes::from(data.to_string())).collect();
        let done = self.core(id).propose(batch);
        self.process(id);
        done
    }

    pub(super) fn read(&mut self, id: u64) -> Option<u64> {
        let floor = self.committed();
        let round = self.core(id).start_read();
        if let Some(round) = round {
            self.node(id).rounds.insert(round, floor);
        }
        self.process(id);
        round
    }

    /// The highest index that anybody has handed out.
    pub(super) fn committed(&self) -> u64 {
        self.ledger.last_key_value().map_or(1, |(index, _)| *index)
    }

    /// Completes the next `count` writes with one sync.
    pub(super) fn sync(&mut self, id: u64, count: usize) {
        let disk = &mut self.node(id).disk;
        let writes: Vec<_> = disk.queue.drain(..count.min(disk.queue.len())).collect();
        let Some(ticket) = writes.last().map(|write| write.ticket) else { return };
        writes.into_iter().for_each(|write| disk.write(write));
        self.note(|| format!("{id} synced {ticket:?}"));
        self.core(id).persisted(ticket);
        self.process(id);
    }

    /// Takes a snapshot of what is applied, durable at once, and drops what it covers but for
    /// `keep` entries.
    pub(super) fn snapshot(&mut self, id: u64, keep: u64) {
        let ledger = &self.ledger;
        let node = self.nodes.get_mut(&id).unwrap();
        let Some(term) = ledger.get(&node.applied).map(|e| e.term.get()) else { return };
        let mark = mark_at(node.applied, term, node.conf.clone());
        node.disk.entries.retain(|e| e.index > mark.index);
        node.disk.mark = mark.clone();
        let core = node.core.as_mut().unwrap();
        core.compact(Index::new(mark.index.get().saturating_sub(keep)));
        core.snapshot_saved(mark);
        self.process(id);
    }

    /// Delivers one packet; `arrives` is false if the network lost it.
    pub(super) fn deliver(&mut self, at: usize, arrives: bool) {
        let packet = self.network.remove(at);
        let cut = self.cut.contains(&(packet.from, packet.to));
        let arrives =
            arrives && !cut && self.nodes.get(&packet.to).is_some_and(|n| n.core.is_some());
        if arrives {
            self.arrive(&packet);
        }
        // R14: whatever became of it, the sender hears.
        if packet.kind == MessageType::MsgSnapshot && self.nodes[&packet.from].core.is_some() {
            self.core(packet.from).report_snapshot(NodeId::new(packet.to), arrives);
            self.process(packet.from);
        }
    }

    pub(super) fn arrive(&mut self, packet: &Packet) {
        let message = Message::decode(packet.bytes.clone()).unwrap();
        self.note(|| format!("{} gets {:?} from {}", packet.to, packet.kind, packet.from));
        match self.core(packet.to).step(NodeId::new(packet.from), message) {
            Ok(()) => {}
            Err(Rejected::Invalid(why)) => *self.invalid.entry(why).or_default() += 1,
            Err(Rejected::Fatal(why)) => panic!("{} stops: {why}", packet.to),
        }
        self.process(packet.to);
    }

    pub(super) fn note(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    /// Drains a member and carries out what it asks for.
    pub(super) fn process(&mut self, id: u64) {
        let mut effects = VecDeque::new();
        self.core(id).drain(&mut effects).unwrap();
        for effect in effects {
            self.note(|| format!("{id}: {effect:?}"));
            match effect {
                Effect::Send { to, message } => self.send(id, to.get(), &message),
                Effect::SendSnapshot { to, mark, message } => {
                    assert_eq!(message.snapshot_mark(), Some(mark));
                    self.send(id, to.get(), &message);
                }
                Effect::Persist { ticket, entries, hard_state, install } => {
                    let write = Write { ticket, entries, hard_state, install };
                    self.node(id).disk.queue.push_back(write);
                }
                Effect::Committed { entries } => self.commit(id, entries),
                Effect::ReadReady { round, index } => {
                    let node = self.node(id);
                    let floor = node.rounds.remove(&round).expect("a round that nobody began");
                    assert!(index.get() >= floor, "{id}: stale read: {index} < {floor}");
                    node.reads.push((round, index.get()));
                }
                Effect::ReadsLost => {
                    let node = self.node(id);
                    node.rounds.clear();
                    node.reads_lost += 1;
                }
                Effect::WantSnapshot => self.node(id).want_snapshot += 1,
                Effect::Install { mark } => self.install(id, &mark),
                Effect::Role { role: Role::Leader, term, .. } => {
                    let first = *self.leaders.entry(term.get()).or_insert(id);
                    assert_eq!(first, id, "two leaders in term {term}");
                }
                Effect::Role { .. } | Effect::Discard { .. } => {}
            }
        }
    }

    fn install(&mut self, id: u64, mark: &SnapshotMark) {
        let known = self.ledger.get(&mark.index.get()).map(|entry| entry.term);
        assert_eq!(known, Some(mark.term), "{id} installs what was not committed");
        let node = self.node(id);
        assert!(mark.index.get() >= node.applied, "{id} goes back");
        (node.applied, node.conf) = (mark.index.get(), mark.conf.clone());
        node.installs += 1;
    }

    fn commit(&mut self, id: u64, entries: Vec<(Entry, Option<ConfState>)>) {
        for (entry, conf) in entries {
            let index = entry.index.get();
            let node = self.nodes.get_mut(&id).unwrap();
            assert_eq!(node.applied + 1, index, "{id} skips entries");
            node.applied = index;
            let covered = node.disk.covered;
            assert!(index <= covered, "{id} applies {index}, durable up to {covered}");
            if let Some(conf) = conf {
                let first = self.confs.entry(index).or_insert_with(|| conf.clone());
                assert_eq!(*first, conf, "{id} has another configuration at {index}");
                node.conf = conf;
            }
            let first = self.ledger.entry(index).or_insert_with(|| entry.clone());
            assert_eq!(*first, entry, "{id} commits another entry at {index}");
        }
    }

    /// The judge of durability: what is promised by a message must be on the disk (R2, R4, 1.4).
    fn send(&mut self, id: u64, to: u64, message: &Message) {
        let m = &message.0;
        let disk = &self.nodes[&id].disk;
        let (term, vote) = (disk.hard_state.term.get(), disk.hard_state.vote.get());
        assert!(m.from == id && m.to == to && to != id);
        let real_vote = |whom| term > m.term || (term == m.term && vote == whom);
        let kept = match m.msg_type {
            MessageType::MsgAppendResponse if !m.reject => {
                m.index <= disk.covered && m.term <= term
            }
            MessageType::MsgRequestVoteResponse if !m.reject => real_vote(to),
            MessageType::MsgRequestVote => real_vote(id),
            // A pre-vote is for the term after.
            MessageType::MsgRequestPreVote => m.term <= term + 1,
            MessageType::MsgRequestPreVoteResponse => true,
            MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot => {
                real_vote(id)
            }
            _ => m.term <= term,
        };
        assert!(kept, "{id} promises what is not durable: {m:?}; {:?}", disk.hard_state);
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        let bytes = bytes.freeze();
        self.network.push(Packet { from: id, to, kind: m.msg_type, bytes });
    }

    /// Delivers and syncs until nothing moves any more.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let busy: Vec<_> =
                self.up().into_iter().filter(|id| !self.nodes[id].disk.queue.is_empty()).collect();
            if busy.is_empty() && self.network.is_empty() {
                return;
            }
            busy.into_iter().for_each(|id| self.sync(id, usize::MAX));
            for _ in 0..self.network.len() {
                self.deliver(0, true);
            }
        }
        panic!("never quiet");
    }

    /// Ticks only `id` until it leads, and lets everything settle.
    pub(super) fn elect(&mut self, id: u64) {
        for _ in 0..200 {
            if self.status(id).role == Role::Leader {
                return;
            }
            self.tick(id);
            self.settle();
        }
        panic!("{id} cannot be elected");
    }

    /// The same for a member whose disk has work left.
    pub(super) fn elect_with_disk(&mut self, id: u64) {
        self.settle();
        self.elect(id);
    }

    /// Settles everybody but `id`, whose disk stands still; what is sent to it is lost.
    pub(super) fn settle_without(&mut self, id: u64) {
        let queue = std::mem::take(&mut self.node(id).disk.queue);
        let links: Vec<_> = self.nodes.keys().map(|from| (*from, id)).collect();
        self.cut.extend(links);
        self.settle();
        self.cut.clear();
        self.node(id).disk.queue = queue;
    }

    /// Ticks everybody, settling in between.
    pub(super) fn run(&mut self, ticks: usize) {
        for _ in 0..ticks {
            self.up().into_iter().for_each(|id| self.tick(id));
            self.settle();
        }
    }

    /// A leader's heartbeat interval, settled.
    pub(super) fn heartbeat(&mut self, id: u64) {
        for _ in 0..2 {
            self.tick(id);
            self.settle();
        }
    }

    /// Cuts `id` off from everybody, both ways.
    pub(super) fn isolate(&mut self, id: u64) {
        let others: Vec<_> = self.nodes.keys().copied().filter(|other| *other != id).collect();
        self.cut.extend(others.iter().flat_map(|other| [(id, *other), (*other, id)]));
    }

    /// How many appends with entries are on their way to `to`.
    pub(super) fn packets(&self, kind: MessageType, to: u64) -> Vec<Packet> {
        self.network.iter().filter(|p| p.kind == kind && p.to == to).cloned().collect()
    }

    pub(super) fn terms(&self) -> usize {
        self.leaders.len()
    }

    pub(super) fn joint_configurations(&self) -> usize {
        self.confs.values().filter(|conf| !conf.voters_outgoing.is_empty()).count()
    }

    /// Throws away what is on its way.
    pub(super) fn drop_network(&mut self) {
        while !self.network.is_empty() {
            self.deliver(0, false);
        }
    }
}
