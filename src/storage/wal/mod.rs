//! The log on disk: what a member has promised not to forget.
//!
//! # Idea
//!
//! A log is a row of segment files. Whatever waits is put, record by record, into one buffer;
//! `sync` writes the buffer behind the last record, writes a *tail marker* that says how far the
//! log now reaches into the segment's head, and syncs the file once. Only then is anybody told.
//!
//! ```text
//!   append(5, 6)  append(7)  hard state            sync                      sync
//!        └────────────┴──────────┘                   │                         │
//!        one buffer ── one write ─────► 5 6 7 h      │ ─► 8 9                  │
//!                      one marker ────► reaches here ┘    reaches here         ┘
//!                      one fdatasync    (slot 1)          (slot 0, slot 1 stays)
//! ```
//!
//! After a crash each sector of the last batch and its marker may or may not be there. Recovery
//! reads records as long as they are whole and in their chain. If they end before the newest
//! marker says, the state of the sectors tells why (see [`super::sector`]): never written is a
//! torn batch that nobody was told about, and is cut; changed is damage, and is refused.
//!
//! A full segment is *cut*: the next one is made durable, head first and name last, then the old
//! one ends in a *seal*. `release` gives old segments back as spares, which are written again
//! from the start: a sync into blocks that were written before has data to write and nothing
//! else. What is left in them cannot be mistaken for records: each life of a file has its own
//! seed for the checksum chain and its own tag on the sectors.
//!
//! What is found may be in the system's cache only, and if a sync failed no later one covers it:
//! only what is written again. So an open *settles* the end of the log before anybody relies on it:
//! it writes again what no earlier sync vouches for, and syncs that.
//!
//! Every open begins a segment of its own. So whatever a crash left behind the end of the log
//! lies behind a seal, and can never line up with records written later.
//!
//! # Invariants
//!
//! - A segment has its name only when its head (header, marker 0, mark, hard state) is durable:
//!   each can be the first.
//! - A segment is written only when the one before it has a durable seal, and sealed only when
//!   the next one has a durable name. So what is missing is noticed.
//! - A batch is in one segment, and the next one is written only when it is durable.
//! - After a failed call nothing is written any more (`DUR-21`): the cause is told once, then
//!   everything is refused.
//!
//! # What is not here
//!
//! No thread: whoever owns the [`Wal`] calls it. No cache: the core keeps the entries it needs.

mod record;
mod recover;
mod scan;
mod segment;

use std::collections::VecDeque;
use std::error::Error as _;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Bootstrap, Identity, at};
use crate::entry::{Entry, HardState, SnapshotMark};
use crate::error::{Error, Kind, Result};
use crate::ids::{Index, Term};
use crate::vfs::{OpenMode, Vfs};
use record::Base;
use recover::Sealed;
pub(super) use recover::{Recovered, list, recover};
pub(super) use segment::file_name;
use segment::{Begin, Header, Segment, Spare};

/// Released segments kept to be written again.
pub(super) const MAX_SPARES: usize = 2;

/// What the log says so far.
#[derive(Clone, Debug)]
struct State {
    base: Arc<Base>,
    hard_state: HardState,
    /// The last entry, or what the first one will follow.
    last: (Index, Term),
}

/// Where and for whom the log is written.
pub(super) struct Place {
    pub(super) vfs: Arc<dyn Vfs>,
    pub(super) dir: PathBuf,
    /// A segment that reaches this is cut.
    pub(super) segment_bytes: u64,
    pub(super) owner: Identity,
}

/// What the log takes up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct WalStats {
    /// Segments, the current one included, spares not.
    pub(crate) segments: u64,
    /// Bytes in them.
    pub(crate) bytes: u64,
    /// Batches made durable since the log was opened.
    pub(crate) syncs: u64,
    /// Segments that were full since then.
    pub(crate) cuts: u64,
    /// Those of them behind which a file that was given back is written again.
    pub(crate) reused: u64,
}

/// The writing end of the log. Exactly one.
pub(crate) struct Wal {
    place: Place,
    /// Oldest first; all durable and sealed.
    sealed: VecDeque<Sealed>,
    current: Segment,
    /// At most [`MAX_SPARES`].
    spares: Vec<Spare>,
    /// As of the last sync: what a new segment begins with.
    synced: State,
    /// With what was put since.
    pending: State,
    syncs: u64,
    cuts: u64,
    reused: u64,
    /// Set by the first failure, for ever.
    failed: Option<String>,
}

