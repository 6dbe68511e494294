//! The world: members, network, disks, and one queue of what happens next.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Weak};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

use super::clock::LocalClock;
use super::dice::{Dice, Seed};
use super::disk::MemoryDisk;
use super::failure::Failure;
use super::faults::{Fault, Faults};
use super::marks::Marks;
use super::nemesis::Undo;
use super::network::{Fate, Network};
use super::node::{Life, Node};
use super::port::{Nudges, Port};
use super::seen::{Clocks, Judge, Seen};
use super::shared::Shared;
use super::trace::{Event, Trace};
use super::workload::Recorder;
use crate::config::Config;
use crate::core::replica::Replica;
use crate::core::replica::consensus::Role;
use crate::core::replica::envelope::{Address, Envelope, rarity};
use crate::core::replica::io::Persist;
use crate::core::watch::Step;
use crate::error::Result;
use crate::ids::{Incarnation, NodeId};
use crate::time::{Instant, nanos};

/// One turn of so many is followed by a look at what a member holds around its replica.
const HOST_ONE_IN: u32 = 16;

/// Something that will happen, to a member by its place and in this life of it.
pub(super) enum Next {
    Arrive { from: usize, to: usize, envelope: Bytes },
    Turn { node: usize, life: u64 },
    Alarm { node: usize, life: u64 },
    Written { node: usize, life: u64 },
    Overdue { node: usize, life: u64 },
    Worked { node: usize, life: u64 },
    Open { node: usize, life: u64 },
    Wake(Waker),
    Begin(Fault, u64),
    End(Undo),
}

/// In the order of time, and in the order in which it was planned.
struct Planned {
    at: u64,
    number: u64,
    next: Next,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// How much is done for watchers at a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// As in production if there is none.
    pub(super) step: Option<Step>,
    /// Records and watchers that a turn goes through to ring, at most.
    pub(super) rings: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Self { step: None, rings: usize::MAX }
    }
}

/// See the top of the file.
pub(super) struct World {
    pub(super) seed: Seed,
    /// True time, in nanoseconds.
    pub(super) now: u64,
    planned: u64,
    turns: u32,
    queue: BinaryHeap<Reverse<Planned>>,
    pub(super) nodes: Vec<Node>,
    pub(super) network: Network,
    pub(super) dice: Dice,
    pub(super) faults: Faults,
    /// Faults come.
    pub(super) unruly: bool,
    /// Rises whenever other faults come: those that were planned before do not.
    pub(super) wave: u64,
    /// How often everything was healed.
    pub(super) healed: u64,
    /// Nothing takes time by itself: a script says when time passes.
    pub(super) by_hand: bool,
    /// How much is done for watchers at a time.
    pub(super) pace: Pace,
    /// Envelopes on links that are held, by sender and receiver, oldest first.
    pub(super) held: Vec<(usize, usize, Bytes)>,
    pub(super) trace: Trace,
    pub(super) marks: Marks,
    judges: Vec<Box<dyn Judge>>,
    failure: Option<Failure>,
    /// The command that shows a failure again.
    pub(super) replay: Option<String>,
    /// Where it is noted that a member starts again.
    pub(super) recorder: Option<Recorder>,
    /// What gates look back through.
    pub(super) own: Weak<Shared>,
    /// Who was asked for something meanwhile.
    pub(super) nudges: Arc<Nudges>,
}

impl World {
    pub(super) fn new(seed: Seed, configs: Vec<Config>, faults: Faults) -> Result<Self> {
        let mut dice = Dice::new(seed);
        let mut nodes = Vec::new();
        for config in configs {
            let disk = MemoryDisk::new();
            nodes.push(Node {
                id: config.node_id()?,
                name: config.name.clone(),
                config: config.vfs(Arc::new(disk.clone())),
                disk,
                clock: LocalClock::default(),
                life: 0,
                state: Life::Down,
                turn_at: None,
                wake_at: 0,
                alarm: None,
                paused_until: 0,
                stalled_until: 0,
                slow: Duration::ZERO,
                rotten: false,
                excused: false,
            });
        }
        let names = nodes.iter().map(|node| {
            let (cluster, incarnation) = Default::default();
            let address = Address { cluster, node: node.id, incarnation };
            (node.name.clone(), address)
        });
        Ok(Self {
            seed,
            now: 0,
            planned: 0,
            turns: 0,
            queue: BinaryHeap::new(),
            network: Network::new(nodes.len(), &faults, dice.fork()),
            trace: Trace::new(names.collect()),
            dice,
            faults,
            unruly: false,
            wave: 0,
            healed: 0,
            marks: Marks::new(nodes.iter().map(|node| node.id)),
            by_hand: false,
            pace: Pace::default(),
            held: Vec::new(),
            judges: Vec::new(),
            failure: None,
            replay: None,
            recorder: None,
            own: Weak::new(),
            nudges: Arc::default(),
            nodes,
        })
    }

