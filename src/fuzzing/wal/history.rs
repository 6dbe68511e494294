//! A log that is really written, and what it said after each of its records.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use super::super::disk;
use super::super::input::Input;
use super::{genesis, hard_state, open, wal_dir};
use crate::entry::{Entry, EntryKind, HardState, Section, SnapshotMark};
use crate::ids::{Index, NodeId, Revision, Term};
use crate::storage::{Opened, SnapshotHead};
use crate::vfs::Vfs;

/// What is done to the log, by the byte that asks for it.
pub(in crate::fuzzing) mod deed {
    pub(in crate::fuzzing) const APPEND: u8 = 0;
    pub(in crate::fuzzing) const REPLACE: u8 = 1;
    pub(in crate::fuzzing) const VOTE: u8 = 2;
    pub(in crate::fuzzing) const SNAPSHOT: u8 = 3;
    pub(in crate::fuzzing) const RELEASE: u8 = 4;
    pub(in crate::fuzzing) const REOPEN: u8 = 5;
    pub(in crate::fuzzing) const REMEMBER: u8 = 6;
    pub(super) const COUNT: u8 = 7;
}

/// What one case may do.
const DEEDS: usize = 40;

/// What a log says.
#[derive(Clone, Debug, PartialEq)]
struct State {
    /// From the first one on, released or not.
    entries: Vec<Entry>,
    hard_state: HardState,
}

impl State {
    fn last(&self) -> (Index, Term) {
        let mark = genesis().mark;
        self.entries.last().map_or((mark.index, mark.term), |entry| (entry.index, entry.term))
    }

    /// The hard state, or what is left of it if the batch was torn between entries of a new term
    /// and the term.
    fn recovered(&self) -> HardState {
        let (_, term) = self.last();
        if self.hard_state.term >= term {
            return self.hard_state;
        }
        HardState { term, vote: NodeId::default(), ..self.hard_state }
    }

    fn term(&self, index: Index) -> Option<Term> {
        let mark = genesis().mark;
        if index == mark.index {
            return Some(mark.term);
        }
        Some(self.entries.iter().find(|entry| entry.index == index)?.term)
    }
}

/// A place among the states that a log went through, counted from its beginning.
pub(super) type Moment = usize;

/// What was synced when a tail marker was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Synced {
    pub(super) moment: Moment,
    pub(super) vouched: u64,
    pub(super) end: u64,
}

/// A segment by its sequence, and the number of a marker in it.
pub(super) type Marker = (u64, u64);

/// A log being written.
pub(super) struct History {
    disk: Arc<dyn Vfs>,
    node: Option<Opened>,
    states: Vec<State>,
    /// Up to here nothing is replaced: a snapshot is of nothing else.
    commit: Index,
    snapshot: Index,
    markers: BTreeMap<Marker, Synced>,
    /// How the files once were.
    old: BTreeMap<PathBuf, Vec<u8>>,
    left: usize,
}

/// A log that was written and closed.
pub(super) struct Written {
    pub(super) disk: Arc<dyn Vfs>,
    states: Vec<State>,
    pub(super) markers: BTreeMap<Marker, Synced>,
    pub(super) old: BTreeMap<PathBuf, Vec<u8>>,
}

impl History {
    pub(super) fn new() -> Self {
        let disk = disk::empty();
        let node = open(&disk).unwrap();
        let begin = State { entries: Vec::new(), hard_state: hard_state() };
        let mut history = Self {
            disk,
            node: Some(node),
            states: vec![begin],
            commit: Index::new(1),
            snapshot: Index::new(1),
            markers: BTreeMap::new(),
            old: BTreeMap::new(),
            left: DEEDS,
        };
        history.note_markers();
        history
    }

    fn node(&mut self) -> &mut Opened {
        self.node.as_mut().unwrap()
    }

    fn newest(&self) -> State {
        self.states.last().unwrap().clone()
    }

    /// Does the next thing; false if it was the last.
    pub(super) fn act(&mut self, input: &mut Input<'_>) -> bool {
        match input.byte() % deed::COUNT {
            deed::APPEND => {
                let (last, term) = self.newest().last();
                self.hand_over(last.next(), term, input);
            }
            deed::REPLACE => {
                let (last, term) = self.newest().last();
                let open = last.get() - self.commit.get();
                let back = u64::from(input.byte()) % (open + 1);
                self.hand_over(Index::new(last.get() + 1 - back), Term::new(term.get() + 1), input);
            }
            deed::VOTE => {
                let mut state = self.newest();
                state.hard_state.vote = NodeId::new(u64::from(input.byte()));
                self.write(&[], vec![state]);
            }
            deed::SNAPSHOT => self.take_snapshot(),
            deed::RELEASE => {
                let upto = self.snapshot;
                self.node().wal.release(upto).unwrap();
            }
            deed::REOPEN => {
                self.node = None;
                self.node = Some(open(&self.disk).unwrap());
                self.note_markers();
            }
            _ => {
                let paths = disk::list(&*self.disk, &wal_dir()).into_iter();
                let copies = paths.map(|path| (path.clone(), disk::read(&*self.disk, &path)));
                self.old = copies.collect();
            }
        }
        self.left -= 1;
        self.left > 0
    }

