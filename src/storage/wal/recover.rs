//! A directory of segments, read back into a log. Nothing on disk is changed here.
//!
//! What is accepted, from the first segment to the last:
//!
//! - sequences without a gap, each segment of this owner and behind the one before it;
//! - every segment but the last ends in a seal, and a seal has a next segment. One exception: a
//!   crash between the creation of a segment and the seal of the one before leaves an unsealed
//!   segment and an empty one behind it;
//! - entries without a gap. One whose index was already read replaces the tail from there
//!   (`DUR-10`); terms never fall. It may replace entries of segments that were given back;
//! - a segment begins by repeating the mark and the hard state that hold;
//! - a new mark is further on, and drops everything before it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::super::{Identity, Torn, at, damaged};
use super::record::{Base, Record};
use super::scan::{End, Scan};
use super::segment::{self, Head, Tail};
use crate::entry::{Entry, HardState, SnapshotMark};
use crate::error::{Error, Result};
use crate::ids::{Index, NodeId, Term};
use crate::planted::{Bug, planted};
use crate::vfs::{OpenMode, Vfs};

/// A segment that was read to its seal.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) path: PathBuf,
    /// The highest entry in it.
    pub(super) highest: Index,
    pub(super) bytes: u64,
}

impl Sealed {
    pub(super) fn new(path: PathBuf, tail: &Tail) -> Self {
        Self { path, highest: tail.highest, bytes: tail.end }
    }
}

/// The log as the disk has it.
#[derive(Debug)]
pub(in crate::storage) struct Recovered {
    pub(super) base: Base,
    /// What the entries follow: position and term.
    pub(in crate::storage) floor: (Index, Term),
    pub(in crate::storage) last: (Index, Term),
    /// From the floor on, without a gap.
    pub(in crate::storage) entries: Vec<Entry>,
    pub(in crate::storage) hard_state: HardState,
    /// Oldest first.
    pub(super) sealed: Vec<Sealed>,
    /// The last segment with records, and how it ends: sealed if an empty one is behind it.
    pub(super) end: Option<(PathBuf, End)>,
    /// The sequence to go on with. If a segment of it is there, it is empty and to be replaced.
    pub(super) next_sequence: u64,
    /// The chain of the segment before that.
    pub(super) previous: u32,
    pub(in crate::storage) torn: Option<Torn>,
}

impl Recovered {
    /// The mark that the log begins at, if no snapshot is needed to begin there.
    pub(in crate::storage) fn genesis(&self) -> Option<&SnapshotMark> {
        let mark = &self.base.mark;
        (self.base.genesis && self.floor.0 == mark.index).then_some(mark)
    }

    /// Makes durable what was read. Before that nothing may be done on the strength of it.
    ///
    /// Only of the last segment with records is there anything in doubt: one is written to when
    /// the one before is durable with its seal, and has its name when its head is.
    pub(in crate::storage) fn settle(&self, vfs: &dyn Vfs) -> Result<()> {
        let Some((path, end)) = &self.end else { return Ok(()) };
        let file = vfs.open(path, OpenMode::Write).map_err(at("open", path))?;
        end.tail.settle(&*file, path)
    }

    /// The term of the entry at `index`, or of the floor.
    pub(in crate::storage) fn term(&self, index: Index) -> Option<Term> {
        if index == self.floor.0 {
            return Some(self.floor.1);
        }
        let position = index.get().checked_sub(self.floor.0.next().get())?;
        self.entries.get(usize::try_from(position).ok()?).map(|entry| entry.term)
    }
}

/// The sequences of the segments in the directory, rising; none if it is missing.
pub(in crate::storage) fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<u64>> {
    let names = match vfs.list(dir) {
        Ok(names) => names,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(super::super::io_at("list", dir, error)),
    };
    let mut sequences: Vec<u64> =
        names.iter().filter_map(|name| segment::parse_name(name)).collect();
    sequences.sort_unstable();
    Ok(sequences)
}

