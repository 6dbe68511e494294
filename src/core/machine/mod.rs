//! The replicated state machine: what the entries of the log do.
//!
//! Every member feeds the same entries, in the same order, to a machine of its own. `apply` is a
//! pure function of the state and the entry, so the machines stay equal (`INV-11`), and a member
//! that starts from an image and applies the rest equals one that applied everything. Nothing
//! here asks for the time, a random number or anything else that two members could see
//! differently; and whatever could turn out differently later (is there such a lease? is that
//! revision compacted?) is decided here, at apply, not by whoever proposed it.
//!
//! # An example
//!
//! Three members, an empty store at revision 1 (`DM-3`). Node 2 proposes a put, hears nothing for
//! a while and sends it again; both copies reach the log.
//!
//! ```text
//!   index  entry                         outcome              store          sessions
//!     1    (where every member starts)                        revision 1
//!     2    empty: a new leader's first   nothing              revision 1
//!     3    from 2, boot 1, #1: put a     put at revision 2    a  2/2 v1      2: #1 put at 2
//!     4    from 2, boot 1, #1: put a     put at revision 2    (unchanged)    (unchanged)
//!     5    from 3, boot 1, #1: compact 9 refused: future      (unchanged)    3: #1 refused
//!     6    from 2, boot 2, #1: put a     put at revision 3    a  2/3 v2      2: #1 put at 3
//!     7    from 2, boot 1, #2: delete a  superseded           (unchanged)    (unchanged)
//! ```
//!
//! Entry 4 is a repeat: it is answered from the session (`session.rs`) and changes nothing. Entry
//! 5 is refused on all members alike: it takes an index, but no revision (`SEL-9`, `KV-39`). Entry
//! 6 shows that node 2 was started again; 7 is a straggler from before, and comes too late. The
//! script `tests/scripts/machine/example` runs this.
//!
//! # Invariants
//!
//! 1. Entries are applied one by one without a gap; a machine refuses any other (`LIN-10`).
//! 2. One entry makes at most one revision (`DM-2`), and a proposal is applied at most once.
//! 3. A member is bound to one incarnation for ever (`member.rs`). Nothing that comes from another
//!    data directory under its id is applied.
//! 4. A session exists only for a member, and only for the incarnation that it is bound to.
//! 5. A live key that names a lease names one that is there, and is attached to it (`lease.rs`).
//! 6. The image holds everything that a later `apply` can depend on (`image.rs`).
//!
//! # When it cannot go on
//!
//! What every member meets alike is an [`Outcome`]. An error is about this member: an entry out of
//! order, or a committed command that this version cannot read, which a newer member wrote or a
//! disk changed. Going on would be diverging, so the node stops.
//!
//! # What is not here
//!
//! The quota and the memory of removed members (`MEM-8`) are not there yet. Each will add commands
//! under a new version byte and sections to the image.

mod command;
mod image;
pub(crate) mod lease;
mod member;
mod outcome;
#[cfg(test)]
mod script;
mod session;
#[cfg(test)]
mod tests;
pub(crate) mod txn;

use std::fmt;

#[cfg(test)]
pub(crate) use command::FRAME_BYTES;
pub(crate) use command::{Command, MAX_RENEWALS, Origin, decode, stamp};
pub(crate) use image::Image;
pub(crate) use member::{Member, Members};
pub(crate) use outcome::{Outcome, Refusal};
pub(crate) use session::MAX_WINDOW;

use crate::core::mvcc::{Mvcc, Pace, Reader};
use crate::entry::{ConfState, Entry, EntryKind, Section, SnapshotMark};
use crate::error::{Error, Kind, Result};
use crate::ids::{ClusterId, Index, LeaseId, NodeId, Revision, Term};
use crate::keys::KeyRange;
use lease::Leases;
use session::{Admission, Sessions};

/// What every member of a new cluster starts from: the same on all of them.
#[derive(Clone, Debug)]
pub(crate) struct Genesis {
    pub(crate) cluster: ClusterId,
    pub(crate) members: Vec<Member>,
    /// Index 1, term 1, and a configuration of exactly `members`.
    pub(crate) mark: SnapshotMark,
}

/// The state that all members share. The chapter is at the head of this file.
pub(crate) struct Machine {
    cluster: ClusterId,
    /// The last entry applied. Moves by one with every entry.
    applied: (Index, Term),
    /// As of `applied`.
    conf: ConfState,
    /// Exactly those in `conf`.
    members: Members,
    sessions: Sessions,
    leases: Leases,
    mvcc: Mvcc,
    /// The member, and its boot, that waits for answers here: of all other transactions the reads
    /// are left out (`TXN-18`). `None`: of none. It changes what `apply` returns and nothing else.
    answers_to: Option<(NodeId, u64)>,
}

/// What one entry did, and for whom.
#[derive(Debug)]
pub(crate) struct Applied {
    /// Who proposed it; nobody for an empty entry.
    pub(crate) origin: Option<Origin>,
    pub(crate) outcome: Outcome,
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").field("applied", &self.applied).finish_non_exhaustive()
    }
}

