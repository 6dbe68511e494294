//! A member as the judges of a simulation see it.

use super::Replica;
use super::consensus::LogLook;
use crate::entry::ConfState;
use crate::ids::{Incarnation, Index, Term};

/// A member at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look<'a> {
    pub(crate) incarnation: Incarnation,
    pub(crate) log: LogLook<'a>,
    /// The last entry that the machine has applied.
    pub(crate) applied: (Index, Term),
    /// As of there.
    pub(crate) conf: &'a ConfState,
}

impl Look<'_> {
    /// The end of the log in memory.
    pub(crate) fn last(&self) -> (Index, Term) {
        let last = self.log.entries.last();
        last.map_or(self.log.base, |entry| (entry.index, entry.term))
    }

    /// The term at an index, if the log in memory has it.
    pub(crate) fn term(&self, index: Index) -> Option<Term> {
        if index == self.log.base.0 {
            return Some(self.log.base.1);
        }
        self.log.entries.get(index.get()).map(|entry| entry.term)
    }
}

impl Replica {
    pub(crate) fn look(&self) -> Look<'_> {
        Look {
            incarnation: self.me.incarnation,
            log: self.consensus.look(),
            applied: self.machine.applied(),
            conf: self.machine.conf(),
        }
    }
}
