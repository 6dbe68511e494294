//! What is done to a store, one step at a time, and how a case says it.

use bytes::Bytes;

use super::super::input::Input;
use crate::core::machine::txn::{self, Compare, Delete, Operator, Put, Target, Txn};
use crate::core::mvcc::{Bounds, Order, Query, SortBy};
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;
use crate::sim::history::Op;

/// Steps, by the byte that asks for them: zero is the plainest, for a case that is made smaller.
pub(in crate::fuzzing) mod kind {
    pub(in crate::fuzzing) const PUT: u8 = 0;
    pub(in crate::fuzzing) const DELETE: u8 = 1;
    pub(in crate::fuzzing) const TXN: u8 = 2;
    pub(in crate::fuzzing) const RANGE: u8 = 3;
    pub(in crate::fuzzing) const COMPACT: u8 = 4;
    pub(in crate::fuzzing) const TIDY: u8 = 5;
    pub(in crate::fuzzing) const RESTORE: u8 = 6;
    pub(in crate::fuzzing) const PIN: u8 = 7;
    pub(in crate::fuzzing) const UNPIN: u8 = 8;
    pub(in crate::fuzzing) const REPEAT: u8 = 9;
    pub(in crate::fuzzing) const BOOT: u8 = 10;
    pub(in crate::fuzzing) const MANY: u8 = 11;
    pub(in crate::fuzzing) const GET: u8 = 12;
    pub(super) const COUNT: u8 = 13;
}

/// Few, so that they meet: some begin with others, and some end the space of keys.
const KEYS: [&[u8]; 8] = [b"a", b"b", b"c", b"a\0", b"ab", b"dir/a", b"dir/b", b"\xff\xff"];

/// Transactions are nested so deep at most.
const NESTED: usize = 2;

/// What is done.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Call(Op),
    /// One transaction that puts so many keys: blocks of history fill, leaves split.
    Many {
        from: u8,
        keys: u8,
    },
    /// A proposal reaches the log once more: the last, or so many before it.
    Repeat(usize),
    /// The node that proposes is started again.
    Boot,
    /// A slice of removal that looks at so many records.
    Tidy(usize),
    /// A long read begins.
    Pin(Option<Revision>),
    /// A long read ends: that many after the first.
    Unpin(usize),
    /// The store is replaced by the image of a member.
    Restore(usize),
}

/// Where the interesting revisions are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Horizon {
    pub(super) compacted: Option<Revision>,
    pub(super) newest: Revision,
}

impl Step {
    /// The call that the model understands; none changes nothing and is told nothing.
    pub(super) fn op(&self) -> Option<Op> {
        match self {
            Self::Call(op) => Some(op.clone()),
            Self::Many { from, keys } => {
                let put = |number: u8| {
                    let key = format!("many/{:03}", from.wrapping_add(number.wrapping_mul(7)));
                    txn::Op::Put(Put::new(key.into(), vec![*from, number].into()))
                };
                let success = (0..*keys).map(put).collect();
                Some(Op::Txn { txn: Txn { success, ..Txn::default() }, serializable: false })
            }
            // Who begins a long read is told what any read at its revision is told.
            Self::Pin(at) => {
                let key = Bytes::from_static(b"a");
                Some(Op::Get { key, at: *at, serializable: true })
            }
            _ => None,
        }
    }

    /// The next step of a case.
    pub(super) fn draw(input: &mut Input<'_>, horizon: Horizon) -> Self {
        let mut draw = Draw { input, horizon };
        match draw.input.byte() % kind::COUNT {
            kind::PUT => Self::Call(Op::Put(draw.put())),
            kind::DELETE => Self::Call(Op::Delete(draw.delete())),
            kind::TXN => {
                let txn = draw.txn(NESTED);
                Self::Call(Op::Txn { txn, serializable: false })
            }
            kind::RANGE => Self::Call(Op::Range { query: draw.query(), serializable: true }),
            kind::COMPACT => {
                let revision = draw.revision().unwrap_or(horizon.newest);
                Self::Call(Op::Compact { revision })
            }
            kind::TIDY => Self::Tidy(usize::from(draw.input.byte())),
            kind::RESTORE => Self::Restore(draw.input.below(3)),
            kind::PIN => Self::Pin(draw.revision()),
            kind::UNPIN => Self::Unpin(draw.input.below(4)),
            kind::REPEAT => Self::Repeat(draw.input.below(16)),
            kind::BOOT => Self::Boot,
            kind::MANY => Self::Many { from: draw.input.byte(), keys: draw.input.byte() },
            _ => {
                let (key, at) = (draw.key(), draw.revision());
                Self::Call(Op::Get { key, at, serializable: true })
            }
        }
    }
}