/// Reads the whole log. There must be at least one segment.
pub(in crate::storage) fn recover(
    vfs: &dyn Vfs,
    dir: &Path,
    owner: &Identity,
) -> Result<Recovered> {
    let sequences = list(vfs, dir)?;
    let mut log = Log::default();
    let mut segments: Vec<Read> = Vec::new();
    for (position, &sequence) in sequences.iter().enumerate() {
        let path = dir.join(segment::file_name(sequence));
        if let Some(before) = segments.last() {
            check_sequence(dir, before, sequence)?;
        }
        let file = vfs.open(&path, OpenMode::Read).map_err(at("open", &path))?;
        let head = segment::read_head(&*file, &path, sequence, owner)?;
        check_link(segments.last(), &head, &path, &log)?;
        let mut scan = Scan::new(&*file, &path, &head);
        let mut repeated = if segments.is_empty() { REPEATED } else { 0 };
        while let Some((offset, record)) = scan.next()? {
            let known = log.check_repeated(&record, &mut repeated);
            let taken = known.and_then(|()| log.take(record, head.header.before));
            taken.map_err(|cause| damaged(&path, offset, cause))?;
        }
        let end = scan.finish()?;
        let last = position.saturating_add(1) == sequences.len();
        if last && end.sealed {
            let missing = dir.join(segment::file_name(sequence.saturating_add(1)));
            let text = format!("{} is missing: the one before it says that", missing.display());
            return Err(Error::corrupt(format!("{text} it exists")));
        }
        segments.push(Read { path, head, end });
    }
    log.finish(dir, segments)
}

/// A segment as it was read.
struct Read {
    path: PathBuf,
    head: Head,
    end: End,
}

impl Read {
    /// It holds only what it was created with.
    fn is_empty(&self) -> bool {
        self.head.newest.number == 0 && self.end.tail.end == self.head.newest.end
    }

    fn into_sealed(self) -> Sealed {
        Sealed::new(self.path, &self.end.tail)
    }
}

fn check_sequence(dir: &Path, before: &Read, sequence: u64) -> Result<()> {
    let expected = before.head.header.sequence.saturating_add(1);
    if sequence == expected {
        return Ok(());
    }
    let missing = dir.join(segment::file_name(expected));
    let next = segment::file_name(sequence);
    Err(Error::corrupt(format!("{} is missing: the next one is {next}", missing.display())))
}

fn check_link(before: Option<&Read>, head: &Head, path: &Path, log: &Log) -> Result<()> {
    let Some(before) = before else { return Ok(()) };
    let chain = before.end.link;
    if head.header.previous != chain {
        let cause = "it does not continue the segment before it";
        return Err(damaged(path, 0, cause));
    }
    if head.header.before != log.last() {
        let (index, term) = log.last();
        let cause = format!("the segments before it end at index {index}, term {term}");
        return Err(damaged(path, 0, cause));
    }
    Ok(())
}

/// The mark and the hard state.
const REPEATED: u32 = 2;

/// The log so far.
#[derive(Default)]
struct Log {
    base: Option<Base>,
    /// What `entries` follow. Above the base's mark only if segments were released, and then a
    /// snapshot reaches at least to the last entry that was in them.
    floor: (Index, Term),
    entries: Vec<Entry>,
    hard_state: HardState,
}

impl Log {
    fn last(&self) -> (Index, Term) {
        self.entries.last().map_or(self.floor, |entry| (entry.index, entry.term))
    }

    /// As recorded, but not of a term before the last entry's. Entries stand before the hard state
    /// that came with them, so a torn batch may have left one without the other; and nobody has
    /// been told of a vote in a term that was never durable.
    fn hard_state(&self) -> HardState {
        let (_, term) = self.last();
        if self.hard_state.term >= term {
            return self.hard_state;
        }
        HardState { term, vote: NodeId::default(), ..self.hard_state }
    }

    /// The first records of a segment say nothing new: of the first one that is left, nobody knows
    /// what was before it.
    fn check_repeated(&self, record: &Record, repeated: &mut u32) -> Result<(), String> {
        let same = match (*repeated, record) {
            (0, Record::Mark(base)) => self.base.as_ref() == Some(base),
            (1, Record::HardState(state)) => self.hard_state() == *state,
            (0 | 1, _) => false,
            _ => return Ok(()),
        };
        *repeated = repeated.saturating_add(1);
        if same { Ok(()) } else { Err("it does not begin with what holds".to_owned()) }
    }

