//! Writes and transactions as protobuf messages. Field numbers are for ever.

use bytes::Bytes;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::codec::Malformed;
use crate::core::machine::txn::{
    Compare, Delete, MAX_DEPTH, MAX_ITEMS, Op, Operator, Put, Target, Txn,
};
use crate::core::mvcc::{Bounds, Order, Query, SortBy};
use crate::ids::{LeaseId, Revision};
use crate::keys::KeyRange;

/// A transaction among the commands.
const TXN_TAG: u32 = 5;

/// The conditions of a transaction; all else that it has are operations.
const COMPARES_TAG: u32 = 1;

/// A transaction among the operations of another.
const NESTED_TAG: u32 = 4;

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WirePut {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
    #[prost(uint64, tag = "3")]
    lease: u64,
    #[prost(bool, tag = "4")]
    prev: bool,
    #[prost(bool, tag = "5")]
    ignore_value: bool,
    #[prost(bool, tag = "6")]
    ignore_lease: bool,
}

impl From<&Put> for WirePut {
    fn from(put: &Put) -> Self {
        Self {
            key: put.key.clone(),
            value: put.value.clone(),
            lease: put.lease.get(),
            prev: put.prev,
            ignore_value: put.ignore_value,
            ignore_lease: put.ignore_lease,
        }
    }
}

impl WirePut {
    pub(super) fn read(self) -> Result<Put, Malformed> {
        let Self { key, value, lease, prev, ignore_value, ignore_lease } = self;
        let put = Put { key, value, lease: LeaseId::new(lease), prev, ignore_value, ignore_lease };
        put.check().map_err(|_| Malformed { what: "put" })?;
        Ok(put)
    }
}

/// The selector as etcd writes it (`SEL-1`).
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireDelete {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    range_end: Bytes,
    #[prost(bool, tag = "3")]
    prev: bool,
}

impl From<&Delete> for WireDelete {
    fn from(delete: &Delete) -> Self {
        let (key, range_end) = delete.range.selector();
        Self { key, range_end, prev: delete.prev }
    }
}