impl Wal {
    /// Begins a log in an empty directory.
    pub(super) fn create(place: Place, boot: &Bootstrap) -> Result<Self> {
        let base = Base { mark: boot.mark.clone(), genesis: true };
        let last = (base.mark.index, base.mark.term);
        let state = State { base: Arc::new(base), hard_state: boot.hard_state, last };
        let current = begin(&place, &state, (1, 0), None)?;
        Ok(Self::new(place, VecDeque::new(), current, state))
    }

    /// Goes on behind a recovered log that was settled, in a new segment. `spares` are the files
    /// found that may be written again.
    pub(super) fn resume(
        place: Place,
        recovered: &mut Recovered,
        spares: Vec<PathBuf>,
    ) -> Result<Self> {
        let state = State {
            base: Arc::new(recovered.base.clone()),
            hard_state: recovered.hard_state,
            last: recovered.last,
        };
        let mut spares: Vec<Spare> =
            spares.into_iter().map(|path| Spare { path, found: true }).collect();
        let next = (recovered.next_sequence, recovered.previous);
        let current = begin(&place, &state, next, spares.pop())?;
        let mut sealed = VecDeque::from(std::mem::take(&mut recovered.sealed));
        if let Some((path, end)) = recovered.end.take() {
            sealed.push_back(if end.sealed {
                Sealed::new(path, &end.tail)
            } else {
                let file = place.vfs.open(&path, OpenMode::Write).map_err(at("open", &path))?;
                seal(Segment::resume(file, path, &end.tail)?, state.last)?
            });
        }
        let mut wal = Self::new(place, sealed, current, state);
        wal.spares = spares;
        Ok(wal)
    }

    fn new(place: Place, sealed: VecDeque<Sealed>, current: Segment, state: State) -> Self {
        let (spares, pending) = (Vec::new(), state.clone());
        Self {
            place,
            sealed,
            current,
            spares,
            synced: state,
            pending,
            syncs: 0,
            cuts: 0,
            reused: 0,
            failed: None,
        }
    }

    /// Puts entries, then a hard state. Nothing is durable before `sync`.
    ///
    /// The first entry follows the last one or replaces it and what follows (`DUR-10`).
    pub(crate) fn append(
        &mut self,
        entries: &[Entry],
        hard_state: Option<&HardState>,
    ) -> Result<()> {
        self.guard(|wal| {
            wal.check(entries)?;
            wal.cut_if_full()?;
            for entry in entries {
                wal.current.put(|out, chain| record::put_entry(out, chain, entry));
                wal.current.highest = wal.current.highest.max(entry.index);
                wal.pending.last = (entry.index, entry.term);
            }
            if let Some(state) = hard_state {
                wal.current.put(|out, chain| record::put_hard_state(out, chain, state));
                wal.pending.hard_state = *state;
            }
            Ok(())
        })
    }

    /// Puts a mark: the log begins anew behind a snapshot that is already durable (`DUR-9`).
    pub(crate) fn install(&mut self, mark: &SnapshotMark) -> Result<()> {
        self.guard(|wal| {
            if mark.index <= wal.pending.base.mark.index {
                let (new, old) = (mark.index, wal.pending.base.mark.index);
                return Err(misused(format!("a mark at {new} behind the one at {old}")));
            }
            wal.cut_if_full()?;
            let base = Base { mark: mark.clone(), genesis: false };
            wal.current.put(|out, chain| record::put_base(out, chain, &base));
            wal.pending.last = (mark.index, mark.term);
            wal.pending.base = Arc::new(base);
            Ok(())
        })
    }

    /// Makes durable everything put before. Only when this returns may anybody be told.
    pub(crate) fn sync(&mut self) -> Result<()> {
        self.guard(|wal| {
            if wal.current.is_clean() {
                return Ok(());
            }
            wal.current.sync(wal.pending.last)?;
            wal.synced = wal.pending.clone();
            wal.syncs = wal.syncs.saturating_add(1);
            Ok(())
        })
    }

