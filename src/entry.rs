//! What the replicated log is made of: the types that the core decides on and storage keeps.

use bytes::Bytes;

use crate::ids::{Index, NodeId, Term};

/// What an entry asks of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A command, or nothing at all (a new leader's first entry is empty).
    Normal,
    /// A change of the voters and learners.
    ConfChange,
}

/// One position of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) index: Index,
    /// The term of the leader that made it. Never falls from one index to the next.
    pub(crate) term: Term,
    pub(crate) kind: EntryKind,
    pub(crate) data: Bytes,
}

/// What a member must not forget about elections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HardState {
    pub(crate) term: Term,
    /// Whom this member voted for in `term`; `NodeId(0)` for nobody.
    pub(crate) vote: NodeId,
    /// The last index known to be committed. May lag on disk: it is no promise.
    pub(crate) commit: Index,
}

/// Who takes part, as of some index. Each list is sorted and without repeats.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConfState {
    pub(crate) voters: Vec<NodeId>,
    pub(crate) learners: Vec<NodeId>,
    /// Not empty exactly while a joint configuration is in force.
    pub(crate) voters_outgoing: Vec<NodeId>,
    /// Outgoing voters that become learners when the joint configuration ends.
    pub(crate) learners_next: Vec<NodeId>,
    pub(crate) auto_leave: bool,
}

/// Where a log may begin: everything up to `index` is in a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SnapshotMark {
    pub(crate) index: Index,
    /// The term of the entry at `index`.
    pub(crate) term: Term,
    /// The configuration as of `index`.
    pub(crate) conf: ConfState,
}

/// A piece of a snapshot: what the machine writes and storage keeps without looking inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// What the bytes are; the machine's numbering.
    pub(crate) kind: u8,
    pub(crate) bytes: Bytes,
}