impl WireDelete {
    pub(super) fn read(self) -> Result<Delete, Malformed> {
        let range = read_range(self.key, self.range_end, "key of a delete")?;
        Ok(Delete { range, prev: self.prev })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct WireTxn {
    #[prost(message, repeated, tag = "1")]
    compares: Vec<WireCompare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<WireOp>,
    #[prost(message, repeated, tag = "3")]
    failure: Vec<WireOp>,
}

impl From<&Txn> for WireTxn {
    fn from(txn: &Txn) -> Self {
        let ops = |ops: &[Op]| ops.iter().map(WireOp::from).collect();
        Self {
            compares: txn.compares.iter().map(WireCompare::from).collect(),
            success: ops(&txn.success),
            failure: ops(&txn.failure),
        }
    }
}

impl WireTxn {
    /// Nested at most so deep.
    pub(super) fn read(self, depth: usize) -> Result<Txn, Malformed> {
        let read_all = |ops: Vec<WireOp>| -> Result<Vec<Op>, Malformed> {
            ops.into_iter().map(|op| op.read(depth)).collect()
        };
        Ok(Txn {
            compares: self.compares.into_iter().map(WireCompare::read).collect::<Result<_, _>>()?,
            success: read_all(self.success)?,
            failure: read_all(self.failure)?,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireOp {
    #[prost(oneof = "WireOpKind", tags = "1, 2, 3, 4")]
    kind: Option<WireOpKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum WireOpKind {
    #[prost(message, tag = "1")]
    Range(WireRange),
    #[prost(message, tag = "2")]
    Put(WirePut),
    #[prost(message, tag = "3")]
    Delete(WireDelete),
    #[prost(message, tag = "4")]
    Txn(WireTxn),
}

impl From<&Op> for WireOp {
    fn from(op: &Op) -> Self {
        let kind = match op {
            Op::Range(query) => WireOpKind::Range(query.into()),
            Op::Put(put) => WireOpKind::Put(put.into()),
            Op::Delete(delete) => WireOpKind::Delete(delete.into()),
            Op::Txn(txn) => WireOpKind::Txn(txn.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl WireOp {
    fn read(self, depth: usize) -> Result<Op, Malformed> {
        match self.kind.ok_or(Malformed { what: "kind of an operation" })? {
            WireOpKind::Range(range) => range.read().map(Op::Range),
            WireOpKind::Put(put) => put.read().map(Op::Put),
            WireOpKind::Delete(delete) => delete.read().map(Op::Delete),
            WireOpKind::Txn(txn) => {
                let what = "depth of a transaction";
                txn.read(depth.checked_sub(1).ok_or(Malformed { what })?).map(Op::Txn)
            }
        }
    }
}

/// Revisions of 0 leave the bound open, or mean the newest state (`KV-2`, `KV-8`).
#[derive(Clone, PartialEq, prost::Message)]
struct WireRange {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    range_end: Bytes,
    #[prost(uint64, tag = "3")]
    limit: u64,
    #[prost(uint64, tag = "4")]
    revision: u64,
    /// 0 key, 1 version, 2 create revision, 3 modification revision, 4 value.
    #[prost(uint32, tag = "5")]
    sort: u32,
    #[prost(bool, tag = "6")]
    descending: bool,
    #[prost(uint64, tag = "7")]
    min_mod_revision: u64,
    #[prost(uint64, tag = "8")]
    max_mod_revision: u64,
    #[prost(uint64, tag = "9")]
    min_create_revision: u64,
    #[prost(uint64, tag = "10")]
    max_create_revision: u64,
    #[prost(bool, tag = "11")]
    keys_only: bool,
    #[prost(bool, tag = "12")]
    count_only: bool,
}

impl From<&Query> for WireRange {
    fn from(query: &Query) -> Self {
        let (key, range_end) = query.range.selector();
        Self {
            key,
            range_end,
            limit: u64::try_from(query.limit).unwrap_or(u64::MAX),
            revision: query.at.unwrap_or_default().get(),
            sort: match query.sort {
                SortBy::Key => 0,
                SortBy::Version => 1,
                SortBy::CreateRevision => 2,
                SortBy::ModRevision => 3,
                SortBy::Value => 4,
            },
            descending: query.order == Order::Descending,
            min_mod_revision: query.mod_revision.min.get(),
            max_mod_revision: query.mod_revision.max.get(),
            min_create_revision: query.create_revision.min.get(),
            max_create_revision: query.create_revision.max.get(),
            keys_only: query.keys_only,
            count_only: query.count_only,
        }
    }
}

impl WireRange {
    fn read(self) -> Result<Query, Malformed> {
        let range = read_range(self.key, self.range_end, "key of a range")?;
        let bounds = |min, max| Bounds { min: Revision::new(min), max: Revision::new(max) };
        Ok(Query {
            at: (self.revision > 0).then(|| Revision::new(self.revision)),
            limit: usize::try_from(self.limit).unwrap_or(usize::MAX),
            sort: match self.sort {
                0 => SortBy::Key,
                1 => SortBy::Version,
                2 => SortBy::CreateRevision,
                3 => SortBy::ModRevision,
                4 => SortBy::Value,
                // etcd: `InvalidSortOption` (`KV-12`).
                _ => return Err(Malformed { what: "sort of a range" }),
            },
            order: if self.descending { Order::Descending } else { Order::Ascending },
            mod_revision: bounds(self.min_mod_revision, self.max_mod_revision),
            create_revision: bounds(self.min_create_revision, self.max_create_revision),
            keys_only: self.keys_only,
            count_only: self.count_only,
            ..Query::new(range)
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct WireCompare {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    range_end: Bytes,
    /// 0 equal, 1 greater, 2 less, 3 not equal: etcd's numbers.
    #[prost(uint32, tag = "3")]
    operator: u32,
    #[prost(oneof = "WireTarget", tags = "4, 5, 6, 7, 8")]
    target: Option<WireTarget>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum WireTarget {
    #[prost(uint64, tag = "4")]
    Version(u64),
    #[prost(uint64, tag = "5")]
    CreateRevision(u64),
    #[prost(uint64, tag = "6")]
    ModRevision(u64),
    #[prost(bytes = "bytes", tag = "7")]
    Value(Bytes),
    #[prost(uint64, tag = "8")]
    Lease(u64),
}

impl From<&Compare> for WireCompare {
    fn from(compare: &Compare) -> Self {
        let (key, range_end) = compare.range.selector();
        let operator = match compare.operator {
            Operator::Equal => 0,
            Operator::Greater => 1,
            Operator::Less => 2,
            Operator::NotEqual => 3,
        };
        let target = match &compare.target {
            Target::Version(version) => WireTarget::Version(*version),
            Target::CreateRevision(revision) => WireTarget::CreateRevision(revision.get()),
            Target::ModRevision(revision) => WireTarget::ModRevision(revision.get()),
            Target::Value(value) => WireTarget::Value(value.clone()),
            Target::Lease(lease) => WireTarget::Lease(lease.get()),
        };
        Self { key, range_end, operator, target: Some(target) }
    }
}

impl WireCompare {
    fn read(self) -> Result<Compare, Malformed> {
        let range = read_range(self.key, self.range_end, "key of a compare")?;
        let operator = match self.operator {
            0 => Operator::Equal,
            1 => Operator::Greater,
            2 => Operator::Less,
            3 => Operator::NotEqual,
            _ => return Err(Malformed { what: "operator of a compare" }),
        };
        let target = match self.target.ok_or(Malformed { what: "target of a compare" })? {
            WireTarget::Version(version) => Target::Version(version),
            WireTarget::CreateRevision(revision) => Target::CreateRevision(Revision::new(revision)),
            WireTarget::ModRevision(revision) => Target::ModRevision(Revision::new(revision)),
            WireTarget::Value(value) => Target::Value(value),
            WireTarget::Lease(lease) => Target::Lease(LeaseId::new(lease)),
        };
        Ok(Compare { range, operator, target })
    }
}

/// Counts the conditions and operations of an encoded command, before anything is made of them: a
/// few bytes of the log could otherwise ask for as many hundreds of memory.
pub(super) fn check_items(mut body: &[u8]) -> Result<(), Malformed> {
    let mut left = MAX_ITEMS;
    while let Some((tag, field)) = next_field(&mut body)? {
        if tag == TXN_TAG {
            count_txn(field, MAX_DEPTH, &mut left)?;
        }
    }
    Ok(())
}

fn count_txn(mut txn: &[u8], depth: usize, left: &mut usize) -> Result<(), Malformed> {
    while let Some((tag, mut op)) = next_field(&mut txn)? {
        let what = "number of operations in a transaction";
        *left = left.checked_sub(1).ok_or(Malformed { what })?;
        if tag == COMPARES_TAG {
            continue;
        }
        while let Some((tag, nested)) = next_field(&mut op)? {
            if tag == NESTED_TAG {
                let what = "depth of a transaction";
                let depth = depth.checked_sub(1).ok_or(Malformed { what })?;
                count_txn(nested, depth, left)?;
            }
        }
    }
    Ok(())
}

/// The tag of the next field and what it holds, if that has a length of its own.
fn next_field<'a>(message: &mut &'a [u8]) -> Result<Option<(u32, &'a [u8])>, Malformed> {
    let malformed = |_| Malformed { what: "encoding of a command" };
    if message.is_empty() {
        return Ok(None);
    }
    let (tag, kind) = decode_key(message).map_err(malformed)?;
    if kind != WireType::LengthDelimited {
        skip_field(kind, tag, message, DecodeContext::default()).map_err(malformed)?;
        return Ok(Some((tag, &[])));
    }
    let len = decode_varint(message).map_err(malformed)?;
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let cut = Malformed { what: "encoding of a command" };
    let (field, rest) = message.split_at_checked(len).ok_or(cut)?;
    *message = rest;
    Ok(Some((tag, field)))
}

fn read_range(key: Bytes, end: Bytes, what: &'static str) -> Result<KeyRange, Malformed> {
    let range = KeyRange::from_selector(key, end);
    range.check().map_err(|_| Malformed { what })?;
    Ok(range)
}