    /// Adds a record of a segment that begins behind `before`; an error says what it breaks.
    fn take(&mut self, record: Record, before: (Index, Term)) -> Result<(), String> {
        match record {
            Record::Entry(entry) => return self.take_entry(entry),
            Record::HardState(state) => self.hard_state = state,
            Record::Mark(base) => {
                if self.base.as_ref() == Some(&base) {
                    return Ok(());
                }
                let held = self.base.as_ref().map(|held| held.mark.index);
                if let Some(held) = held.filter(|held| base.mark.index <= *held) {
                    return Err(format!("a mark at {} behind the one at {held}", base.mark.index));
                }
                let first = held.is_none();
                self.entries.clear();
                self.floor = (base.mark.index, base.mark.term);
                if first && before.0 > base.mark.index {
                    self.floor = before;
                }
                self.base = Some(base);
            }
            Record::Seal => {}
        }
        Ok(())
    }

    fn take_entry(&mut self, entry: Entry) -> Result<(), String> {
        self.lower_floor(entry.index);
        let (last, _) = self.last();
        let begin = self.base.as_ref().map_or(last, |base| base.mark.index);
        if entry.index <= begin || entry.index > last.next() {
            return Err(format!(
                "entry {} follows neither the mark at {begin} nor the last entry {last}",
                entry.index
            ));
        }
        let kept = entry.index.get().checked_sub(self.floor.0.next().get());
        self.entries.truncate(usize::try_from(kept.unwrap_or(0)).unwrap_or(usize::MAX));
        let (_, term) = self.last();
        if entry.term < term {
            return Err(format!("entry {} falls from term {term} to {}", entry.index, entry.term));
        }
        if kept.is_none() {
            // It replaces entries of a released segment, so a snapshot covers those and it: the
            // log can begin behind it just as well.
            self.floor = (entry.index, entry.term);
            return Ok(());
        }
        self.entries.push(entry);
        Ok(())
    }

    /// The oldest segment that is left begins behind entries that were replaced later, by records
    /// that are still here: the entries from `index` on. It is the floor's term that is lost, and
    /// nobody asks for it: a snapshot at or above the old floor let the older segments go.
    fn lower_floor(&mut self, index: Index) {
        let Some(base) = &self.base else { return };
        if base.mark.index < index && index <= self.floor.0 {
            self.entries.clear();
            self.floor = (Index::new(index.get().saturating_sub(1)), Term::default());
            if self.floor.0 == base.mark.index {
                self.floor.1 = base.mark.term;
            }
        }
    }

