//! Any bytes in place of a snapshot: an error, never a panic, and never another content.

use bytes::BytesMut;
use proptest::prelude::*;

use super::super::tests::{head, open_in, sections};
use super::*;
use crate::sim::MemoryDisk;

/// Reads a file of these bytes as a snapshot, to its end.
fn read(bytes: &[u8]) -> Result<(SnapshotHead, Vec<Section>)> {
    let (memory, path) = (MemoryDisk::new(), Path::new("file"));
    let file = memory.open(path, OpenMode::Create).unwrap();
    file.write_at(0, bytes).unwrap();
    let (head, sections) = file::open(file, path)?;
    Ok((head, sections.collect::<Result<_>>()?))
}

fn whole() -> Vec<u8> {
    let memory = MemoryDisk::new();
    let snapshots = open_in(&memory).unwrap().snapshots;
    snapshots.write(&head(5, 1), sections(5)).unwrap();
    snapshots.read_at(Index::new(5), 0, usize::MAX).unwrap().to_vec()
}

#[test]
fn every_changed_bit_and_every_lost_end_is_noticed() {
    let bytes = whole();
    let expected = sections(5).collect::<Result<Vec<_>>>().unwrap();
    assert_eq!(read(&bytes).unwrap(), (head(5, 1), expected));
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(read(&damaged).unwrap_err().is_corrupt(), "byte {at}");
        assert!(read(&bytes[..at]).unwrap_err().is_corrupt(), "{at} bytes");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(read(&longer).unwrap_err().is_corrupt());
}

#[test]
fn sections_beyond_the_bounds_are_refused_before_they_are_written() {
    let snapshots = open_in(&MemoryDisk::new()).unwrap().snapshots;
    let section = |kind, len| Section { kind, bytes: BytesMut::zeroed(len).freeze() };
    for section in [section(255, 0), section(1, file::MAX_SECTION_BYTES + 1)] {
        let error = snapshots.write(&head(5, 1), [Ok(section)].into_iter()).unwrap_err();
        assert!(error.is_invalid(), "{error}");
    }
    assert!(snapshots.list().is_empty());
}

#[test]
fn pieces_that_do_not_fit_are_refused() {
    let snapshots = open_in(&MemoryDisk::new()).unwrap().snapshots;
    let key = StageKey { index: Index::new(9), term: Term::new(1), file_bytes: 100, hash: 0 };
    let mut stage = snapshots.stage(key).unwrap();
    stage.write(0, &[1; 40]).unwrap();
    assert!(stage.write(41, &[1; 10]).unwrap_err().is_invalid());
    assert!(stage.write(40, &[1; 61]).unwrap_err().is_invalid());
    stage.write(10, &[1; 20]).unwrap();
    stage.write(30, &[1; 20]).unwrap();
    assert_eq!(stage.have(), 50);
}

proptest! {
    #[test]
    fn survives_any_bytes(bytes: Vec<u8>) {
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn survives_any_change(at in 0..1300usize, junk: Vec<u8>) {
        let mut bytes = whole();
        let end = bytes.len().min(at + junk.len());
        bytes.splice(at..end, junk.iter().copied());
        if bytes != whole() {
            prop_assert!(read(&bytes).is_err());
        }
    }
}