    /// Does now what the next append would have to do first: cuts a full segment. For whoever
    /// drives the log to call when nobody waits; never needed.
    pub(crate) fn prepare(&mut self) -> Result<()> {
        self.guard(Self::cut_if_full)
    }

    /// Gives back the segments whose entries are all at or below `upto`, which a durable snapshot
    /// must cover (`DUR-13`, `DUR-15`). The segment being written always stays.
    pub(crate) fn release(&mut self, upto: Index) -> Result<()> {
        self.guard(|wal| {
            while wal.sealed.front().is_some_and(|oldest| oldest.highest <= upto) {
                let Some(oldest) = wal.sealed.pop_front() else { break };
                wal.recycle(&oldest.path)?;
            }
            Ok(())
        })
    }

    /// What the log takes up.
    pub(crate) fn stats(&self) -> WalStats {
        let sealed: u64 = self.sealed.iter().map(|segment| segment.bytes).sum();
        WalStats {
            segments: (self.sealed.len() as u64).saturating_add(1),
            bytes: sealed.saturating_add(self.current.bytes()),
            syncs: self.syncs,
            cuts: self.cuts,
            reused: self.reused,
        }
    }

    /// Oldest first and each durably, so that a crash never leaves a gap.
    fn recycle(&mut self, path: &Path) -> Result<()> {
        let vfs = &*self.place.vfs;
        if self.spares.len() < MAX_SPARES {
            let spare = path.with_extension("spare");
            vfs.rename(path, &spare).map_err(at("rename", path))?;
            self.spares.push(Spare { path: spare, found: false });
        } else {
            vfs.remove(path).map_err(at("remove", path))?;
        }
        vfs.sync_dir(&self.place.dir).map_err(at("sync", &self.place.dir))
    }

    /// Goes on in a new segment, if this one is full and everything in it is durable.
    fn cut_if_full(&mut self) -> Result<()> {
        if self.current.position() < self.place.segment_bytes || !self.current.is_clean() {
            return Ok(());
        }
        let next = (self.current.sequence.saturating_add(1), self.current.chain);
        let spare = self.spares.pop();
        self.cuts = self.cuts.saturating_add(1);
        self.reused = self.reused.saturating_add(u64::from(spare.is_some()));
        let next = begin(&self.place, &self.synced, next, spare)?;
        let full = std::mem::replace(&mut self.current, next);
        self.sealed.push_back(seal(full, self.synced.last)?);
        Ok(())
    }

    fn check(&self, entries: &[Entry]) -> Result<()> {
        let (mut last, floor) = (self.pending.last, self.pending.base.mark.index);
        for entry in entries {
            if entry.index > last.0.next() || entry.index <= floor {
                let (index, last) = (entry.index, last.0);
                return Err(misused(format!(
                    "entry {index}, which follows neither the mark at {floor} nor entry {last}"
                )));
            }
            last = (entry.index, entry.term);
        }
        Ok(())
    }

    /// Refuses everything after a failure, and remembers the first one.
    fn guard(&mut self, act: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if let Some(cause) = &self.failed {
            let text = format!("the log was stopped by an earlier failure: {cause}");
            return Err(Error::new(Kind::Halted, text));
        }
        let result = act(self);
        if let Err(error) = &result {
            let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
            self.failed = Some(format!("{error}{cause}"));
        }
        result
    }
}

/// A segment with this sequence, behind a segment that ends with this chain.
fn begin(place: &Place, state: &State, next: (u64, u32), spare: Option<Spare>) -> Result<Segment> {
    let (sequence, previous) = next;
    let header = Header { owner: place.owner, sequence, before: state.last, previous };
    let begin = Begin {
        header,
        base: &state.base,
        hard_state: &state.hard_state,
        segment_bytes: place.segment_bytes,
    };
    Segment::create(&*place.vfs, &place.dir, &begin, spare)
}

fn seal(mut segment: Segment, last: (Index, Term)) -> Result<Sealed> {
    segment.put(|out, chain| record::put_seal(out, chain, last));
    segment.sync(last)?;
    let bytes = segment.bytes();
    Ok(Sealed { path: segment.path, highest: segment.highest, bytes })
}

/// The caller's code is wrong: this node must stop.
fn misused(what: impl Display) -> Error {
    Error::new(Kind::Halted, format!("the log was handed {what}"))
}
