//! The room as its callers see it.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::memory::Memory;
use super::*;
use crate::entry::{ConfState, EntryKind, Section};
use crate::ids::Revision;

pub(super) fn options(data_dir: &Path) -> Options {
    Options {
        data_dir: data_dir.to_path_buf(),
        wal_dir: data_dir.join("wal"),
        segment_bytes: 16 << 10,
        max_snapshots: 2,
    }
}

pub(super) fn genesis() -> SnapshotMark {
    let conf = ConfState { voters: vec![NodeId::new(7)], ..ConfState::default() };
    SnapshotMark { index: Index::new(1), term: Term::new(1), conf }
}

pub(super) fn boot() -> Bootstrap {
    Bootstrap {
        cluster: ClusterId::new(0xc1),
        node: NodeId::new(7),
        incarnation: Incarnation::new(0x1abe1),
        mark: genesis(),
        hard_state: HardState { term: Term::new(1), vote: NodeId::new(0), commit: Index::new(1) },
    }
}

pub(super) fn entry(index: u64, term: u64, len: usize) -> Entry {
    let fill = (index as u8).wrapping_mul(31).wrapping_add(term as u8);
    Entry {
        index: Index::new(index),
        term: Term::new(term),
        kind: if index % 5 == 0 { EntryKind::ConfChange } else { EntryKind::Normal },
        data: Bytes::from(vec![fill; len]),
    }
}

pub(super) fn mark(index: u64, term: u64) -> SnapshotMark {
    SnapshotMark { index: Index::new(index), term: Term::new(term), conf: genesis().conf }
}

pub(super) fn head(index: u64, term: u64) -> SnapshotHead {
    SnapshotHead {
        cluster: ClusterId::new(0xc1),
        mark: mark(index, term),
        revision: Revision::new(index),
        compacted: None,
    }
}

pub(super) fn sections(index: u64) -> impl Iterator<Item = Result<Section>> {
    (0..3).map(move |kind| Ok(Section { kind, bytes: Bytes::from(vec![index as u8; 400]) }))
}

pub(super) fn open_in(memory: &Memory) -> Result<Opened> {
    open(Arc::new(memory.clone()), options(Path::new("data")), boot())
}

fn disk(dir: &Path) -> (Arc<dyn Vfs>, Options) {
    (Arc::new(Disk::new()), options(&dir.join("data")))
}

#[test]
fn a_log_and_its_snapshots_come_back_from_a_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, options) = disk(dir.path());
    assert!(!has_data(&*vfs, &options).unwrap());
    let mut opened = open(Arc::clone(&vfs), options.clone(), boot()).unwrap();
    assert_eq!((opened.identity.boot, &opened.mark), (1, &genesis()));
    let entries: Vec<Entry> = (2..200).map(|index| entry(index, 1, 300)).collect();
    for batch in entries.chunks(7) {
        opened.wal.append(batch, None).unwrap();
        opened.wal.sync().unwrap();
    }
    opened.snapshots.write(&head(40, 1), sections(40)).unwrap();
    opened.wal.release(Index::new(40)).unwrap();
    drop(opened);
    assert!(has_data(&*vfs, &options).unwrap());
    let opened = open(Arc::clone(&vfs), options, boot()).unwrap();
    assert_eq!(opened.identity.boot, 2);
    assert_eq!(opened.mark, mark(40, 1));
    assert_eq!(opened.entries, entries[39..]);
    assert_eq!(opened.truncated, None);
    let (found, read) = opened.snapshots.open(Index::new(40)).unwrap();
    assert_eq!(found, head(40, 1));
    let read: Vec<Section> = read.map(Result::unwrap).collect();
    assert_eq!(read, sections(40).map(Result::unwrap).collect::<Vec<_>>());
    assert_eq!(opened.snapshots.list(), [opened.snapshot.unwrap()]);
}
