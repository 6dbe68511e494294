//! How often a member did what is rarely done: for the marks of a simulation.

use super::Replica;
use crate::core::machine::Outcome;
use crate::ids::Revision;

/// Since it opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Writes that were offered again.
    pub(crate) writes: Again,
    /// Read rounds that were begun again, and questions that were asked again.
    pub(crate) reads: Again,
    /// Entries that were skipped: applied already.
    pub(crate) repeats: u64,
    /// Entries that were skipped: nobody waits for them any more.
    pub(crate) superseded: u64,
    /// Deletions of what holders have left that this member proposed, and that have ended.
    pub(crate) deletions: u64,
    /// Snapshots that took the place of the state.
    pub(crate) installs: u64,
}

/// How often something was done again, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Again {
    /// There was another leader, or another term.
    pub(crate) changed: u64,
    /// No word had come.
    pub(crate) silent: u64,
}

impl Tally {
    /// An entry was applied to a machine that stood at `before`.
    pub(super) fn applied(&mut self, before: Revision, outcome: &Outcome) {
        match outcome {
            // What is put for the first time is newer than everything there was.
            Outcome::Put { revision, .. } if *revision <= before => self.repeats += 1,
            Outcome::Superseded => self.superseded += 1,
            _ => {}
        }
    }
}

impl Replica {
    pub(crate) fn tally(&self) -> Tally {
        Tally { writes: self.proposals.again(), reads: self.reads.again(), ..self.tally }
    }

    /// Callers' writes whose fate is open.
    pub(crate) fn open_writes(&self) -> usize {
        self.proposals.len()
    }
}