    pub(super) fn judged_by(&mut self, judge: Box<dyn Judge>) {
        self.judges.push(judge);
    }

    pub(super) fn set_pace(&mut self, pace: Pace) {
        self.pace = pace;
        let up = self.nodes.iter().filter_map(Node::running);
        for running in up {
            if let Some(step) = pace.step {
                running.port.watches.set_step(step);
            }
        }
    }

    /// Shows the members that are up to the judge that came last, as if they had just opened.
    pub(super) fn meet_members(&mut self) {
        let Some(judge) = self.judges.last_mut() else { return };
        let up = self.nodes.iter().filter_map(|node| Some((node.id, node.replica()?)));
        let clocks = Clocks { truth: self.now, nodes: &self.nodes };
        let mut met =
            up.map(|(node, replica)| judge.see_at(&Seen::Opened { node, replica }, clocks));
        let judged = met.find_map(Result::err);
        self.judged(0, judged);
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }

    pub(super) fn local_now(&self, node: usize) -> Instant {
        self.nodes.get(node).map_or(Instant::default(), |node| node.clock.at(self.now))
    }

    // ---- failure

    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Something was promised and not kept: nothing happens any more. The first one counts.
    pub(super) fn fail(&mut self, what: String) {
        if self.failure.is_none() {
            let at = Duration::from_nanos(self.now);
            let events = self.trace.story();
            let replay = self.replay.clone();
            let history = String::new();
            self.failure = Some(Failure { seed: self.seed, at, what, events, replay, history });
        }
    }

    pub(super) fn show(&mut self, place: usize, see: impl Fn(NodeId, &Node) -> Option<Seen<'_>>) {
        let Some(node) = self.nodes.get(place) else { return };
        let Some(seen) = see(node.id, node) else { return };
        self.marks.see(self.now, &seen);
        let clocks = Clocks { truth: self.now, nodes: &self.nodes };
        let judged = look(&mut self.judges, &seen, clocks);
        self.judged(place, judged);
    }

    /// What a member holds around its replica grows slowly, if it does: a look now and then.
    pub(super) fn show_host(&mut self, place: usize) {
        self.turns = self.turns.wrapping_add(1);
        let Some(node) = self.nodes.get(place).filter(|_| self.turns.is_multiple_of(HOST_ONE_IN))
        else {
            return;
        };
        let Some(running) = node.running() else { return };
        let (driver, mailbox) = (&running.driver, &running.port.mailbox);
        let looks = |judge: &mut Box<dyn Judge>| judge.host(node.id, driver, mailbox).err();
        let judged = self.judges.iter_mut().find_map(looks);
        self.judged(place, judged);
    }

    pub(super) fn show_durable(&mut self, place: usize, batch: &[Persist]) {
        let Some(node) = self.nodes.get(place).map(|node| node.id) else { return };
        let seen = Seen::Durable { node, batch };
        self.marks.see(self.now, &seen);
        let clocks = Clocks { truth: self.now, nodes: &self.nodes };
        let judged = look(&mut self.judges, &seen, clocks);
        self.judged(place, judged);
    }

    fn judged(&mut self, place: usize, judged: Option<String>) {
        if let Some(what) = judged {
            self.fail(format!("{}: {what}", self.name(place)));
        }
    }

