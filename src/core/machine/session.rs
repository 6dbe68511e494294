//! Exactly once: what became of each origin's latest proposals.
//!
//! A proposal may reach the log twice: its first envelope was slow, the leader changed, the
//! origin sent it again. So each carries a name, `(node, incarnation, boot, sequence)`, and each
//! member keeps, per origin, what the ones that may still be repeated have done:
//!
//! ```text
//!   sequence   ... 40   41   42 | 43   44   45   46 |  47 ...
//!                  forgotten    | put  -    put  del |  not seen
//!                               base (the watermark)
//! ```
//!
//! - At or above `base` and filled: a repeat. It changes nothing and has the same outcome.
//! - At or above `base` and not filled: new. It is applied, and its place is filled.
//! - Below `base`: the origin waits for it no longer, and it is never applied any more. So what
//!   was given up cannot happen long after: once the higher watermark is applied, it has happened
//!   or never will.
//!
//! Every proposal carries the origin's watermark, so the window moves on by itself. Sequences
//! restart with the origin's boot counter; a newer boot begins an empty window, and whatever an
//! older one left on its way is superseded.

use std::collections::{BTreeMap, VecDeque};

use super::command::Origin;
use super::outcome::{Outcome, Refusal};
use super::txn::TxnOutcome;
use crate::ids::{Incarnation, LeaseId, NodeId, Revision};
use crate::planted::{Bug, planted};

/// How far above the watermark a sequence may lie. A node that waits for an old proposal proposes
/// nothing beyond it; the bound limits what a broken one can cost every member.
pub(crate) const MAX_WINDOW: usize = 65_536;

/// What is kept of an outcome: no records, so that a window is small. Whoever asks again learns
/// the revision and which branch a transaction took, not the previous values or what was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stored {
    Put { revision: Revision },
    Deleted { revision: Revision, count: u64 },
    Txn { revision: Revision, succeeded: bool },
    Compacted { revision: Revision },
    Announced,
    Granted { lease: LeaseId, ttl: u64 },
    Revoked { lease: LeaseId, revision: Revision },
    Refused(Refusal),
}

impl Stored {
    /// What to keep of an outcome; nothing of one that did not come from a command.
    fn of(outcome: &Outcome) -> Option<Self> {
        match outcome {
            Outcome::Put { revision, .. } => Some(Self::Put { revision: *revision }),
            Outcome::Deleted { revision, count, .. } => {
                Some(Self::Deleted { revision: *revision, count: *count })
            }
            Outcome::Txn(TxnOutcome { revision, succeeded, .. }) => {
                Some(Self::Txn { revision: *revision, succeeded: *succeeded })
            }
            Outcome::Compacted { revision } => Some(Self::Compacted { revision: *revision }),
            Outcome::Announced => Some(Self::Announced),
            Outcome::Granted { lease, ttl } => Some(Self::Granted { lease: *lease, ttl: *ttl }),
            Outcome::Revoked { lease, revision } => {
                Some(Self::Revoked { lease: *lease, revision: *revision })
            }
            Outcome::Refused(refusal) => Some(Self::Refused(*refusal)),
            // To renew again does no harm, and needs no memory here.
            Outcome::Nothing
            | Outcome::Superseded
            | Outcome::Renewed(_)
            | Outcome::Ticked { .. } => None,
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::Put { revision } => Outcome::Put { revision, prev: None },
            Self::Deleted { revision, count } => {
                Outcome::Deleted { revision, count, prev: Vec::new() }
            }
            Self::Txn { revision, succeeded } => {
                Outcome::Txn(TxnOutcome { revision, succeeded, responses: Vec::new() })
            }
            Self::Compacted { revision } => Outcome::Compacted { revision },
            Self::Announced => Outcome::Announced,
            Self::Granted { lease, ttl } => Outcome::Granted { lease, ttl },
            Self::Revoked { lease, revision } => Outcome::Revoked { lease, revision },
            Self::Refused(refusal) => Outcome::Refused(refusal),
        }
    }
}

/// What is known of one origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Session {
    /// The one its member is bound to.
    pub(super) incarnation: Incarnation,
    /// The newest boot seen.
    pub(super) boot: u64,
    /// The sequence of the window's first place: the highest watermark seen in this boot.
    pub(super) base: u64,
    /// At most [`MAX_WINDOW`] places, the last one filled.
    pub(super) window: VecDeque<Option<Stored>>,
}

