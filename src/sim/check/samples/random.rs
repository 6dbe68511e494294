//! Executions of a store that is right, with as much concurrency as there are clients.
//!
//! There is one model, which is the truth, and a log of what was applied to it. Members are models
//! of their own that lag behind on that log. A write takes effect at some moment while it is open,
//! or later if its client has given it up; a linearizable read is answered by a member that has
//! come as far as the log was when the read began; one that may be old by a member as it is.

use bytes::Bytes;

use super::rev;
use crate::core::machine::txn::{self, Compare, Delete, Operator, Put, Target, Txn};
use crate::core::mvcc::{Order, Query, SortBy};
use crate::error::WriteOutcome;
use crate::ids::{LeaseId, NodeId, Revision};
use crate::keys::KeyRange;
use crate::sim::check::model::Model;
use crate::sim::dice::{Dice, Seed};
use crate::sim::history::{Answer, CallId, History, Op, Why};
use crate::time::Instant;

/// What is made.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) calls: usize,
    pub(crate) clients: u32,
    pub(crate) keys: u64,
    /// Writes whose end stays unknown, in a thousand.
    pub(crate) unknown: u32,
    /// Reads, in a thousand.
    pub(crate) reads: u32,
    /// Of the reads those that may be old, in a thousand.
    pub(crate) old: u32,
    /// Of the calls those that are transactions, in a thousand; and how often reads and puts have
    /// options.
    pub(crate) txns: u32,
}

const MEMBERS: u64 = 3;

/// A call that is open, or a write that was given up and may yet happen.
struct Open {
    id: CallId,
    client: u32,
    member: u64,
    /// How long the log was when it began.
    from: usize,
    op: Op,
    /// Set when it has taken effect, with the length of the log then.
    done: Option<(Answer, usize)>,
    given_up: bool,
}

struct Member {
    model: Model,
    applied: usize,
}

pub(crate) struct Random {
    shape: Shape,
    dice: Dice,
    history: History,
    now: u64,
    truth: Model,
    /// What was applied to the truth, in order.
    log: Vec<Op>,
    members: Vec<Member>,
    open: Vec<Open>,
    /// Clients that wait for nothing.
    idle: Vec<u32>,
    next_client: u32,
    next_value: u64,
}

impl Random {
    pub(crate) fn history(seed: u64, shape: Shape) -> History {
        let mut random = Self::new(seed, shape);
        while random.history.len() < shape.calls {
            random.step();
        }
        for _ in 0..shape.clients * 4 {
            random.advance();
        }
        random.history
    }

    fn new(seed: u64, shape: Shape) -> Self {
        let idle = (0..shape.clients).collect();
        let fresh = |_| Member { model: Model::default(), applied: 0 };
        Self {
            shape,
            dice: Dice::new(Seed::new(seed)),
            history: History::new(),
            now: 0,
            truth: Model::default(),
            log: Vec::new(),
            members: (0..MEMBERS).map(fresh).collect(),
            open: Vec::new(),
            idle,
            next_client: shape.clients,
            next_value: 0,
        }
    }

    fn tick(&mut self) -> Instant {
        self.now += 1 + self.dice.below(5);
        Instant::from_nanos(self.now)
    }

    fn step(&mut self) {
        if !self.idle.is_empty() && self.dice.chance(400_000) {
            self.invoke();
        } else {
            self.advance();
        }
        if self.dice.chance(1_000) {
            self.restart();
        }
    }

    fn invoke(&mut self) {
        let place = self.dice.place(self.idle.len());
        let client = self.idle.swap_remove(place);
        let member = self.dice.below(MEMBERS);
        let op = self.op();
        let now = self.tick();
        let id = self.history.invoke(client, NodeId::new(member), now, op.clone());
        let from = self.log.len();
        self.open.push(Open { id, client, member, from, op, done: None, given_up: false });
    }

    fn op(&mut self) -> Op {
        let kind = self.dice.below(1000);
        let key = self.key();
        if self.chance(self.shape.reads) {
            let serializable = self.chance(self.shape.old);
            let at = self.chance(200).then(|| self.revision());
            if kind < 700 {
                return Op::Get { key: key.into(), at, serializable };
            }
            let limit = if kind < 850 { 0 } else { self.dice.place(4) };
            if self.chance(self.shape.txns) {
                return self.look(serializable, at);
            }
            let count_only = kind > 960;
            let query = Query { at, limit, count_only, ..self.query() };
            return Op::Range { query, serializable };
        }
        if self.chance(self.shape.txns) {
            return Op::Txn { txn: self.txn(2), serializable: false };
        }
        match kind {
            0..700 => Op::Put(self.put(key)),
            700..870 => Op::Delete(Delete { range: KeyRange::key(key), prev: self.chance(300) }),
            870..970 => Op::Delete(Delete { range: self.range(), prev: self.chance(300) }),
            _ => Op::Compact { revision: self.revision() },
        }
    }