    /// The judges look at what is left.
    pub(super) fn judge_end(&mut self) {
        let members = self.nodes.iter().filter_map(|node| Some((node.id, node.replica()?)));
        let members: Vec<_> = members.collect();
        let judged = self.judges.iter_mut().find_map(|judge| {
            judge.end(&members).err().map(|what| format!("{}: {what}", judge.name()))
        });
        if let Some(what) = judged {
            self.fail(what);
        }
    }

    /// The disk of a member was damaged on purpose.
    pub(super) fn tell_damaged(&mut self, place: usize) {
        let Some(node) = self.nodes.get_mut(place) else { return };
        node.rotten = true;
        for judge in &mut self.judges {
            judge.damaged(node.id);
        }
    }

    /// The disk of a member was replaced by an empty one on purpose.
    #[cfg(test)]
    pub(super) fn tell_replaced(&mut self, place: usize) {
        let Some(node) = self.nodes.get(place).map(|node| node.id) else { return };
        for judge in &mut self.judges {
            judge.replaced(node);
        }
    }

    // ---- time

    /// How long something takes: at least the first, and less than the second.
    pub(super) fn pace(&mut self, from: Duration, to: Duration) -> Duration {
        if self.by_hand { Duration::ZERO } else { self.dice.span(from, to) }
    }

    pub(super) fn plan(&mut self, after: Duration, next: Next) {
        self.plan_at(self.now.saturating_add(nanos(after)), next);
    }

    pub(super) fn plan_at(&mut self, at: u64, next: Next) {
        self.planned += 1;
        self.queue.push(Reverse(Planned { at, number: self.planned, next }));
    }

    pub(super) fn wake_at(&mut self, at: u64, waker: Waker) {
        self.plan_at(at, Next::Wake(waker));
    }

