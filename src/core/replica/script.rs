//! Golden scripts for replicas: a cluster without threads, disks or time of its own.
//!
//! The runner obeys outputs as the runtime does, one at a time, and prints them. Nothing moves
//! unless the script says so: envelopes wait in the network, log writes wait at the disk.

mod leases;
mod show;

use std::collections::{BTreeMap, VecDeque};
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use goldenscript::{ArgumentConsumer, Command as Line, Context};

use super::consensus::Start;
use super::envelope::{Address, Body, ChunkStage, Envelope};
use super::io::{Answer, Input, Output, Persist, SnapshotFile, Token};
use super::{Me, Replica, Restored, Retain, Settings};
use crate::core::lease::Kept;
use crate::core::machine::txn::{Delete, Put};
use crate::core::machine::{Command, Genesis, Machine, Member};
use crate::core::mvcc::script::number;
use crate::entry::{ConfState, Entry, HardState, Section, SnapshotMark};
use crate::error::Error;
use crate::ids::{ClusterId, Incarnation, Index, LeaseId, NodeId, Term};
use crate::keys::KeyRange;
use crate::time::Instant;

const TICK: Duration = Duration::from_millis(50);
const CHUNK: usize = 64 * 1024 / 4;

type Answered<T> = Result<T, Box<dyn StdError>>;

/// What survives a crash.
#[derive(Clone, Default)]
struct Disk {
    mark: SnapshotMark,
    hard_state: HardState,
    entries: Vec<Entry>,
    snapshot: Option<(SnapshotFile, Vec<Section>)>,
    boot: u64,
}

struct Host {
    name: String,
    id: NodeId,
    incarnation: Incarnation,
    replica: Option<Replica>,
    disk: Disk,
    /// Handed over, not synced.
    writing: VecDeque<Persist>,
    /// The snapshot being received: its bytes so far.
    stage: Option<(SnapshotFile, u64)>,
}

/// A cluster that a script plays with.
#[derive(Default)]
struct Cluster {
    hosts: Vec<Host>,
    now: Instant,
    network: VecDeque<(NodeId, NodeId, bytes::Bytes)>,
    cut: Vec<(NodeId, NodeId)>,
    tokens: u64,
    settings: BTreeMap<String, u64>,
    /// Kept leases, for as long as they have holders.
    held: Vec<Arc<Kept>>,
    /// Who asks for a lease does not wait until it is there.
    nobody_waits: bool,
    /// What the command under way has to say.
    out: String,
}

impl Cluster {
    fn genesis(&self) -> Genesis {
        let ids: Vec<NodeId> = self.hosts.iter().map(|host| host.id).collect();
        let members = self.hosts.iter().map(|host| Member {
            id: host.id,
            name: host.name.clone(),
            address: String::new(),
            incarnation: None,
            learner: false,
        });
        let conf = ConfState { voters: ids, ..ConfState::default() };
        let mark = SnapshotMark { index: Index::new(1), term: Term::new(1), conf };
        Genesis { cluster: ClusterId::new(7), members: members.collect(), mark }
    }

    fn create(&mut self, count: u64) -> Answered<()> {
        for n in 1..=count {
            self.hosts.push(Host {
                name: format!("n{n}"),
                id: NodeId::new(n),
                incarnation: Incarnation::new(100 + n),
                replica: None,
                disk: Disk::default(),
                writing: VecDeque::new(),
                stage: None,
            });
        }
        for at in 0..self.hosts.len() {
            self.hosts[at].disk = self.empty_disk();
            self.start(at)?;
        }
        Ok(())
    }

    /// What a directory begins with.
    fn empty_disk(&self) -> Disk {
        let mark = self.genesis().mark;
        let hard_state =
            HardState { term: Term::new(1), commit: Index::new(1), ..HardState::default() };
        Disk { mark, hard_state, ..Disk::default() }
    }