    fn put(&mut self, key: String) -> Put {
        let prev = self.dice.chance(300_000);
        if self.chance(self.shape.txns / 4) {
            return Put { prev, ignore_value: true, ..Put::new(key.into(), Bytes::new()) };
        }
        self.next_value += 1;
        Put { prev, ..Put::new(key.into(), self.next_value.to_string().into()) }
    }

    /// Mostly a plain one.
    fn query(&mut self) -> Query {
        let mut query = Query::new(self.range());
        if self.chance(self.shape.txns) {
            let sorts = [SortBy::Key, SortBy::Version, SortBy::ModRevision, SortBy::Value];
            query.sort = self.dice.pick(&sorts).copied().unwrap_or_default();
            query.order = if self.chance(500) { Order::Ascending } else { Order::Descending };
            query.keys_only = self.chance(300);
            if self.chance(300) {
                query.mod_revision.min = self.revision();
            }
        }
        query
    }

    /// A transaction that only reads. With compares it reads what is newest: a refusal does not
    /// say which branch was taken.
    fn look(&mut self, serializable: bool, at: Option<Revision>) -> Op {
        let mut txn = Txn::default();
        for _ in 0..=self.dice.below(2) {
            let query = Query { at, ..self.query() };
            txn.success.push(txn::Op::Range(query));
        }
        if at.is_none() && self.chance(500) {
            txn.compares.push(self.compare());
            txn.failure.push(txn::Op::Range(self.query()));
        }
        Op::Txn { txn, serializable }
    }

    /// At least one write, and no key put twice, nor put and deleted, in one branch (`TXN-9`).
    fn txn(&mut self, depth: u32) -> Txn {
        let mut txn = Txn::default();
        for _ in 0..self.dice.below(3) {
            txn.compares.push(self.compare());
        }
        txn.success = self.branch(depth);
        txn.failure = if self.chance(500) { self.branch(depth) } else { Vec::new() };
        txn
    }

    /// Of few operations, each on another key; nested ones have keys of their own.
    fn branch(&mut self, depth: u32) -> Vec<txn::Op> {
        let (mut ops, first) = (Vec::new(), self.dice.below(4));
        for key in first..first + 1 + self.dice.below(3) {
            let letter = ["m", "l"].get(usize::try_from(depth).unwrap()).unwrap_or(&"k");
            let key = format!("{letter}{:03}", key % self.shape.keys.max(4));
            ops.push(match self.dice.below(8) {
                0 => txn::Op::Range(self.query()),
                1 => txn::Op::Delete(Delete { range: KeyRange::key(key), prev: self.chance(300) }),
                2 if depth > 0 => {
                    ops.push(txn::Op::Txn(self.txn(depth - 1)));
                    return ops;
                }
                _ => txn::Op::Put(self.put(key)),
            });
        }
        ops
    }

    fn compare(&mut self) -> Compare {
        let range = if self.chance(700) { KeyRange::key(self.key()) } else { self.range() };
        let operators = [
            Operator::Equal,
            Operator::Equal,
            Operator::NotEqual,
            Operator::Greater,
            Operator::Less,
        ];
        let operator = self.dice.pick(&operators).copied().unwrap_or(Operator::Equal);
        let target = match self.dice.below(5) {
            0 => Target::Version(self.dice.below(3)),
            1 => Target::CreateRevision(Revision::new(self.dice.below(2) * self.revision().get())),
            2 => Target::Value(self.dice.below(self.next_value + 1).to_string().into()),
            3 => Target::Lease(LeaseId::new(self.dice.below(2))),
            _ => Target::ModRevision(self.revision()),
        };
        Compare { range, operator, target }
    }

    fn chance(&mut self, per_thousand: u32) -> bool {
        self.dice.chance(per_thousand * 1000)
    }

    fn key(&mut self) -> String {
        format!("k{:03}", self.dice.below(self.shape.keys))
    }