/// Takes calls off a case.
struct Draw<'a, 'b> {
    input: &'a mut Input<'b>,
    horizon: Horizon,
}

impl Draw<'_, '_> {
    fn put(&mut self) -> Put {
        let (key, flags) = (self.key(), self.input.byte());
        let (prev, ignore_value) = (flags & 1 != 0, flags & 6 == 6);
        let ignore_lease = flags & 0x18 == 0x18;
        let value = if ignore_value { Bytes::new() } else { self.value() };
        let lease = LeaseId::new(u64::from(!ignore_lease && flags & 0xe0 == 0xe0));
        Put { key, value, lease, prev, ignore_value, ignore_lease }
    }

    fn delete(&mut self) -> Delete {
        Delete { range: self.range(), prev: self.input.flag() }
    }

    fn txn(&mut self, nested: usize) -> Txn {
        let (compares, success, failure) =
            (self.input.below(3), self.input.below(4), self.input.below(3));
        Txn {
            compares: (0..compares).map(|_| self.compare()).collect(),
            success: (0..success).map(|_| self.op(nested)).collect(),
            failure: (0..failure).map(|_| self.op(nested)).collect(),
        }
    }

    fn op(&mut self, nested: usize) -> txn::Op {
        match self.input.byte() % 5 {
            1 => txn::Op::Delete(self.delete()),
            2 | 3 => txn::Op::Range(self.query()),
            4 if nested > 0 => txn::Op::Txn(self.txn(nested - 1)),
            _ => txn::Op::Put(self.put()),
        }
    }

    fn compare(&mut self) -> Compare {
        let (what, range) = (self.input.byte(), self.range());
        let operator = match what % 4 {
            0 => Operator::Equal,
            1 => Operator::NotEqual,
            2 => Operator::Greater,
            _ => Operator::Less,
        };
        let target = match (what >> 2) % 5 {
            0 => Target::Version(u64::from(self.input.byte() % 4)),
            1 => Target::CreateRevision(self.revision().unwrap_or_default()),
            2 => Target::ModRevision(self.revision().unwrap_or_default()),
            3 => Target::Value(self.value()),
            _ => Target::Lease(LeaseId::new(u64::from(self.input.byte() % 2))),
        };
        Compare { range, operator, target }
    }

    fn query(&mut self) -> Query {
        let (range, at, flags) = (self.range(), self.revision(), self.input.byte());
        let sorts = [SortBy::Version, SortBy::CreateRevision, SortBy::ModRevision, SortBy::Value];
        let sort = sorts.get(usize::from(flags % 8)).copied().unwrap_or_default();
        let descending = flags & 8 != 0;
        Query {
            at,
            limit: self.input.below(5),
            sort,
            order: if descending { Order::Descending } else { Order::Ascending },
            mod_revision: self.bounds(flags & 16 != 0),
            create_revision: self.bounds(flags & 32 != 0),
            keys_only: flags & 64 != 0,
            count_only: flags & 128 != 0,
            ..Query::new(range)
        }
    }

    fn bounds(&mut self, any: bool) -> Bounds {
        let mut end = || self.revision().filter(|_| any).unwrap_or_default();
        if any { Bounds { min: end(), max: end() } } else { Bounds::default() }
    }

    fn key(&mut self) -> Bytes {
        Bytes::from_static(KEYS[self.input.below(KEYS.len())])
    }

    fn range(&mut self) -> KeyRange {
        match self.input.byte() % 8 {
            4 => KeyRange::all(),
            5 => KeyRange::prefix(self.key()),
            6 => KeyRange::starting_at(self.key()),
            7 => KeyRange::from(self.key()..self.key()),
            _ => KeyRange::key(self.key()),
        }
    }

    /// Short and in order of their bytes, but for one that fills a page.
    fn value(&mut self) -> Bytes {
        match self.input.byte() {
            0xff => vec![b'x'; 5_000].into(),
            byte => vec![byte % 8].into(),
        }
    }

    /// Around the newest, around the compacted one, and where numbers end.
    fn revision(&mut self) -> Option<Revision> {
        let byte = self.input.byte();
        let (from, back) = match byte {
            0..0x40 => return None,
            0xff => return Some(Revision::new(u64::MAX)),
            0x40..0xc0 => (self.horizon.newest.get() + 1, u64::from(byte) % 32),
            _ => {
                let compacted = self.horizon.compacted.unwrap_or_default();
                (compacted.get() + 3, u64::from(byte) % 6)
            }
        };
        Some(Revision::new(from.saturating_sub(back)))
    }
}
