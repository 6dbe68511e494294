//! What calls give back.

use crate::core::mvcc::KeyValue;
use crate::gate::Gate;
use crate::ids::{ClusterId, NodeId, Revision, Term};

/// Who answered, and as of when (`SEL-7`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member that answered.
    pub member: NodeId,
    /// The term that this member was in when it answered.
    pub term: Term,
    /// For a write, the revision at which it took effect, or the current one if it changed
    /// nothing. For a read, the store's current revision when it was read, even if an older one
    /// was asked for.
    pub revision: Revision,
}

impl Header {
    pub(super) fn at(gate: &dyn Gate, revision: Revision) -> Self {
        let standing = gate.standing();
        Self { cluster: standing.cluster, member: standing.member, term: standing.term, revision }
    }
}

/// What a [`Put`](crate::Put) gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutResponse {
    /// Who answered; the revision is that of the put.
    pub header: Header,
    /// What the key held just before. Only with [`Put::prev_value`](crate::Put::prev_value), and
    /// only if the key existed (`KV-33`).
    pub prev_kv: Option<KeyValue>,
}

/// What a [`Get`](crate::Get) gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GetResponse {
    /// Who answered, and the store's revision at the time.
    pub header: Header,
    /// The key and its value, if it exists at the revision that was read.
    pub kv: Option<KeyValue>,
}

/// What a [`RangeRead`](crate::RangeRead) gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RangeResponse {
    /// Who answered, and the store's revision at the time.
    pub header: Header,
    /// The keys and their values, all as of one revision (`KV-18`), in the order asked for, by
    /// default ascending (`KV-1`). Empty with
    /// [`RangeRead::count_only`](crate::RangeRead::count_only).
    pub kvs: Vec<KeyValue>,
    /// The limit cut something off (`KV-4`).
    pub more: bool,
    /// How many keys the range holds, whatever the limit and the filters (`KV-5`).
    pub count: u64,
}

/// What a [`Delete`](crate::Delete) gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeleteResponse {
    /// Who answered; the revision is that of the deletion, or the current one if there was
    /// nothing to delete (`KV-52`).
    pub header: Header,
    /// How many keys were deleted.
    pub deleted: u64,
    /// What they held, in ascending order of the keys. Only with
    /// [`Delete::prev_values`](crate::Delete::prev_values); then as many as `deleted` (`KV-50`).
    pub prev_kvs: Vec<KeyValue>,
}

/// What a [`Compact`](crate::Compact) gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactResponse {
    /// Who answered; the revision is the current one: a compaction makes none (`CMP-2`).
    pub header: Header,
}