    fn start(&mut self, at: usize) -> Answered<()> {
        let genesis = self.genesis();
        let setting = |name: &str, default| self.settings.get(name).copied().unwrap_or(default);
        let settings = Settings {
            tick: TICK,
            heartbeat: TICK * 2,
            election: TICK * 20,
            snapshot_count: setting("snapshot_count", 1_000_000),
            snapshot_log_bytes: 1 << 30,
            snapshot_catchup_entries: setting("catchup", 0),
            max_message_bytes: CHUNK * 4,
            max_request_bytes: 32 * 1024,
            max_pinned_revisions: 0,
            retain: Retain::default(),
        };
        let host = &mut self.hosts[at];
        host.disk.boot += 1;
        let disk = host.disk.clone();
        let machine = match &disk.snapshot {
            Some((file, sections)) => {
                Machine::restore(sections.iter().cloned().map(Ok), &file.mark)?
            }
            None => Machine::new(genesis),
        };
        let start = Start {
            id: host.id,
            seed: 42 + disk.boot,
            election_ticks: 20,
            heartbeat_ticks: 2,
            max_append_bytes: 32 * 1024,
            max_inflight: 64,
            max_uncommitted_bytes: 1 << 20,
            max_apply_bytes: 1 << 20,
            hard_state: disk.hard_state,
            applied: disk.mark.index,
            mark: disk.mark,
            entries: disk.entries,
        };
        let me = Me { node: host.id, incarnation: host.incarnation, boot: disk.boot };
        let saved = disk.snapshot.map(|(file, _)| file);
        let cluster = ClusterId::new(7);
        let restored = Restored { me, cluster, start, machine, saved };
        host.replica = Some(Replica::new(settings, restored, self.now)?);
        host.writing.clear();
        host.stage = None;
        self.give(at, Input::Time);
        Ok(())
    }

    fn at(&self, name: &str) -> Answered<usize> {
        let found = self.hosts.iter().position(|host| host.name == name);
        found.ok_or_else(|| format!("no node {name}").into())
    }

    fn say(&mut self, at: usize, text: impl AsRef<str>) {
        let _ = writeln!(self.out, "{} {}", self.hosts[at].name, text.as_ref());
    }

    /// One input and everything that follows from it on this node.
    fn give(&mut self, at: usize, input: Input) {
        let Some(mut replica) = self.hosts[at].replica.take() else { return };
        let outcome = self.drive(at, &mut replica, input);
        match outcome {
            Ok(()) => self.hosts[at].replica = Some(replica),
            Err(error) => self.say(at, format!("halts: {error}")),
        }
    }

    fn drive(&mut self, at: usize, replica: &mut Replica, input: Input) -> Result<(), Error> {
        replica.handle(self.now, input)?;
        let mut more = VecDeque::new();
        loop {
            while let Some(output) = replica.poll()? {
                self.obey(at, output, &mut more)?;
            }
            let Some(input) = more.pop_front() else { return Ok(()) };
            replica.handle(self.now, input)?;
        }
    }