impl Machine {
    /// An empty store at revision 1 (`DM-3`).
    pub(crate) fn new(genesis: Genesis) -> Self {
        let Genesis { cluster, members, mark } = genesis;
        Self {
            cluster,
            applied: (mark.index, mark.term),
            conf: mark.conf,
            members: Members::new(members),
            sessions: Sessions::default(),
            leases: Leases::default(),
            mvcc: Mvcc::new(),
            answers_to: None,
        }
    }

    /// From now on, answers in full only to what this member has proposed in this boot.
    pub(crate) fn answer_to(&mut self, node: NodeId, boot: u64) {
        self.answers_to = Some((node, boot));
    }

    /// Reads a machine back from the sections of an image, which must stand at `mark`.
    ///
    /// Whatever is not exactly what [`Machine::pin`] produced is an error.
    pub(crate) fn restore(
        sections: impl Iterator<Item = Result<Section>>,
        mark: &SnapshotMark,
    ) -> Result<Self> {
        image::restore(sections, mark)
    }

    /// Applies a committed entry. The outcome becomes readable with [`Machine::publish`].
    ///
    /// # Errors
    ///
    /// This member cannot go on: see the module's comment. The machine is not to be used further.
    pub(crate) fn apply(&mut self, entry: &Entry) -> Result<Applied> {
        self.check_order(entry, EntryKind::Normal)?;
        let applied = if entry.data.is_empty() {
            Applied { origin: None, outcome: Outcome::Nothing }
        } else {
            let (origin, command) = decode_committed(entry)?;
            let outcome = self.execute_once(&origin, command, entry)?;
            Applied { origin: Some(origin), outcome }
        };
        self.applied = (entry.index, entry.term);
        Ok(applied)
    }

    /// Applies a committed change of the configuration; `conf` is what consensus made of it.
    ///
    /// # Errors
    ///
    /// As for [`Machine::apply`].
    pub(crate) fn apply_conf(&mut self, entry: &Entry, conf: ConfState) -> Result<()> {
        self.check_order(entry, EntryKind::ConfChange)?;
        self.members.follow(&conf);
        self.sessions.retain(|node| self.members.get(node).is_some());
        self.conf = conf;
        self.applied = (entry.index, entry.term);
        Ok(())
    }

    /// Lets readers see everything applied so far. Called once per batch of entries.
    pub(crate) fn publish(&mut self) {
        self.mvcc.publish();
    }

    /// Removes some of what was compacted. Says whether there is more that can be removed now.
    ///
    /// No part of the state: when it is called, and whether, makes no difference to an entry that
    /// is applied, nor to the image or the hash.
    pub(crate) fn tidy(&mut self, pace: Pace) -> bool {
        self.mvcc.tidy(pace)
    }

    /// Takes over the state of a machine restored from the leader's image. Readers made before
    /// keep working, and see the state before or after, never a mix (`DUR-20`).
    ///
    /// Returns the state before: freeing it takes a while, so drop it where nobody waits.
    pub(crate) fn replace(&mut self, other: Self) -> Self {
        let Self { cluster, applied, conf, members, sessions, leases, mvcc, answers_to: _ } = other;
        Self {
            cluster: std::mem::replace(&mut self.cluster, cluster),
            applied: std::mem::replace(&mut self.applied, applied),
            conf: std::mem::replace(&mut self.conf, conf),
            members: std::mem::replace(&mut self.members, members),
            sessions: std::mem::replace(&mut self.sessions, sessions),
            leases: std::mem::replace(&mut self.leases, leases),
            mvcc: self.mvcc.replace(mvcc),
            answers_to: self.answers_to,
        }
    }

    /// The index and term of the last entry applied.
    pub(crate) fn applied(&self) -> (Index, Term) {
        self.applied
    }

    pub(crate) fn conf(&self) -> &ConfState {
        &self.conf
    }

    pub(crate) fn members(&self) -> &Members {
        &self.members
    }

    pub(crate) fn leases(&self) -> &Leases {
        &self.leases
    }

    pub(crate) fn mvcc(&self) -> &Mvcc {
        &self.mvcc
    }

    pub(crate) fn reader(&self) -> Reader {
        self.mvcc.reader()
    }

    /// What became of a proposal that was in flight while entries were skipped by installing an
    /// image; `None` if it has not been applied and still may be.
    pub(crate) fn outcome_of(&self, node: NodeId, boot: u64, sequence: u64) -> Option<Outcome> {
        self.sessions.outcome_of(node, boot, sequence)
    }

    /// The whole state as it is now. Cheap: the records stay shared with the store, and are packed
    /// only when the image is read, on whatever thread does so.
    pub(crate) fn pin(&self) -> Image {
        Image::new(self)
    }

    /// A checksum over the whole state. Members that applied the same entries agree (`INV-11`).
    ///
    /// Reads everything: a node pins first and asks [`Image::hash`] elsewhere.
    #[cfg(any(test, feature = "sim"))]
    pub(crate) fn hash(&self) -> u32 {
        self.pin().hash()
    }