/// Whether a proposal may be applied.
#[derive(Debug)]
pub(super) enum Admission {
    /// It is new: apply it, then [`Sessions::keep`] its outcome.
    New,
    /// It must not be applied, and this is what its sender is told.
    Settled(Outcome),
}

impl Session {
    fn new(origin: &Origin) -> Self {
        Self {
            incarnation: origin.incarnation,
            boot: origin.boot,
            base: origin.watermark,
            window: VecDeque::new(),
        }
    }

    /// Forgets what lies below `watermark`.
    fn advance(&mut self, watermark: u64) {
        let Some(step) = watermark.checked_sub(self.base) else { return };
        let step = usize::try_from(step).unwrap_or(usize::MAX).min(self.window.len());
        self.window.drain(..step);
        self.base = watermark;
    }

    /// Where in the window a sequence lies; `None` below it.
    fn place(&self, sequence: u64) -> Option<usize> {
        let place = sequence.checked_sub(self.base)?;
        Some(usize::try_from(place).unwrap_or(usize::MAX))
    }

    fn admit(&mut self, origin: &Origin) -> Admission {
        if origin.boot < self.boot && !planted(Bug::AcceptOldBoots) {
            return Admission::Settled(Outcome::Superseded);
        }
        if origin.boot > self.boot {
            *self = Self::new(origin);
        }
        self.advance(origin.watermark);
        match self.place(origin.sequence) {
            None => Admission::Settled(Outcome::Superseded),
            Some(place) if place >= MAX_WINDOW => {
                Admission::Settled(Outcome::Refused(Refusal::WindowFull(origin.node)))
            }
            Some(place) => match self.window.get(place) {
                Some(Some(_)) if planted(Bug::ApplyTwice) => Admission::New,
                Some(Some(stored)) => Admission::Settled(stored.outcome()),
                Some(None) | None => Admission::New,
            },
        }
    }

    fn keep(&mut self, sequence: u64, stored: Stored) {
        let Some(place) = self.place(sequence).filter(|place| *place < MAX_WINDOW) else { return };
        if place >= self.window.len() {
            self.window.resize(place.saturating_add(1), None);
        }
        if let Some(slot) = self.window.get_mut(place) {
            *slot = Some(stored);
        }
    }
}

/// The sessions of all origins. There is at most one for a member, so members bound them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    by_node: BTreeMap<NodeId, Session>,
}

impl Sessions {
    pub(super) fn new(sessions: impl IntoIterator<Item = (NodeId, Session)>) -> Self {
        Self { by_node: sessions.into_iter().collect() }
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (NodeId, &Session)> {
        self.by_node.iter().map(|(node, session)| (*node, session))
    }

    /// The session of an origin that is known to speak for its member.
    pub(super) fn admit(&mut self, origin: &Origin) -> Admission {
        let session = self.by_node.entry(origin.node);
        session.or_insert_with(|| Session::new(origin)).admit(origin)
    }

    /// Has this origin been let in before? Then its member need not be looked up again.
    pub(super) fn knows(&self, origin: &Origin) -> bool {
        let session = self.by_node.get(&origin.node);
        session.is_some_and(|session| session.incarnation == origin.incarnation)
    }

    /// Fills the place of an admitted proposal.
    pub(super) fn keep(&mut self, origin: &Origin, outcome: &Outcome) {
        let Some(stored) = Stored::of(outcome) else { return };
        if let Some(session) = self.by_node.get_mut(&origin.node) {
            session.keep(origin.sequence, stored);
        }
    }

    /// What became of a proposal that its origin still waits for; `None` if it has not been
    /// applied and still may be.
    pub(super) fn outcome_of(&self, node: NodeId, boot: u64, sequence: u64) -> Option<Outcome> {
        let session = self.by_node.get(&node).filter(|session| session.boot >= boot)?;
        if session.boot > boot {
            return Some(Outcome::Superseded);
        }
        let Some(place) = session.place(sequence) else { return Some(Outcome::Superseded) };
        session.window.get(place).copied().flatten().map(Stored::outcome)
    }

    /// Forgets the origins that are members no longer.
    pub(super) fn retain(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.by_node.retain(|node, _| is_member(*node));
    }
}

#[cfg(test)]
mod tests;
