//! Calls and answers in words, for whoever reads why a run failed.

use std::fmt;

use super::{Answer, Call, CallId, Kv, Op, Step, View, Why};
use crate::core::machine::txn::{self, Compare, Txn};
use crate::core::mvcc::{Bounds, Order, Query, SortBy};
use crate::error::WriteOutcome;

/// Values longer than this are shown by their beginning.
const SHOWN_BYTES: usize = 32;

/// Records of an answer beyond so many are counted, not shown.
const SHOWN_RECORDS: usize = 8;

/// Bytes as text, cut short.
struct Short<'a>(&'a [u8]);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = self.0.get(..SHOWN_BYTES).unwrap_or(self.0);
        write!(f, "\"{}\"", head.escape_ascii())?;
        if head.len() < self.0.len() { write!(f, "(of {} bytes)", self.0.len()) } else { Ok(()) }
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "client {} at member {}, from {} ", self.client, self.member, self.invoked)?;
        match &self.end {
            Some(end) => write!(f, "to {}: {} -> {}", end.returned, self.op, end.answer),
            None => write!(f, "on: {} -> never answered", self.op),
        }
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, " at {at}")?;
        }
        f.write_str(if self.serializable { " serializable" } else { "" })
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(put) => Step::Put(put).fmt(f),
            Self::Delete(delete) => Step::Delete(delete).fmt(f),
            Self::Get { key, .. } => Step::Get(key, None).fmt(f),
            Self::Range { query, .. } => Step::Range(query).fmt(f),
            Self::Txn { txn, .. } => Guarded(txn).fmt(f),
            Self::Compact { revision } => write!(f, "compact {revision}"),
        }?;
        self.view().map_or(Ok(()), |view| view.fmt(f))
    }
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put(put) => {
                write!(f, "put {}", Short(&put.key))?;
                if put.ignore_value {
                    f.write_str(" as it is")?;
                } else {
                    write!(f, "={}", Short(&put.value))?;
                }
                f.write_str(if put.prev { " prev" } else { "" })
            }
            Self::Delete(delete) => {
                write!(f, "delete {:?}", delete.range)?;
                f.write_str(if delete.prev { " prev" } else { "" })
            }
            Self::Get(key, _) => write!(f, "get {}", Short(key)),
            Self::Range(query) => show_query(query, f),
        }
    }
}

fn show_query(query: &Query, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let Query { range, limit, sort, order, mod_revision, create_revision, .. } = query;
    write!(f, "{} {range:?}", if query.count_only { "count" } else { "range" })?;
    if *limit > 0 {
        write!(f, " limit {limit}")?;
    }
    if (*sort, *order) != (SortBy::Key, Order::Ascending) {
        write!(f, " by {sort:?} {order:?}")?;
    }
    for (what, bounds) in [("mod", mod_revision), ("create", create_revision)] {
        if *bounds != Bounds::default() {
            write!(f, " {what} {}..={}", bounds.min, bounds.max)?;
        }
    }
    f.write_str(if query.keys_only { " keys" } else { "" })
}

/// A transaction in words.
struct Guarded<'a>(&'a Txn);

impl fmt::Display for Guarded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("if [")?;
        for (place, Compare { range, operator, target }) in self.0.compares.iter().enumerate() {
            let and = if place == 0 { "" } else { ", " };
            write!(f, "{and}{range:?} {operator:?} {target:?}")?;
        }
        f.write_str("]")?;
        for (what, branch) in [("then", &self.0.success), ("else", &self.0.failure)] {
            write!(f, " {what} [")?;
            for (place, op) in branch.iter().enumerate() {
                f.write_str(if place == 0 { "" } else { ", " })?;
                match op {
                    txn::Op::Put(put) => Step::Put(put).fmt(f),
                    txn::Op::Delete(delete) => Step::Delete(delete).fmt(f),
                    txn::Op::Txn(txn) => Self(txn).fmt(f),
                    txn::Op::Range(query) => {
                        Step::Range(query).fmt(f)?;
                        query.at.map_or(Ok(()), |at| write!(f, " at {at}"))
                    }
                }?;
            }
            f.write_str("]")?;
        }
        Ok(())
    }
}

impl fmt::Display for Kv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (key, value) = (Short(&self.key), Short(&self.value));
        let Self { create, modified, version, .. } = self;
        write!(f, "{key}={value} (create {create} mod {modified} version {version})")
    }
}

/// Records one after the other.
struct Listed<'a>(&'a [Kv]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for kv in self.0.iter().take(SHOWN_RECORDS) {
            write!(f, ", {kv}")?;
        }
        match self.0.len().saturating_sub(SHOWN_RECORDS) {
            0 => Ok(()),
            more => write!(f, ", and {more} more"),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { revision, prev } => {
                write!(f, "revision {revision}{}", Listed(prev.as_slice()))
            }
            Self::Deleted { revision, deleted, prev } => {
                write!(f, "revision {revision}, {deleted} deleted{}", Listed(prev))
            }
            Self::Got { revision, kv: None } => write!(f, "revision {revision}, nothing"),
            Self::Got { revision, kv: Some(kv) } => write!(f, "revision {revision}, {kv}"),
            Self::Ranged { revision, kvs, more, count } => {
                write!(f, "revision {revision}, {count} keys{}", Listed(kvs))?;
                f.write_str(if *more { ", more" } else { "" })
            }
            Self::Txn { revision, succeeded, responses } => {
                write!(f, "revision {revision}, {}", if *succeeded { "then" } else { "else" })?;
                responses.iter().try_for_each(|told| write!(f, " [{told}]"))
            }
            Self::Compacted { revision } => write!(f, "revision {revision}"),
            Self::Failed { outcome: WriteOutcome::Unknown, why } => write!(f, "unknown ({why})"),
            Self::Failed { outcome: WriteOutcome::NotApplied, why } => {
                write!(f, "not applied ({why})")
            }
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Compacted(oldest) => write!(f, "compacted, the oldest is {oldest}"),
            Self::FutureRevision(newest) => write!(f, "has not happened, the newest is {newest}"),
            Self::KeyNotFound => f.write_str("no such key"),
            Self::Timeout => f.write_str("timeout"),
            Self::Unavailable => f.write_str("unavailable"),
            Self::Overloaded => f.write_str("overloaded"),
            Self::Closed => f.write_str("closed"),
            Self::Halted => f.write_str("halted"),
            Self::Other => f.write_str("another error"),
        }
    }
}
