//! Calls and answers in words, for whoever reads why a run failed.

use std::fmt;

use super::{Answer, Call, CallId, Kv, Op, View, Why};
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
            Self::Put { key, value, prev_value } => {
                write!(f, "put {}={}", Short(key), Short(value))?;
                f.write_str(if *prev_value { " prev" } else { "" })
            }
            Self::Delete { range, prev_values } => {
                write!(f, "delete {range:?}")?;
                f.write_str(if *prev_values { " prev" } else { "" })
            }
            Self::Get { key, .. } => write!(f, "get {}", Short(key)),
            Self::Range { range, limit, count_only, .. } => {
                write!(f, "{} {range:?}", if *count_only { "count" } else { "range" })?;
                if *limit > 0 { write!(f, " limit {limit}") } else { Ok(()) }
            }
            Self::Compact { revision } => write!(f, "compact {revision}"),
        }?;
        self.view().map_or(Ok(()), |view| view.fmt(f))
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
            Self::Timeout => f.write_str("timeout"),
            Self::Unavailable => f.write_str("unavailable"),
            Self::Overloaded => f.write_str("overloaded"),
            Self::Closed => f.write_str("closed"),
            Self::Halted => f.write_str("halted"),
            Self::Other => f.write_str("another error"),
        }
    }
}