    fn finish(mut self, dir: &Path, mut segments: Vec<Read>) -> Result<Recovered> {
        if planted(Bug::LoseLastEntry) {
            self.entries.pop();
        }
        let last_entry = self.last();
        let hard_state = self.hard_state();
        let base = self.base.ok_or_else(|| {
            Error::corrupt(format!("the log in {} has no beginning", dir.display()))
        })?;
        let mut next_sequence =
            segments.last().map_or(1, |last| last.head.header.sequence.saturating_add(1));
        let empty = segments.pop_if(|last| last.is_empty());
        if empty.is_some() {
            next_sequence = next_sequence.saturating_sub(1);
        }
        let last = segments.pop();
        if let Some(unsealed) = segments.iter().find(|read| !read.end.sealed) {
            let cause = "the records end without a seal, but there is a next segment";
            return Err(damaged(&unsealed.path, unsealed.end.tail.end, cause));
        }
        let previous = last.as_ref().map_or(0, |last| last.end.link);
        // The first batch of a segment may be torn too, and leaves an empty one.
        let cut = |read: &Read| read.end.torn.clone();
        let torn = last.as_ref().and_then(cut).or_else(|| empty.as_ref().and_then(cut));
        Ok(Recovered {
            base,
            floor: self.floor,
            last: last_entry,
            entries: self.entries,
            hard_state,
            sealed: segments.into_iter().map(Read::into_sealed).collect(),
            end: last.map(|last| (last.path, last.end)),
            next_sequence,
            previous,
            torn,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    use crate::entry::{ConfState, EntryKind};

    fn at(index: u64, term: u64) -> (Index, Term) {
        (Index::new(index), Term::new(term))
    }

    const BEFORE: (Index, Term) = (Index::new(39), Term::new(2));

    /// The first segment that is left, behind entries up to 39 of term 2.
    fn log() -> Log {
        let (index, term) = at(1, 1);
        let mark = SnapshotMark { index, term, conf: ConfState::default() };
        let mut log = Log::default();
        log.take(Record::Mark(Base { mark, genesis: true }), BEFORE).unwrap();
        assert_eq!(log.last(), BEFORE);
        log
    }

    fn take(log: &mut Log, (index, term): (Index, Term)) -> Result<(), String> {
        let entry = Entry { index, term, kind: EntryKind::Normal, data: Bytes::new() };
        log.take(Record::Entry(entry), BEFORE)
    }

    /// Found by `tests/kill.rs`: a new leader replaced 24 to 39 right after the segment was cut,
    /// and a snapshot at 40 or later then let the segments before it go.
    #[test]
    fn entries_of_released_segments_may_have_been_replaced() {
        let mut log = log();
        for index in 24..=41 {
            take(&mut log, at(index, 3)).unwrap();
        }
        assert_eq!((log.floor.0, log.last()), (Index::new(23), at(41, 3)));
        // And again, further back.
        take(&mut log, at(20, 4)).unwrap();
        assert_eq!((log.floor.0, log.last()), (Index::new(19), at(20, 4)));
    }

    /// DUR-11: a leader's first entries and the term that they raise are one batch; power failed
    /// between the two.
    #[test]
    fn a_term_is_not_lost_while_its_entries_are_there() {
        let (term, vote, commit) = (Term::new(2), NodeId::new(3), Index::new(39));
        let before = HardState { term, vote, commit };
        let mut log = log();
        log.take(Record::HardState(before), BEFORE).unwrap();
        take(&mut log, at(40, 2)).unwrap();
        assert_eq!(log.hard_state(), before);
        take(&mut log, at(41, 5)).unwrap();
        let raised = HardState { term: Term::new(5), vote: NodeId::default(), commit };
        assert_eq!(log.hard_state(), raised);
    }

    /// Found by the fuzz target `wal_scan`: a mark behind the one that held was taken, in a segment
    /// that was replaced as empty; and then the segments did not fit each other.
    #[test]
    fn a_mark_leads_on_and_a_segment_begins_with_what_holds() {
        let mut log = log();
        let mark_at = |index, term| {
            let ((index, term), conf) = (at(index, term), ConfState::default());
            Record::Mark(Base { mark: SnapshotMark { index, term, conf }, genesis: false })
        };
        let (old, new) = (mark_at(40, 2), mark_at(70, 3));
        for mark in [old.clone(), new.clone(), new.clone()] {
            log.take(mark, BEFORE).unwrap();
        }
        let refused = log.take(old.clone(), BEFORE).unwrap_err();
        assert_eq!(refused, "a mark at 40 behind the one at 70");
        let hard_state = Record::HardState(log.hard_state());
        let begins = |records: [&Record; 3]| {
            let mut repeated = 0;
            records.into_iter().try_for_each(|record| log.check_repeated(record, &mut repeated))
        };
        assert_eq!(begins([&new, &hard_state, &old]), Ok(()));
        begins([&old, &hard_state, &new]).unwrap_err();
        begins([&hard_state, &new, &new]).unwrap_err();
        let voted = HardState { vote: crate::ids::NodeId::new(1), ..log.hard_state };
        begins([&new, &Record::HardState(voted), &new]).unwrap_err();
    }

    #[test]
    fn nothing_replaces_what_a_mark_stands_for() {
        let mut log = log();
        take(&mut log, at(2, 3)).unwrap();
        assert_eq!(log.floor, at(1, 1));
        let refused = take(&mut log, at(1, 3)).unwrap_err();
        assert!(refused.contains("entry 1 follows neither the mark at 1"), "{refused}");
        assert!(take(&mut log, at(4, 3)).is_err(), "a gap");
    }
}