    fn obey(&mut self, at: usize, output: Output, more: &mut VecDeque<Input>) -> Result<(), Error> {
        match output {
            Output::Send { to, envelope, .. } => {
                let from = self.hosts[at].id;
                let text = format!("→ n{to} {}", show::envelope(to, from, envelope.clone()));
                self.say(at, text);
                self.network.push_back((from, to, envelope));
            }
            Output::Persist(persist) => {
                self.say(at, format!("writes {}", show::persist(&persist)));
                self.hosts[at].writing.push_back(persist);
            }
            Output::Reply { token, answer } => {
                let text = match answer {
                    Answer::Applied(outcome) => show::outcome(&outcome),
                    Answer::Done => "done".to_owned(),
                    Answer::Failed(error) if error.is_unknown() => format!("unknown: {error}"),
                    Answer::Pinned(_) => "pinned".to_owned(),
                    Answer::Opened(opened) => {
                        let text = show::opened(&opened);
                        self.opened(opened);
                        text
                    }
                    Answer::Failed(error) => format!("failed: {error}"),
                };
                self.say(at, format!("answers #{}: {text}", token.0));
            }
            Output::Lost(kept) => self.say(at, format!("has lost lease {}", kept.lease())),
            Output::TakeSnapshot(image) => {
                let mark = image.mark().clone();
                let sections: Vec<Section> = image.sections().collect();
                let file_bytes = sections.iter().map(|section| section.bytes.len() as u64).sum();
                let hash = mark.index.get() * 1_000 + mark.term.get();
                self.say(at, format!("takes a snapshot at {}", mark.index));
                let file = SnapshotFile { mark, file_bytes, hash };
                self.hosts[at].disk.snapshot = Some((file.clone(), sections));
                more.push_back(Input::SnapshotTaken { oldest: file.mark.index, file });
            }
            Output::ReadChunk { to, transfer, offset, len, .. } => {
                let bytes = bytes::Bytes::from(vec![0; len as usize]);
                more.push_back(Input::ChunkRead { to, transfer, offset, bytes });
            }
            Output::Stage(file) => {
                let hash = file.hash;
                let have = match &self.hosts[at].stage {
                    Some((staged, have)) if staged.hash == hash => *have,
                    _ => 0,
                };
                self.hosts[at].stage = Some((file, have));
                more.push_back(Input::Staged { hash, have });
            }
            Output::StageChunk { hash, bytes, .. } => {
                let Some((_, have)) = &mut self.hosts[at].stage else { return Ok(()) };
                *have += bytes.len() as u64;
                let have = *have;
                more.push_back(Input::Staged { hash, have });
            }
            Output::StageFinish { hash } => more.push_back(self.finish(hash)?),
            Output::Unstage { .. } => self.hosts[at].stage = None,
            Output::ReleaseLog(upto) => {
                let disk = &mut self.hosts[at].disk;
                if let Some((file, _)) = &disk.snapshot {
                    disk.mark = file.mark.clone();
                    disk.entries.retain(|entry| entry.index > file.mark.index);
                }
                self.say(at, format!("releases the log up to {upto}"));
            }
            Output::Members(_) | Output::Discard(_) | Output::DiscardEntries(_) => {}
        }
        Ok(())
    }

    /// The received file is whole: the bytes are its sender's.
    fn finish(&self, hash: u64) -> Result<Input, Error> {
        let mut kept = self.hosts.iter().filter_map(|host| host.disk.snapshot.as_ref());
        let Some((file, sections)) = kept.find(|(file, _)| file.hash == hash) else {
            return Ok(Input::StageFailed { hash, why: "nobody has it".to_owned() });
        };
        let machine = Machine::restore(sections.iter().cloned().map(Ok), &file.mark)?;
        Ok(Input::StageReady { hash, machine: Box::new(machine) })
    }

    fn persist(&mut self, at: usize) -> bool {
        let host = &mut self.hosts[at];
        let mut last = None;
        while let Some(persist) = host.writing.pop_front() {
            let disk = &mut host.disk;
            if let Some(mark) = persist.install {
                disk.mark = mark;
                disk.entries.clear();
            }
            if let Some(first) = persist.entries.first() {
                disk.entries.retain(|entry| entry.index < first.index);
            }
            disk.entries.extend(persist.entries);
            disk.hard_state = persist.hard_state.unwrap_or(disk.hard_state);
            last = Some(persist.ticket);
        }
        let Some(ticket) = last else { return false };
        self.say(at, "is durable");
        self.give(at, Input::Persisted(ticket));
        true
    }

    /// Delivers what is in the network now, not what that causes.
    fn deliver(&mut self) -> bool {
        let batch = std::mem::take(&mut self.network);
        let any = !batch.is_empty();
        for (from, to, bytes) in batch {
            let Some(at) = self.hosts.iter().position(|host| host.id == to) else { continue };
            if self.cut.contains(&(from, to)) || self.hosts[at].replica.is_none() {
                continue;
            }
            let incarnation = self.hosts[at].incarnation;
            let address = Address { cluster: ClusterId::new(7), node: to, incarnation };
            match Envelope::open(&address, from, bytes) {
                Ok(envelope) => self.give(at, Input::Deliver(envelope)),
                Err(error) => self.say(at, format!("refuses: {error}")),
            }
        }
        any
    }