    /// How many sessions there are, and the length of the longest window.
    #[cfg(feature = "sim")]
    pub(crate) fn sessions(&self) -> (usize, usize) {
        let windows = self.sessions.iter().map(|(_, session)| session.window.len());
        (self.sessions.iter().len(), windows.max().unwrap_or(0))
    }

    /// Invariant 1: the next index, a term that does not fall, and the expected kind.
    fn check_order(&self, entry: &Entry, kind: EntryKind) -> Result<()> {
        let (index, term) = self.applied;
        if entry.index != index.next() || entry.index == index {
            return Err(Error::corrupt(format!(
                "entry {} came after entry {index} was applied: the next one is {}",
                entry.index,
                index.next()
            )));
        }
        if entry.term < term {
            return Err(Error::corrupt(format!(
                "entry {} has term {}, but the one before has term {term}",
                entry.index, entry.term
            )));
        }
        if entry.kind != kind {
            return Err(Error::corrupt(format!(
                "entry {} is a {:?}, not a {kind:?}",
                entry.index, entry.kind
            )));
        }
        Ok(())
    }

    /// Invariants 2 to 4: runs the command unless its origin may not speak or was heard already.
    fn execute_once(
        &mut self,
        origin: &Origin,
        command: Command,
        entry: &Entry,
    ) -> Result<Outcome> {
        if let Command::Tick { advance } = command {
            // A leader's own: it is proposed once, and belongs to no window.
            return Ok(self.tick(entry.term, advance));
        }
        if !self.sessions.knows(origin) {
            // The first words of a data directory bind it to its member.
            if let Err(refusal) = self.members.bind(origin.node, origin.incarnation) {
                return Ok(Outcome::Refused(refusal));
            }
        }
        if let Admission::Settled(outcome) = self.sessions.admit(origin) {
            return Ok(outcome);
        }
        let answers = self.answers_to.is_none_or(|it| it == (origin.node, origin.boot));
        let outcome = self.execute(command, entry, answers)?;
        self.sessions.keep(origin, &outcome);
        Ok(outcome)
    }

    fn execute(&mut self, command: Command, entry: &Entry, answers: bool) -> Result<Outcome> {
        let Self { mvcc, leases, .. } = self;
        match command {
            Command::Put(put) => Ok(put.apply(mvcc, leases)),
            Command::Delete(delete) => Ok(delete.apply(mvcc, leases)),
            Command::Txn(txn) => txn.apply(mvcc, leases, answers),
            Command::Grant { lease, ttl } => {
                let granted = leases.grant((lease, entry.index), ttl, entry.term);
                Ok(granted.map_or_else(Outcome::Refused, |lease| Outcome::Granted { lease, ttl }))
            }
            Command::Revoke { lease, grant } => {
                let found = leases.get(lease).map(|lease| lease.grant);
                let meant = found.filter(|found| grant == Index::default() || grant == *found);
                Ok(match meant.and_then(|_| self.end_lease(lease)) {
                    Some(revision) => Outcome::Revoked { lease, revision },
                    None => Outcome::Refused(Refusal::LeaseNotFound(lease)),
                })
            }
            Command::Renew { leases: ids } => {
                let renewed = ids.into_iter().map(|id| leases.renew(id, entry.term));
                Ok(Outcome::Renewed(renewed.collect()))
            }
            // Dealt with by who calls.
            Command::Tick { .. } => Ok(Outcome::Nothing),
            Command::Compact { revision } => self.compact(revision),
            Command::Announce { node, incarnation } => {
                Ok(match self.members.bind(node, incarnation) {
                    Ok(()) => Outcome::Announced,
                    Err(refusal) => Outcome::Refused(refusal),
                })
            }
        }
    }

    /// The lease clock goes on, and what is due ends: each lease at a revision of its own.
    fn tick(&mut self, term: Term, advance: u64) -> Outcome {
        let due = self.leases.tick(term, advance);
        for lease in &due {
            self.end_lease(*lease);
        }
        Outcome::Ticked { expired: due }
    }

    /// Ends a lease and its keys, in order, in one revision (`LSE-6`). Returns that, or the current
    /// one if it had no keys.
    fn end_lease(&mut self, lease: LeaseId) -> Option<Revision> {
        let keys = self.leases.remove(lease)?;
        let mut write = self.mvcc.begin();
        for key in keys {
            write.delete(&KeyRange::key(Vec::from(key)));
        }
        Some(write.finish())
    }

    fn compact(&mut self, asked: Revision) -> Result<Outcome> {
        let current = self.mvcc.revision();
        let Err(error) = self.mvcc.compact(asked) else {
            return Ok(Outcome::Compacted { revision: current });
        };
        match error.kind() {
            Kind::Compacted(compacted) => {
                Ok(Outcome::Refused(Refusal::Compacted { asked, compacted }))
            }
            Kind::FutureRevision(current) => {
                Ok(Outcome::Refused(Refusal::FutureRevision { asked, current }))
            }
            _ => Err(error),
        }
    }
}

fn decode_committed(entry: &Entry) -> Result<(Origin, Command)> {
    decode(entry.data.clone()).map_err(|cause| {
        let text = format!("entry {} holds a command that cannot be read: {cause}", entry.index);
        Error::corrupt(text).because(cause)
    })
}
