//! Which calls clients make, and on what.

use bytes::Bytes;

use super::{Client, HOT, NESTED};
use crate::core::machine::txn::{self, Compare, Delete, Operator, Put, Target, Txn};
use crate::core::mvcc::{Order, Query, SortBy};
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;
use crate::sim::history::Op;

impl Client {
    pub(super) fn draw(&mut self) -> Op {
        let mix = self.workload.mix;
        if self.dice.chance(mix.compactions) {
            let back = self.dice.below(100);
            let revision = Revision::new(self.newest.get().saturating_sub(back).max(1));
            return Op::Compact { revision };
        }
        if self.dice.chance(mix.writes) {
            if !self.dice.chance(mix.deletes) {
                let key = self.key();
                return Op::Put(self.put(key));
            }
            return Op::Delete(self.delete());
        }
        let serializable = self.dice.chance(mix.serializable);
        let at = self.dice.chance(mix.past).then(|| self.past());
        if self.dice.chance(mix.ranges) {
            return Op::Range { query: Query { at, ..self.query() }, serializable };
        }
        Op::Get { key: self.key(), at, serializable }
    }

    /// A transaction that only reads, mostly several things of one state.
    pub(super) fn draw_look(&mut self) -> Op {
        let serializable = self.dice.chance(self.workload.mix.serializable);
        let mut txn = Txn::default();
        if self.dice.chance(500_000) {
            txn.compares.push(self.compare());
            txn.failure.push(txn::Op::Range(self.query()));
        }
        for _ in 0..=self.dice.below(2) {
            let at = self.dice.chance(self.workload.mix.past).then(|| self.past());
            txn.success.push(txn::Op::Range(Query { at, ..self.query() }));
        }
        Op::Txn { txn, serializable }
    }

    /// A transaction, mostly with writes in it.
    pub(super) fn draw_txn(&mut self, nested: u32) -> Txn {
        let mut txn = Txn::default();
        for _ in 0..self.dice.below(3) {
            txn.compares.push(self.compare());
        }
        txn.success = self.branch(nested);
        if self.dice.chance(500_000) {
            txn.failure = self.branch(nested);
        }
        txn
    }

    /// A few operations. Each writes another key than those before, and each depth of nesting has
    /// keys of its own: none is written twice (`TXN-9`).
    fn branch(&mut self, nested: u32) -> Vec<txn::Op> {
        let (mut ops, first) = (Vec::new(), self.number());
        for step in 0..=self.dice.below(4) {
            let key = match NESTED - nested {
                0 => name((first + step) % self.workload.keys.max(8)),
                depth => Bytes::from(format!("n{depth}/{step}")),
            };
            ops.push(match self.dice.below(8) {
                0 | 1 => txn::Op::Range(self.query()),
                2 => txn::Op::Delete(Delete { range: KeyRange::key(key), prev: step % 2 == 0 }),
                3 if nested > 0 => {
                    ops.push(txn::Op::Txn(self.draw_txn(nested - 1)));
                    return ops;
                }
                4 if step == 0 && nested == NESTED => return vec![txn::Op::Delete(self.delete())],
                _ => txn::Op::Put(self.put(key)),
            });
        }
        ops
    }

    /// Conditions that hold about as often as not.
    fn compare(&mut self) -> Compare {
        let range =
            if self.dice.chance(800_000) { KeyRange::key(self.key()) } else { self.range() };
        let newest = self.newest.get();
        let near = Revision::new(newest.saturating_sub(self.dice.below(20)));
        let (target, usual) = match self.dice.below(5) {
            0 => (Target::Version(self.dice.below(4)), Operator::Greater),
            1 => (Target::CreateRevision(Revision::default()), Operator::NotEqual),
            2 => (Target::Value(Bytes::from(self.dice.below(24).to_string())), Operator::Less),
            3 => (Target::Lease(LeaseId::new(0)), Operator::Equal),
            _ => (Target::ModRevision(near), Operator::Less),
        };
        let operators = [Operator::Equal, Operator::NotEqual, Operator::Greater, Operator::Less];
        let drawn = self.dice.pick(&operators).copied().unwrap_or(usual);
        let operator = if self.dice.chance(500_000) { usual } else { drawn };
        Compare { range, operator, target }
    }

    fn put(&mut self, key: Bytes) -> Put {
        let prev = self.dice.chance(500_000);
        if self.dice.chance(self.workload.mix.options / 4) {
            return Put { prev, ignore_value: true, ..Put::new(key, Bytes::new()) };
        }
        Put { prev, ..Put::new(key, self.value()) }
    }

    /// Never of an account.
    fn delete(&mut self) -> Delete {
        let prev = self.dice.chance(500_000);
        let range = match self.dice.below(10) {
            0..8 => KeyRange::key(self.key()),
            8 => KeyRange::starting_at("k"),
            _ => KeyRange::prefix(self.key().slice(..4)),
        };
        Delete { range, prev }
    }

    /// Mostly all of a range, in its own order.
    fn query(&mut self) -> Query {
        let mut query = Query::new(self.range());
        query.limit = if self.dice.chance(500_000) { self.dice.place(20) } else { 0 };
        query.count_only = self.dice.chance(100_000);
        let rare = self.workload.mix.options;
        if self.dice.chance(rare) {
            let by = [SortBy::Version, SortBy::CreateRevision, SortBy::ModRevision, SortBy::Value];
            query.sort = self.dice.pick(&by).copied().unwrap_or_default();
        }
        if self.dice.chance(rare) {
            query.order = Order::Descending;
        }
        query.keys_only = self.dice.chance(rare);
        if self.dice.chance(rare) {
            let past = self.past();
            let bounds = if self.dice.chance(500_000) {
                &mut query.mod_revision
            } else {
                &mut query.create_revision
            };
            if self.dice.chance(500_000) {
                bounds.min = past;
            } else {
                bounds.max = past;
            }
        }
        query
    }

    /// Not long ago, or not yet.
    fn past(&mut self) -> Revision {
        let back = self.dice.below(50);
        Revision::new((self.newest.get() + 3).saturating_sub(back).max(1))
    }

    fn number(&mut self) -> u64 {
        let hot = self.dice.chance(self.workload.hot);
        self.dice.below(if hot { HOT } else { self.workload.keys })
    }

    pub(super) fn key(&mut self) -> Bytes {
        name(self.number())
    }

    fn range(&mut self) -> KeyRange {
        match self.dice.below(4) {
            0 => KeyRange::all(),
            1 => KeyRange::starting_at(self.key()),
            2 => KeyRange::prefix(self.key().slice(..4)),
            _ => {
                let (one, other) = (self.key(), self.key());
                KeyRange::from(one.clone().min(other.clone())..one.max(other))
            }
        }
    }

    /// Says who wrote it, and as which of its writes.
    pub(super) fn value(&mut self) -> Bytes {
        self.writes += 1;
        let mut value = format!("{}.{}", self.number, self.writes).into_bytes();
        let longest = if self.dice.chance(100_000) { self.workload.value_bytes } else { 16 };
        let len = self.dice.place(longest);
        value.resize(value.len().max(len), b' ');
        Bytes::from(value)
    }
}

pub(super) fn name(number: u64) -> Bytes {
    Bytes::from(format!("k{number:04}"))
}
