//! The files of a log, opened.
//!
//! What is promised (`docs/on-disk.md`, `DUR-11`, `DUR-12`):
//! - Whatever the files are, the directory opens or is refused as damaged, foreign or newer, by a
//!   file's name. What opens is a log: entries without a gap, terms that do not fall, a commit
//!   index inside. It takes the next entry, and has it when it is opened again (unless a tail
//!   marker with a right checksum lies: a segment that it calls empty is replaced).
//! - Of a log that was written, synced and closed, and then changed by no more than a disk does,
//!   nothing is made up: what opens is what the log said after one of its records. What of it may
//!   be missing:
//!   - a changed sector that its stamp gives away, a removed or a shortened file: nothing;
//!   - a sector that was lost whole (zeros, an older content, another place's): nothing before the
//!     last sync that the newest whole tail marker speaks of, and then the loss is reported;
//!   - the newest tail marker as well: nothing before the marker that is left, by the same rules.
//! - Sectors and records with the right checksums that say something else are no disk's doing. For
//!   them only the first promise holds.
//!
//! `history.rs` writes a log and knows what it said when, `harm.rs` changes its files and knows
//! what that may cost, `crafted.rs` makes files of records that nobody has written.

mod crafted;
mod harm;
mod history;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

use self::harm::Harm;
use self::history::History;
use super::deliver::{CLUSTER, VOTERS, genesis, incarnation};
use super::disk;
use super::input::Input;
use crate::core::replica::consensus::{Consensus, Start};
use crate::entry::{Entry, EntryKind, HardState};
use crate::error::{Error, Kind, Result};
use crate::ids::{Index, Term};
use crate::storage::{self, Bootstrap, Opened, Options};
use crate::vfs::Vfs;

pub(super) use self::crafted::record;
pub(super) use self::harm::wound;
pub(super) use self::history::deed;

/// The first byte of a case says what the rest is.
pub(super) const RAW: u8 = 0;
pub(super) const HARMED: u8 = 1;
pub(super) const CRAFTED: u8 = 2;

/// Runs a case.
pub fn wal_scan(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        RAW => raw(input.rest()),
        HARMED => harmed(&mut input),
        _ => crafted(&mut input),
    }
}

fn wal_dir() -> PathBuf {
    PathBuf::from("data/wal")
}

fn segment(sequence: u64) -> PathBuf {
    wal_dir().join(format!("{sequence:016x}.wal"))
}

fn hard_state() -> HardState {
    HardState { term: Term::new(1), commit: Index::new(1), ..HardState::default() }
}

fn open(disk: &Arc<dyn Vfs>) -> Result<Opened> {
    let options = Options {
        data_dir: PathBuf::from("data"),
        wal_dir: wal_dir(),
        segment_bytes: 6 << 10,
        max_snapshots: 2,
    };
    let (node, mark) = (VOTERS[0], genesis().mark);
    let hard_state = hard_state();
    let boot =
        Bootstrap { cluster: CLUSTER, node, incarnation: incarnation(node), mark, hard_state };
    storage::open(Arc::clone(disk), options, boot)
}

/// A directory in which a log was begun and closed.
fn begun() -> Arc<dyn Vfs> {
    let disk = disk::empty();
    open(&disk).map(drop).unwrap();
    disk
}

/// The first segment's file is the case.
fn raw(file: &[u8]) {
    let disk = begun();
    disk::put(&*disk, &segment(1), file);
    opens_or_is_refused(&disk, true);
}

fn crafted(input: &mut Input<'_>) {
    let disk = begun();
    let honest =
        crafted::files(input, |sequence, file| disk::put(&*disk, &segment(sequence), &file));
    opens_or_is_refused(&disk, honest);
}

fn refused(error: &Error) {
    let kinds = [Kind::Corrupt, Kind::Foreign, Kind::NewerFormat];
    assert!(kinds.contains(&error.kind()), "{error:?}");
    assert!(error.to_string().contains("data"), "{error}");
}

fn opens_or_is_refused(disk: &Arc<dyn Vfs>, honest: bool) {
    match open(disk) {
        Ok(node) => {
            is_a_log(&node);
            if honest {
                lives_on(disk, node);
            }
        }
        Err(error) => refused(&error),
    }
}

/// What consensus and the machine take for granted of what was found.
fn is_a_log(node: &Opened) {
    let mut last = (node.mark.index, node.mark.term);
    for entry in &node.entries {
        assert_eq!(entry.index, last.0.next(), "a gap");
        assert!(entry.term >= last.1, "the term falls at {}", entry.index);
        last = (entry.index, entry.term);
    }
    assert!((node.mark.index..=last.0).contains(&node.hard_state.commit), "R11");
    let start = Start {
        id: VOTERS[0],
        seed: 1,
        election_ticks: 10,
        heartbeat_ticks: 2,
        max_append_bytes: 1 << 20,
        max_inflight: 8,
        max_uncommitted_bytes: 1 << 20,
        max_apply_bytes: 1 << 20,
        hard_state: node.hard_state,
        mark: node.mark.clone(),
        applied: node.mark.index,
        entries: node.entries.clone(),
    };
    // Consensus may find more to object to, in words.
    if let Err(error) = Consensus::new(start) {
        assert!(error.is_corrupt() || error.is_config(), "{error:?}");
    }
}

/// The log takes an entry and has it the next time.
fn lives_on(disk: &Arc<dyn Vfs>, mut node: Opened) {
    let last = node
        .entries
        .last()
        .map_or((node.mark.index, node.mark.term), |entry| (entry.index, entry.term));
    let (index, data) = (last.0.next(), Bytes::from_static(b"next"));
    if index == last.0 {
        return;
    }
    let next = Entry { index, term: last.1, kind: EntryKind::Normal, data };
    node.wal.append(std::slice::from_ref(&next), None).unwrap();
    node.wal.sync().unwrap();
    let mut wanted = node.entries.clone();
    wanted.push(next);
    let before = (node.mark.clone(), node.identity.boot);
    drop(node);
    let node = open(disk).unwrap();
    assert_eq!(node.entries, wanted);
    assert_eq!((&node.mark, node.identity.boot), (&before.0, before.1 + 1));
}

/// A log is written, its files are changed, and what opens is judged.
fn harmed(input: &mut Input<'_>) {
    let mut history = History::new();
    let mut deeds = Input::new(input.bytes());
    while !deeds.is_empty() && history.act(&mut deeds) {}
    let history = history.close();
    let mut harm = Harm::new(&history);
    for _ in 0..1 + input.below(4) {
        harm.act(input);
    }
    let (floor, any) = (harm.floor(), harm.any());
    match open(&history.disk) {
        Err(error) => {
            refused(&error);
            assert!(any, "refused, and nothing was changed: {error}");
        }
        Ok(node) => {
            is_a_log(&node);
            if let Some(floor) = floor {
                let found = history.explain(&node, floor);
                let whole = history.is_last(found);
                assert!(whole || node.truncated.is_some(), "DUR-11: the loss is not reported");
                lives_on(&history.disk, node);
            }
        }
    }
}

/// The files of a log, as a node leaves them: for the corpus.
#[cfg(test)]
pub(super) fn files(deeds: &[u8]) -> Vec<Vec<u8>> {
    let (mut history, mut deeds) = (History::new(), Input::new(deeds));
    while !deeds.is_empty() && history.act(&mut deeds) {}
    let history = history.close();
    let paths = disk::list(&*history.disk, &wal_dir());
    paths.iter().map(|path| disk::read(&*history.disk, path)).collect()
}
