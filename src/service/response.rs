//! What calls give back.

use std::time::Duration;

use bytes::Bytes;

use crate::core::mvcc::KeyValue;
use crate::gate::Gate;
use crate::ids::{ClusterId, LeaseId, NodeId, Revision, Term};

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

/// What a [`HashRead`](crate::HashRead) gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HashResponse {
    /// Who answered, and the store's revision there.
    pub header: Header,
    /// The hash. Comparable with that of another member if `revision` and `compacted` are equal
    /// (`HSH-4`).
    pub hash: u32,
    /// The revision up to which it goes.
    pub revision: Revision,
    /// The revision from which on it covers everything, if anything was compacted.
    pub compacted: Option<Revision>,
}

/// What a [`Compact`](crate::Compact) gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactResponse {
    /// Who answered; the revision is the current one: a compaction makes none (`CMP-2`).
    pub header: Header,
}

/// What a [`Grant`](crate::Grant) gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GrantResponse {
    /// Who answered; the revision is the current one: a grant makes none (`LSE-5`).
    pub header: Header,
    /// The lease: as given, or as chosen.
    pub id: LeaseId,
    /// Its TTL, which may be longer than what was asked for (`LSE-4`).
    pub ttl: Duration,
}

/// What a [`Revoke`](crate::Revoke) gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RevokeResponse {
    /// Who answered; the revision is that at which the keys were deleted, or the current one if
    /// none were attached (`LSE-6`).
    pub header: Header,
}

/// What a [`KeepAlive`](crate::KeepAlive) gives back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeepAliveResponse {
    /// Who answered, and the current revision.
    pub header: Header,
    /// What the lease has again: its whole TTL (`LSE-12`).
    pub ttl: Duration,
}

/// What a [`TimeToLive`](crate::TimeToLive) gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeToLiveResponse {
    /// Who answered, and the store's revision at the time.
    pub header: Header,
    /// The lease that was asked for.
    pub id: LeaseId,
    /// The TTL that it was granted with. `None` if there is no such lease (`LSE-20`).
    pub granted: Option<Duration>,
    /// What is left of it; zero if its time is over and it is still to be removed. `None` if there
    /// is no such lease.
    pub remaining: Option<Duration>,
    /// The keys that are attached, in order. Only with
    /// [`TimeToLive::keys`](crate::TimeToLive::keys).
    pub keys: Vec<Bytes>,
}

/// What a [`Leases`](crate::Leases) gives back.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeasesResponse {
    /// Who answered, and the store's revision there.
    pub header: Header,
    /// All leases, the next to end first (`LSE-21`).
    pub leases: Vec<LeaseId>,
}
