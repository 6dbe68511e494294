//! What became of a command.

use super::txn::TxnOutcome;
use crate::core::mvcc::KeyValue;
use crate::error::{Error, Kind};
use crate::ids::{Incarnation, LeaseId, NodeId, Revision};

/// What applying an entry did. The same on every member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The entry was empty: a new leader's first.
    Nothing,
    Put {
        revision: Revision,
        /// The record before, if it was asked for and there was one (`KV-33`).
        prev: Option<KeyValue>,
    },
    Deleted {
        /// That of the deletion, or the current one if nothing was deleted (`KV-52`).
        revision: Revision,
        count: u64,
        /// The records before, in key order, if they were asked for (`KV-50`).
        prev: Vec<KeyValue>,
    },
    Txn(TxnOutcome),
    Compacted {
        /// The store's current revision: compaction makes none (`CMP-2`).
        revision: Revision,
    },
    Announced,
    /// A lease with this TTL, in milliseconds.
    Granted {
        lease: LeaseId,
        ttl: u64,
    },
    Revoked {
        lease: LeaseId,
        /// That of the deletions, or the current one if no key was attached (`LSE-6`).
        revision: Revision,
    },
    /// The TTL that each has again, in the order in which they were named: nothing for one that
    /// is not there (`LSE-13`).
    Renewed(Vec<Option<u64>>),
    /// Time has passed, and these leases with it, in the order in which they were due.
    Ticked {
        expired: Vec<LeaseId>,
    },
    /// Nothing was changed, and why.
    Refused(Refusal),
    /// Nothing was changed: the origin has ceased to wait for this proposal, or was started again
    /// since. From here on it never applies; whether it did before is forgotten.
    Superseded,
}

/// Why a command changed nothing, decided alike by every member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The lease that a put names does not exist (`KV-31`).
    LeaseNotFound(LeaseId),
    /// There is a lease of that id already (`LSE-2`).
    LeaseExists(LeaseId),
    /// A put that keeps the value or the lease of a key that is not there (`KV-34`, `KV-35`).
    KeyNotFound,
    /// A read below the compacted revision, or a compaction at or below it (`KV-2`, `CMP-1`).
    Compacted { asked: Revision, compacted: Revision },
    /// A read or a compaction at a revision that has not happened yet (`KV-2`, `CMP-1`).
    FutureRevision { asked: Revision, current: Revision },
    /// No member has this id.
    NotMember(NodeId),
    /// The member is bound to another data directory: this one was made after a disk was lost.
    OtherIncarnation { node: NodeId, bound: Incarnation },
    /// More proposals in flight than are kept for one origin.
    WindowFull(NodeId),
}

impl Refusal {
    /// Is it certain that a repeat of the same proposal changes nothing either? What is refused
    /// before it reaches its origin's window leaves no trace there, so a repeat that arrives
    /// under other circumstances may apply: the origin must call such a write unknown.
    fn is_final(self) -> bool {
        !matches!(self, Self::NotMember(_) | Self::WindowFull(_))
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let error = match refusal {
            Refusal::LeaseNotFound(lease) => {
                Self::new(Kind::LeaseNotFound, format!("lease {lease} does not exist"))
            }
            Refusal::LeaseExists(lease) => {
                Self::new(Kind::LeaseExists, format!("lease {lease} exists already"))
            }
            Refusal::KeyNotFound => Self::new(
                Kind::KeyNotFound,
                "a put was to keep what its key has, but there is no such key",
            ),
            Refusal::Compacted { asked, compacted } => Self::compacted(asked, compacted),
            Refusal::FutureRevision { asked, current } => Self::future_revision(asked, current),
            Refusal::NotMember(node) => {
                Self::new(Kind::Foreign, format!("node {node} is not a member of the cluster"))
            }
            Refusal::OtherIncarnation { node, bound } => Self::new(
                Kind::Foreign,
                format!(
                    "member {node} is bound to the data directory with incarnation {bound}: this \
                     one is another; remove the member and add it again"
                ),
            ),
            Refusal::WindowFull(node) => {
                Self::new(Kind::Overloaded, format!("node {node} has too many proposals in flight"))
            }
        };
        if refusal.is_final() { error } else { error.with_unknown_outcome() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_whether_the_write_may_still_happen() {
        let (asked, other) = (Revision::new(4), Revision::new(7));
        let compacted = Error::from(Refusal::Compacted { asked, compacted: other });
        assert_eq!(compacted.compacted_revision(), Some(other));
        assert!(!compacted.is_unknown());
        let future = Error::from(Refusal::FutureRevision { asked: other, current: asked });
        assert!(future.is_future_revision() && !future.is_unknown());
        assert!(Error::from(Refusal::KeyNotFound).is_key_not_found());
        assert!(Error::from(Refusal::LeaseNotFound(LeaseId::new(5))).is_lease_not_found());
        let (node, bound) = (NodeId::new(1), Incarnation::new(2));
        assert!(!Error::from(Refusal::OtherIncarnation { node, bound }).is_unknown());
        assert!(Error::from(Refusal::WindowFull(node)).is_unknown());
        assert!(Error::from(Refusal::NotMember(node)).is_unknown());
    }
}