    /// When the next thing happens.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.queue.peek().map(|Reverse(planned)| planned.at)
    }

    /// Time goes on to the next thing that was planned, and that happens. False if there is none.
    pub(super) fn step(&mut self) -> bool {
        let Some(Reverse(planned)) = self.queue.pop() else { return false };
        self.now = self.now.max(planned.at);
        match planned.next {
            Next::Arrive { from, to, envelope } => self.arrive(from, to, envelope),
            Next::Turn { node, life } => self.turn_of(node, life),
            Next::Alarm { node, life } => self.alarm(node, life),
            Next::Written { node, life } => self.written(node, life),
            Next::Overdue { node, life } => self.overdue(node, life),
            Next::Worked { node, life } => self.worked(node, life),
            Next::Open { node, life } => {
                if self.is_life(node, life) {
                    self.open(node);
                }
            }
            Next::Wake(waker) => waker.wake(),
            Next::Begin(fault, wave) => self.begin(fault, wave),
            Next::End(undo) => self.undo(undo),
        }
        for place in self.nudges.take() {
            self.turn_soon(place);
        }
        true
    }

    /// Nothing happens until then.
    pub(super) fn pass_until(&mut self, at: u64) {
        self.now = self.now.max(at);
    }

    /// As many members can be up as it takes: no more refuse than that.
    pub(super) fn has_quorum(&self) -> bool {
        let refuse = |node: &&Node| matches!(node.state, Life::Refused);
        let refusing = self.nodes.iter().filter(refuse).count();
        self.nodes.len() - refusing > self.nodes.len() / 2
    }

    /// All members that are up have applied the same and one of them leads, or too few can be up.
    pub(super) fn is_settled(&self) -> bool {
        let up: Vec<_> = self.nodes.iter().filter_map(Node::replica).map(Replica::status).collect();
        let down = self.nodes.iter().any(|node| matches!(node.state, Life::Down));
        let Some(first) = up.first() else { return !down };
        let led = up.iter().any(|it| it.role == Role::Leader);
        let same = up.iter().all(|it| it.applied == first.applied && it.last_index == it.applied);
        !down && (led && same || !self.has_quorum()) && self.now >= self.quiet_at()
    }

    pub(super) fn is_life(&self, place: usize, life: u64) -> bool {
        self.nodes.get(place).is_some_and(|node| node.life == life)
    }

    pub(super) fn name(&self, place: usize) -> String {
        self.nodes.get(place).map_or_else(|| "?".to_owned(), |node| node.name.clone())
    }

    pub(super) fn add(&mut self, event: Event) {
        self.trace.add(self.now, event);
    }

    /// A number that no other data directory has.
    pub(super) fn incarnation(&mut self) -> Incarnation {
        Incarnation::new(self.dice.number() | 1)
    }

    // ---- the network

    pub(super) fn send(&mut self, from: usize, to: NodeId, envelope: Bytes) {
        if let Some(body) = rarity(&envelope) {
            self.marks.said(from, to, &body);
        }
        let Some(to) = self.nodes.iter().position(|node| node.id == to) else { return };
        let (first, second) = match self.network.fate(from, to) {
            Fate::Lost => (None, None),
            Fate::Once(delay) => (Some(delay), None),
            Fate::Twice(first, second) => (Some(first), Some(second)),
            Fate::Held => {
                self.add(Event::Held { from, to, envelope: envelope.clone() });
                return self.held.push((from, to, envelope));
            }
        };
        let arrives = first.map(|delay| self.now.saturating_add(nanos(delay)));
        self.add(Event::Sent { from, to, envelope: envelope.clone(), arrives });
        if let Some(delay) = second {
            self.plan(delay, Next::Arrive { from, to, envelope: envelope.clone() });
        }
        if let Some(delay) = first {
            self.plan(delay, Next::Arrive { from, to, envelope });
        }
    }

    pub(super) fn arrive(&mut self, from: usize, to: usize, envelope: Bytes) {
        let Some(sender) = self.nodes.get(from).map(|node| node.id) else { return };
        let Some(running) = self.nodes.get(to).and_then(Node::running) else { return };
        let port = Arc::clone(&running.port);
        self.add(Event::Arrived { from, to, envelope: envelope.clone() });
        deliver(&port, sender, envelope);
        self.turn_soon(to);
    }

    // ---- turns

    /// A member decides what waits for it, in a moment: more may come until then.
    pub(super) fn turn_soon(&mut self, place: usize) {
        let gap = self.pace(Duration::ZERO, Duration::from_micros(10));
        let at = self.now + nanos(gap);
        self.turn_at(place, at);
    }

    pub(super) fn turn_at(&mut self, place: usize, at: u64) {
        let Some(node) = self.nodes.get_mut(place) else { return };
        if node.turn_at.is_none_or(|planned| at < planned) {
            node.turn_at = Some(at);
            let life = node.life;
            self.plan_at(at, Next::Turn { node: place, life });
        }
    }

    /// A member has a turn then, if it has none before in which it wants another time.
    pub(super) fn wake_turn_at(&mut self, place: usize, at: u64) {
        let Some(node) = self.nodes.get_mut(place) else { return };
        node.wake_at = at;
        if node.alarm.is_none_or(|planned| at < planned) {
            node.alarm = Some(at);
            let life = node.life;
            self.plan_at(at, Next::Alarm { node: place, life });
        }
    }

    fn alarm(&mut self, place: usize, life: u64) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(place) else { return };
        if node.life != life || node.alarm != Some(now) {
            return;
        }
        node.alarm = None;
        let at = node.wake_at;
        if now < at { self.wake_turn_at(place, at) } else { self.turn_at(place, now) }
    }

    fn turn_of(&mut self, place: usize, life: u64) {
        let now = self.now;
        let Some(node) = self.nodes.get_mut(place) else { return };
        if node.life != life || node.turn_at != Some(now) {
            return;
        }
        node.turn_at = None;
        if now < node.paused_until {
            let at = node.paused_until;
            return self.turn_at(place, at);
        }
        self.turn(place);
    }
}

/// As a transport would. What is not for this member, or for another life of it, is dropped.
fn deliver(port: &Port, from: NodeId, envelope: Bytes) {
    let size = envelope.len();
    if let Ok(envelope) = Envelope::open(&port.address, from, envelope) {
        port.mailbox.receive(envelope, size);
    }
}

fn look(judges: &mut [Box<dyn Judge>], seen: &Seen<'_>, clocks: Clocks<'_>) -> Option<String> {
    let named = |judge: &dyn Judge, what: String| format!("{}: {what}", judge.name());
    judges
        .iter_mut()
        .find_map(|judge| judge.see_at(seen, clocks).err().map(|what| named(&**judge, what)))
}
