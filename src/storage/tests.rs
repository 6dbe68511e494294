//! The room as its callers see it.

use std::path::Path;

use bytes::Bytes;

use super::*;
use crate::entry::{ConfState, EntryKind, Section};
use crate::ids::Revision;
use crate::sim::MemoryDisk;

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
        kind: if index.is_multiple_of(5) { EntryKind::ConfChange } else { EntryKind::Normal },
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

pub(super) fn open_in(memory: &MemoryDisk) -> Result<Opened> {
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

/// DUR-22, BST-7.
#[test]
fn a_second_node_is_kept_out_also_within_a_process() {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, options) = disk(dir.path());
    let first = open(Arc::clone(&vfs), options.clone(), boot()).unwrap();
    assert!(open(Arc::clone(&vfs), options.clone(), boot()).err().unwrap().is_locked());
    // Another data directory, the same log: kept out too.
    let other = Options { data_dir: dir.path().join("other"), ..options.clone() };
    assert!(open(Arc::clone(&vfs), other, boot()).err().unwrap().is_locked());
    drop(first);
    assert!(open(vfs, options, boot()).is_ok());
}

#[test]
fn the_log_may_live_in_a_directory_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let (vfs, options) = disk(dir.path());
    let options = Options { wal_dir: dir.path().join("fast/log"), ..options };
    let mut opened = open(Arc::clone(&vfs), options.clone(), boot()).unwrap();
    opened.wal.append(&[entry(2, 1, 9)], None).unwrap();
    opened.wal.sync().unwrap();
    drop(opened);
    assert_eq!(open(vfs, options, boot()).unwrap().entries, [entry(2, 1, 9)]);
}

#[test]
fn files_are_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (vfs, options) = disk(dir.path());
    let opened = open(vfs, options.clone(), boot()).unwrap();
    opened.snapshots.write(&head(1, 1), sections(1)).unwrap();
    let mut left = vec![options.data_dir];
    while let Some(path) = left.pop() {
        let found = std::fs::metadata(&path).unwrap();
        let expected = if found.is_dir() { 0o700 } else { 0o600 };
        assert_eq!(found.permissions().mode() & 0o777, expected, "{}", path.display());
        if found.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
}

#[test]
fn what_the_system_refuses_is_an_io_error() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (vfs, options) = disk(dir.path());
    std::fs::write(dir.path().join("data"), b"a file where a directory should be").unwrap();
    assert!(open(Arc::clone(&vfs), options.clone(), boot()).err().unwrap().is_io());
    std::fs::remove_file(dir.path().join("data")).unwrap();
    drop(open(Arc::clone(&vfs), options.clone(), boot()).unwrap());
    let forbidden = std::fs::Permissions::from_mode(0o500);
    std::fs::set_permissions(&options.data_dir, forbidden).unwrap();
    if std::fs::write(options.data_dir.join("probe"), b"").is_ok() {
        return; // Nothing is forbidden to root.
    }
    let error = open(vfs, options.clone(), boot()).err().unwrap();
    assert!(error.is_io(), "{error}");
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("denied"), "{cause}");
    std::fs::set_permissions(&options.data_dir, std::fs::Permissions::from_mode(0o700)).unwrap();
}

/// `BST-12`: a first sector keeps its shape (magic, version, stamp) in every version.
#[test]
fn a_newer_format_is_refused_as_such() {
    let memory = MemoryDisk::new();
    let mut opened = open_in(&memory).unwrap();
    opened.wal.append(&[entry(2, 1, 9)], None).unwrap();
    opened.wal.sync().unwrap();
    opened.snapshots.write(&head(2, 1), sections(2)).unwrap();
    drop(opened);
    for path in memory.paths() {
        let memory = memory.fork();
        let edited = memory.edit(&path, |bytes| {
            bytes[8..12].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
            if path.extension().is_some_and(|kind| kind == "snap") {
                let crc = crate::codec::checksum(0, &bytes[..20]);
                bytes[20..24].copy_from_slice(&crc.to_le_bytes());
            } else {
                let sector = sector::seal(&bytes[..sector::CONTENT_BYTES], 0);
                bytes[..sector::SECTOR_BYTES].copy_from_slice(&sector);
            }
        });
        edited.unwrap();
        let error = open_in(&memory).err().unwrap();
        assert!(error.is_newer_format(), "{}: {error}", path.display());
        let name = path.display().to_string();
        assert!(error.to_string().contains(&name), "{error}");
    }
}

#[test]
fn another_incarnation_of_a_member_is_foreign() {
    let (memory, other) = (MemoryDisk::new(), MemoryDisk::new());
    drop(open_in(&memory).unwrap());
    let boot = Bootstrap { incarnation: Incarnation::new(9), ..boot() };
    drop(open(Arc::new(other.clone()), options(Path::new("data")), boot).unwrap());
    let path = Path::new("data/identity");
    let identity = other.look(path, <[u8]>::to_vec).unwrap();
    memory.edit(path, |bytes| *bytes = identity).unwrap();
    let error = open_in(&memory).err().unwrap();
    assert!(error.is_foreign(), "{error}");
}