    /// Some entries, from `first` on.
    fn hand_over(&mut self, first: Index, term: Term, input: &mut Input<'_>) {
        let (count, mut index) = (1 + input.below(4), first);
        let (mut entries, mut states, mut state) = (Vec::new(), Vec::new(), self.newest());
        for _ in 0..count {
            let byte = input.byte();
            let kind = if byte & 0x80 != 0 { EntryKind::ConfChange } else { EntryKind::Normal };
            let data = Bytes::from(vec![byte; usize::from(byte & 0x7f) * 9]);
            let entry = Entry { index, term, kind, data };
            state.entries.retain(|kept| kept.index < index);
            state.entries.push(entry.clone());
            entries.push(entry);
            states.push(state.clone());
            index = index.next();
        }
        // Entries of a term are never handed over before the term is.
        if input.flag() || term > state.hard_state.term {
            state.hard_state.term = term;
            state.hard_state.commit = self.commit;
            states.push(state);
        }
        self.write(&entries, states);
        self.commit = Index::new(self.commit.get().max(first.get().saturating_sub(1)));
    }

    /// Writes and syncs what leads to these states, record by record.
    fn write(&mut self, entries: &[Entry], states: Vec<State>) {
        // A full segment is cut first, so that its seal is noted with what it seals.
        self.node().wal.prepare().unwrap();
        self.note_markers();
        let before = self.newest().hard_state;
        self.states.extend(states);
        let hard_state = Some(self.newest().hard_state).filter(|state| *state != before);
        self.node().wal.append(entries, hard_state.as_ref()).unwrap();
        self.node().wal.sync().unwrap();
        self.note_markers();
    }

    fn take_snapshot(&mut self) {
        let index = self.commit;
        let Some(term) = self.newest().term(index).filter(|_| index > self.snapshot) else {
            return;
        };
        let mark = SnapshotMark { index, term, conf: genesis().mark.conf };
        let cluster = genesis().cluster;
        let head = SnapshotHead { cluster, mark, revision: Revision::new(1), compacted: None };
        let sections = [Section { kind: 1, bytes: Bytes::from_static(b"all there is") }];
        self.node().snapshots.write(&head, sections.into_iter().map(Ok)).unwrap();
        self.snapshot = index;
    }

    /// The markers that are new belong to what was synced last.
    fn note_markers(&mut self) {
        let moment = self.states.len() - 1;
        for path in disk::list(&*self.disk, &wal_dir()) {
            let Some(sequence) = sequence(&path) else { continue };
            let head = disk::head(&*self.disk, &path, 1536);
            for (number, vouched, end) in markers(&head) {
                let synced = Synced { moment, vouched, end };
                self.markers.entry((sequence, number)).or_insert(synced);
            }
        }
    }

    pub(super) fn close(self) -> Written {
        let Self { disk, node, states, markers, old, .. } = self;
        drop(node);
        Written { disk, states, markers, old }
    }
}

impl Written {
    pub(super) fn is_last(&self, moment: Moment) -> bool {
        let last = &self.states[self.states.len() - 1];
        self.states[moment] == *last
    }

    /// Which of the states from `floor` on this is.
    pub(super) fn explain(&self, node: &Opened, floor: Moment) -> Moment {
        let explains = |state: &State| {
            let rest = state.entries.iter().filter(|entry| entry.index > node.mark.index);
            let commit = state.hard_state.commit.min(state.last().0).max(node.mark.index);
            state.term(node.mark.index) == Some(node.mark.term)
                && rest.eq(node.entries.iter())
                && node.hard_state == HardState { commit, ..state.recovered() }
        };
        let found = self.states.iter().rposition(explains);
        let Some(found) = found else {
            panic!("never written: {:?}, {:?}, {:?}", node.mark, node.hard_state, node.entries);
        };
        let kept = found >= floor || self.states[floor..].contains(&self.states[found]);
        assert!(kept, "the log was cut at {found} of {}, below {floor}", self.states.len() - 1);
        found
    }
}

/// The sequence in a segment's name.
pub(super) fn sequence(path: &std::path::Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?.strip_suffix(".wal")?;
    u64::from_str_radix(name, 16).ok()
}

/// The tail markers of a file that are whole: number, vouched, end.
pub(super) fn markers(file: &[u8]) -> Vec<(u64, u64, u64)> {
    let seed = file.get(72..76);
    let slots = [512, 1024].into_iter().filter_map(|at| file.get(at..at + 512));
    let whole = slots.filter(|slot| is_whole(slot) && slot.get(504..508) == seed);
    let number = |slot: &[u8], at: usize| u64::from_le_bytes(*slot[at..].first_chunk().unwrap());
    whole.map(|slot| (number(slot, 0), number(slot, 8), number(slot, 16))).collect()
}

/// Whether a sector's stamp is right, whoever has put it there.
pub(super) fn is_whole(sector: &[u8]) -> bool {
    sector.split_last_chunk::<4>().is_some_and(|(covered, stored)| {
        crate::codec::checksum(0, covered) == u32::from_le_bytes(*stored)
    })
}