    fn range(&mut self) -> KeyRange {
        let (from, to) = (self.key(), self.key());
        match self.dice.below(8) {
            0 => KeyRange::all(),
            1 => KeyRange::starting_at(from),
            _ => KeyRange::from(from..to),
        }
    }

    /// Not far from the newest.
    fn revision(&mut self) -> Revision {
        let newest = self.truth.revision().get() + 3;
        rev(newest.saturating_sub(self.dice.below(12)))
    }

    /// Something happens to one of the open calls.
    fn advance(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let place = self.dice.place(self.open.len());
        let open = &self.open[place];
        let (given_up, done) = (open.given_up, open.done.is_some());
        if open.op.view().is_some() {
            return self.read(place);
        }
        if given_up {
            // It takes effect, waits on, or is lost.
            match self.dice.below(12) {
                0 => drop(self.open.swap_remove(place)),
                1 | 2 => {
                    self.take_effect(place);
                    self.open.swap_remove(place);
                }
                _ => {}
            }
            return;
        }
        let unknown = self.shape.unknown;
        if self.chance(unknown / 2) {
            self.give_up(place);
        } else if !done && self.chance(unknown / 2) {
            let why = Why::Overloaded;
            self.end(place, Answer::Failed { outcome: WriteOutcome::NotApplied, why });
            self.open.swap_remove(place);
        } else if done {
            let (answer, length) = self.open[place].done.clone().unwrap();
            self.catch_up(self.open[place].member, length);
            self.end(place, answer);
            self.open.swap_remove(place);
        } else {
            self.take_effect(place);
        }
    }

    fn take_effect(&mut self, place: usize) {
        let open = &mut self.open[place];
        if open.done.is_none() {
            let answer = self.truth.apply(&open.op);
            self.log.push(open.op.clone());
            open.done = Some((answer, self.log.len()));
        }
    }

    /// The client learns nothing, or that nobody knows.
    fn give_up(&mut self, place: usize) {
        if self.dice.chance(500_000) {
            let why = Why::Timeout;
            self.end(place, Answer::Failed { outcome: WriteOutcome::Unknown, why });
        } else {
            self.replace(self.open[place].client);
        }
        self.open[place].given_up = true;
        if self.open[place].done.is_some() {
            self.open.swap_remove(place);
        }
    }

    /// A client that will never hear of its call goes, and another comes.
    fn replace(&mut self, _gone: u32) {
        self.idle.push(self.next_client);
        self.next_client += 1;
    }

    fn end(&mut self, place: usize, answer: Answer) {
        let now = self.tick();
        self.history.answer(self.open[place].id, now, answer);
        self.idle.push(self.open[place].client);
    }

    fn read(&mut self, place: usize) {
        let Open { member, from, .. } = self.open[place];
        let op = self.open[place].op.clone();
        if self.chance(20) {
            let why = Why::Timeout;
            self.end(place, Answer::Failed { outcome: WriteOutcome::NotApplied, why });
        } else {
            if op.view().is_some_and(|view| !view.serializable) {
                self.catch_up(member, from);
            } else if self.dice.chance(300_000) {
                self.catch_up(member, 0);
            }
            let answer = self.members[usize::try_from(member).unwrap()].model.apply(&op);
            self.end(place, answer);
        }
        self.open.swap_remove(place);
    }

    /// A member applies the log at least so far.
    fn catch_up(&mut self, member: u64, length: usize) {
        let member = &mut self.members[usize::try_from(member).unwrap()];
        let least = member.applied.max(length);
        let to = least + self.dice.place(self.log.len() - least + 1);
        for op in &self.log[member.applied..to] {
            member.model.apply(op);
        }
        member.applied = to;
    }

    /// A member forgets some of what it had applied, and its callers are never answered.
    fn restart(&mut self) {
        let number = self.dice.below(MEMBERS);
        let member = &mut self.members[usize::try_from(number).unwrap()];
        let kept = self.dice.place(member.applied + 1);
        member.model = Model::default();
        for op in &self.log[..kept] {
            member.model.apply(op);
        }
        member.applied = kept;
        self.history.restarted(NodeId::new(number));
        for place in (0..self.open.len()).rev() {
            let open = &mut self.open[place];
            if open.member != number || open.given_up {
                continue;
            }
            open.given_up = true;
            let client = open.client;
            if open.done.is_some() || open.op.view().is_some() {
                self.open.swap_remove(place);
            }
            self.replace(client);
        }
    }
}
