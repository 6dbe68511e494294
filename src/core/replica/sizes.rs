//! How much a member holds of everything that must not grow without bound: for the judges of a
//! simulation.

use super::{MAX_HEARD, Replica};
use crate::core::machine::MAX_WINDOW;
use crate::ids::Index;

/// One bounded thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// In words, for a failure's text.
    pub(crate) what: &'static str,
    pub(crate) is: u64,
    /// What the settings or a constant allow.
    pub(crate) most: u64,
}

impl Size {
    pub(crate) fn new(what: &'static str, is: usize, most: usize) -> Self {
        Self { what, is: is as u64, most: most as u64 }
    }
}

/// What decides how much of the log stays in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retained {
    /// The position before the first entry in memory.
    pub(crate) base: Index,
    /// Where the newest snapshot stands.
    pub(crate) saved: Index,
    /// Transfers to other members: each keeps what follows its snapshot.
    pub(crate) transfers: usize,
    /// A snapshot is being written or received: until it is there, none is begun.
    pub(crate) busy: bool,
    /// Entries that may stay behind a snapshot.
    pub(crate) catchup: u64,
    /// Bytes of entries since the last snapshot was begun.
    pub(crate) log_bytes: u64,
    /// So many make one due.
    pub(crate) due_bytes: u64,
}

impl Replica {
    /// How much there is of what has a bound, between two turns.
    pub(crate) fn sizes(&self, out: &mut Vec<Size>) {
        let members = self.machine.members().len();
        self.proposals.sizes(out);
        self.reads.sizes(members, out);
        self.snapshots.sizes(members, out);
        self.consensus.sizes(out);
        self.retention.sizes(out);
        self.kept.sizes(out);
        out.push(Size::new("batches of keep-alives", self.renewals.batches(), MAX_WINDOW));
        let (sessions, longest) = self.machine.sessions();
        out.push(Size::new("sessions", sessions, members));
        out.push(Size::new("outcomes kept of one member", longest, MAX_WINDOW));
        out.push(Size::new("incarnations heard of", self.heard.len(), MAX_HEARD));
        // A turn that has been carried to its end leaves nothing of these.
        let undone = self.forwarded.len() + self.effects.len() + self.steps.len();
        out.push(Size::new("consequences not carried out", undone, 0));
    }

    pub(crate) fn retained(&self) -> Retained {
        Retained {
            base: self.consensus.look().base.0,
            saved: self.saved.as_ref().map_or(Index::new(1), |saved| saved.mark.index),
            transfers: self.snapshots.transfers(),
            busy: self.taking.is_some() || self.snapshots.is_receiving(),
            catchup: self.settings.snapshot_catchup_entries,
            log_bytes: self.log_bytes,
            due_bytes: self.settings.snapshot_log_bytes,
        }
    }
}