    /// Sends word in the name of `from` that it refuses a snapshot of `to`.
    fn refuse(&mut self, from: usize, to: usize, transfer: u64) {
        let (from, to) = (&self.hosts[from], &self.hosts[to]);
        let (node, incarnation) = (from.id, from.incarnation);
        let address = Address { cluster: ClusterId::new(7), node, incarnation };
        let body = Body::ChunkAck { transfer, have: 0, stage: ChunkStage::Refused };
        let envelope = body.seal(&address, to.id, to.incarnation);
        self.network.push_back((node, to.id, envelope));
    }

    fn settle(&mut self) -> Answered<()> {
        for _ in 0..1_000 {
            let mut busy = false;
            for at in 0..self.hosts.len() {
                busy |= self.persist(at);
            }
            busy |= self.deliver();
            if !busy {
                return Ok(());
            }
        }
        Err("the cluster does not come to rest".into())
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    fn write(&mut self, at: usize, command: &Command, deadline: Instant) {
        let token = self.token();
        self.give(at, Input::Write { token, payload: command.encode(), deadline });
    }

    fn crash(&mut self, at: usize) {
        self.hosts[at].replica = None;
        self.hosts[at].writing.clear();
        // What was on its way from it still is; what it had not sent is gone.
        self.say(at, "crashes");
    }

    /// A tick for these nodes, or for all if none is named.
    fn tick(&mut self, names: &[String]) {
        self.now = self.now.after(TICK);
        for at in 0..self.hosts.len() {
            if names.is_empty() || names.contains(&self.hosts[at].name) {
                self.give(at, Input::Time);
            }
        }
    }

    fn status(&mut self) {
        for at in 0..self.hosts.len() {
            let text = match &self.hosts[at].replica {
                None => "is down".to_owned(),
                Some(replica) => {
                    let status = replica.status();
                    let leader = status.leader.map_or("-".to_owned(), |id| format!("n{id}"));
                    format!(
                        "{:?} term {} leader {leader} commit {} applied {} revision {} hash {:08x}",
                        status.role,
                        status.term,
                        status.commit,
                        status.applied,
                        status.revision,
                        replica.machine().hash()
                    )
                }
            };
            self.say(at, text);
        }
    }

    fn get(&mut self, at: usize, key: &str) -> Answered<()> {
        let Some(replica) = &self.hosts[at].replica else { return Err("it is down".into()) };
        let (revision, found) = replica.reader().get(key.as_bytes(), None)?;
        let found = found.as_ref().map_or("nothing".to_owned(), show::kv);
        self.say(at, format!("holds {found} (revision {revision})"));
        Ok(())
    }

    fn command(&mut self, line: &Line) -> Answered<()> {
        match line.name.as_str() {
            "put" | "claim" | "delete" | "read" | "get" | "transfer" => self.call(line),
            "grant" | "revoke" | "keep" | "open" | "adopt" => self.lease(line),
            "leases" | "kept" | "leftovers" => self.lease(line),
            "close" | "orphan" | "holder" => self.hold(line),
            "leave" => self.leave(line),
            "persist" | "crash" | "restart" | "lose-disk" => self.fate(line),
            "tick" | "elect" | "run" => self.time(line),
            _ => self.world(line),
        }
    }

    /// What a caller asks of one node.
    fn call(&mut self, line: &Line) -> Answered<()> {
        let mut args = line.consume_args();
        let at = node(self, &mut args)?;
        let timeout = number(&mut args, "timeout")?;
        let deadline = self.now.after(Duration::from_millis(timeout.unwrap_or(60_000)));
        match line.name.as_str() {
            // To claim is to put what is not there.
            "put" | "claim" => {
                let key = args.next_pos().ok_or("key?")?.to_owned().into();
                let value = args.next_pos().ok_or("value?")?.to_owned().into();
                let prev = args.take_key("prev") == Some("true");
                let lease = LeaseId::new(number(&mut args, "lease")?.unwrap_or(0));
                let put = Put { lease, prev, ..Put::new(key, value) };
                let write = if line.name == "put" { Command::Put(put) } else { leases::claim(put) };
                self.write(at, &write, deadline);
            }
            "delete" => {
                let key = args.next_pos().ok_or("key?")?.to_owned();
                let range = KeyRange::key(key);
                self.write(at, &Command::Delete(Delete { range, prev: false }), deadline);
            }
            "read" => {
                let token = self.token();
                self.give(at, Input::Read { token, deadline });
            }
            "transfer" => {
                let to = self.hosts[node(self, &mut args)?].id;
                let deadline = self.now.after(Duration::from_secs(2));
                let token = self.token();
                self.give(at, Input::Transfer { token, to, deadline });
            }
            _ => {
                let key = args.next_pos().ok_or("key?")?.to_owned();
                self.get(at, &key)?;
            }
        }
        Ok(())
    }

    /// What happens to one node.
    fn fate(&mut self, line: &Line) -> Answered<()> {
        let mut args = line.consume_args();
        let at = node(self, &mut args)?;
        match line.name.as_str() {
            "persist" => {
                self.persist(at);
                Ok(())
            }
            "crash" => {
                self.crash(at);
                Ok(())
            }
            "restart" => self.start(at),
            _ => {
                self.crash(at);
                self.hosts[at].disk = self.empty_disk();
                let incarnation = self.hosts[at].incarnation.get();
                self.hosts[at].incarnation = Incarnation::new(incarnation + 1_000);
                self.start(at)
            }
        }
    }

    /// Time passes, for all or for some.
    fn time(&mut self, line: &Line) -> Answered<()> {
        let mut args = line.consume_args();
        let count = number(&mut args, "n")?;
        let names: Vec<String> =
            std::iter::from_fn(|| args.next_pos()).map(str::to_owned).collect();
        // An election: time passes for one node only, so that it is the one to stand.
        let (turns, settles) = match line.name.as_str() {
            "tick" => (count.unwrap_or(1), false),
            "elect" if names.is_empty() => return Err("name a node".into()),
            "elect" => (60, true),
            _ => (count.unwrap_or(1), true),
        };
        for _ in 0..turns {
            self.tick(&names);
            if settles {
                self.settle()?;
            }
        }
        Ok(())
    }

    /// Commands that concern everybody.
    fn world(&mut self, line: &Line) -> Answered<()> {
        let mut args = line.consume_args();
        match line.name.as_str() {
            "set" => {
                for name in ["snapshot_count", "catchup"] {
                    if let Some(value) = number(&mut args, name)? {
                        self.settings.insert(name.to_owned(), value);
                    }
                }
                Ok(())
            }
            "cluster" => {
                let count = number(&mut args, "n")?.unwrap_or(3);
                self.create(count)
            }
            "deliver" => {
                self.deliver();
                Ok(())
            }
            "drop" => {
                self.network.clear();
                Ok(())
            }
            "settle" => self.settle(),
            "nobody-waits" | "somebody-waits" => {
                self.nobody_waits = line.name == "nobody-waits";
                Ok(())
            }
            "refuse" => {
                let (from, to) = (node(self, &mut args)?, node(self, &mut args)?);
                self.refuse(from, to, number(&mut args, "transfer")?.unwrap_or(1));
                Ok(())
            }
            "cut" | "heal" => {
                let (a, b) = (node(self, &mut args)?, node(self, &mut args)?);
                let (a, b) = (self.hosts[a].id, self.hosts[b].id);
                self.cut.retain(|pair| *pair != (a, b) && *pair != (b, a));
                if line.name == "cut" {
                    self.cut.extend([(a, b), (b, a)]);
                }
                Ok(())
            }
            "status" => {
                self.status();
                Ok(())
            }
            other => Err(format!("no such command: {other}").into()),
        }
    }
}

fn node(cluster: &Cluster, args: &mut ArgumentConsumer<'_>) -> Answered<usize> {
    cluster.at(args.next_pos().ok_or("name a node")?)
}

impl goldenscript::Runner for Cluster {
    type Command = Line;

    fn run(&mut self, line: &Line, _: &Context) -> Answered<String> {
        self.command(line)?;
        Ok(std::mem::take(&mut self.out))
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "reads the repository's own files")]
fn scripts() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts/replica");
    let mut count = 0;
    for file in std::fs::read_dir(directory).unwrap() {
        goldenscript::run(&mut Cluster::default(), file.unwrap().path()).unwrap();
        count += 1;
    }
    assert!(count >= 5, "only {count} scripts in {directory}");
}
