//! A snapshot: received from another member, found on the own disk, and made into a machine.
//!
//! What is promised:
//! - Bytes that are received and are not the announced file are refused; what is accepted makes a
//!   machine, and that one's image the same state again.
//! - A snapshot that was changed on disk is never used. The node begins behind an older one, or
//!   where every member begins, with every entry since; or it is refused by the file's name, if
//!   the log does not reach back (`DUR-18`).
//! - Sections whose checksums are right, whatever is in them, are refused or are exactly what the
//!   machine that comes of them would write. That machine applies on, or says why not.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};

use super::damage::{add, damage};
use super::deliver::{CLUSTER, VOTERS, genesis, incarnation};
use super::input::Input;
use super::{command, disk};
use crate::codec::checksum;
use crate::core::machine::{Image, Machine};
use crate::entry::{HardState, Section, SnapshotMark};
use crate::error::{Error, Kind, Result};
use crate::ids::{Index, Term};
use crate::storage::{self, Bootstrap, Opened, Options, SnapshotHead, SnapshotInfo, StageKey};
use crate::vfs::Vfs;

/// The first byte of a case says what the rest is.
pub(super) const RECEIVED: u8 = 0;
pub(super) const ON_DISK: u8 = 1;
pub(super) const SECTIONS: u8 = 2;

/// What is done to the sections of an image, by the byte that asks for it.
pub(super) mod edit {
    pub(in super::super) const ADD: u8 = 0;
    pub(in super::super) const LOSE: u8 = 1;
    pub(in super::super) const REPEAT: u8 = 2;
    pub(in super::super) const DAMAGE: u8 = 3;
    pub(super) const COUNT: u8 = 4;
}

/// Runs a case.
pub fn snapshot_read(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 3 {
        RECEIVED => received(input.rest()),
        ON_DISK => on_disk(&mut input),
        _ => sections(&mut input),
    }
}

fn dir() -> PathBuf {
    PathBuf::from("data")
}

fn opened(disk: &Arc<dyn Vfs>) -> Result<Opened> {
    let options = Options {
        data_dir: dir(),
        wal_dir: dir().join("wal"),
        segment_bytes: 4 << 10,
        max_snapshots: 2,
    };
    let (node, mark) = (VOTERS[0], genesis().mark);
    let hard_state =
        HardState { term: Term::new(1), commit: Index::new(1), ..HardState::default() };
    let boot =
        Bootstrap { cluster: CLUSTER, node, incarnation: incarnation(node), mark, hard_state };
    storage::open(Arc::clone(disk), options, boot)
}

fn write(opened: &Opened, image: &Image) -> SnapshotInfo {
    let (revision, compacted) = (image.revision(), image.compacted());
    let head = SnapshotHead { cluster: CLUSTER, mark: image.mark().clone(), revision, compacted };
    opened.snapshots.write(&head, image.sections().map(Ok)).unwrap()
}

/// The file of a snapshot, as a node writes it.
#[cfg(test)]
pub(super) fn file(entries: &[u8]) -> Vec<u8> {
    let disk = disk::empty();
    write(&opened(&disk).unwrap(), &command::machine(&mut Input::new(entries)).pin());
    disk::read(&*disk, disk::list(&*disk, &dir().join("snapshots")).first().unwrap())
}

/// What may be said of a file that is not what it should be.
fn refused(error: &Error) {
    let kinds = [Kind::Corrupt, Kind::Foreign, Kind::NewerFormat];
    assert!(kinds.contains(&error.kind()), "{error:?}");
    assert!(!error.to_string().is_empty());
}

// ---- received

/// A number of the file, where an honest one has it.
fn number(file: &[u8], at: usize) -> u64 {
    let bytes = file.get(at..).and_then(|rest| rest.first_chunk::<8>());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// Takes the bytes for the file that was announced, whatever they are.
fn received(file: &[u8]) {
    let disk = disk::empty();
    let node = opened(&disk).unwrap();
    let (index, term) = (Index::new(number(file, 32)), Term::new(number(file, 40)));
    let hash = number(file, file.len().saturating_sub(8));
    let key = StageKey { index, term, file_bytes: file.len() as u64, hash };
    let mut stage = node.snapshots.stage(key).unwrap();
    for piece in file.chunks(700) {
        let have = stage.have();
        stage.write(have, piece).unwrap();
    }
    match stage.finish() {
        Err(error) => refused(&error),
        Ok((head, sections)) => match Machine::restore(sections, &head.mark) {
            Err(error) => refused(&error),
            Ok(machine) => {
                again(&machine);
                let info = node.snapshots.adopt(stage).unwrap();
                assert_eq!((info.hash, info.mark), (hash, head.mark));
                let (_, sections) = node.snapshots.open(index).unwrap();
                let found = Machine::restore(sections, machine.pin().mark()).unwrap();
                assert_eq!(found.pin().hash(), machine.pin().hash());
            }
        },
    }
    drop(node);
    // It was not installed, so the log knows nothing of it.
    let node = opened(&disk).unwrap();
    assert_eq!((node.mark.index, node.snapshots.list().len()), (genesis().mark.index, 0));
}

/// A machine's image makes the same machine.
fn again(machine: &Machine) {
    let image = machine.pin();
    let restored = Machine::restore(image.sections().map(Ok), image.mark()).unwrap();
    assert_eq!(restored.pin().hash(), image.hash());
}

// ---- on disk

/// A directory with two snapshots, of which one or both change.
fn on_disk(input: &mut Input<'_>) {
    let disk = disk::empty();
    let mut node = opened(&disk).unwrap();
    let (mut machine, mut images) = (Machine::new(genesis()), Vec::new());
    for _ in 0..2 {
        let (mut case, mut entries) = (Input::new(input.bytes()), Vec::new());
        command::apply(&mut machine, &mut case, &mut entries);
        // A batch fills a segment, so the next one begins another.
        node.wal.append(&entries, None).unwrap();
        node.wal.sync().unwrap();
        if !entries.is_empty() {
            images.push(machine.pin());
            write(&node, &machine.pin());
        }
    }
    let released = input.flag();
    if released && let Some(oldest) = images.first() {
        node.wal.prepare().unwrap();
        node.wal.release(oldest.mark().index).unwrap();
    }
    drop(node);
    let files = disk::list(&*disk, &dir().join("snapshots"));
    for (path, changes) in files.iter().rev().zip([true, input.flag()]) {
        let (whole, mut bytes) = (disk::read(&*disk, path), disk::read(&*disk, path));
        for _ in 0..1 + input.below(2) {
            damage(input, &mut bytes);
        }
        if changes && bytes != whole {
            disk::put(&*disk, path, &bytes);
            images.retain(|image| !path.to_string_lossy().contains(&name(image.mark())));
        }
    }
    found(&disk, &images, machine.applied().0, released);
}

fn name(mark: &SnapshotMark) -> String {
    format!("{:016x}-{:016x}", mark.index.get(), mark.term.get())
}

/// Opens the directory again, with the images that are still whole.
fn found(disk: &Arc<dyn Vfs>, whole: &[Image], last: Index, released: bool) {
    let node = match opened(disk) {
        Ok(node) => node,
        Err(error) => {
            refused(&error);
            // A version or a cluster that was changed together with its checksum is another matter.
            let needed = released && whole.is_empty();
            assert!(needed || !error.is_corrupt(), "the log reaches back: {error}");
            return;
        }
    };
    let newest = whole.iter().map(Image::mark).max_by_key(|mark| mark.index);
    let start = newest.cloned().unwrap_or(genesis().mark);
    assert_eq!(node.mark, start, "DUR-18");
    let indexes: Vec<u64> = node.entries.iter().map(|entry| entry.index.get()).collect();
    assert_eq!(indexes, (start.index.next().get()..=last.get()).collect::<Vec<_>>());
    if let Some(info) = &node.snapshot {
        let (head, sections) = node.snapshots.open(info.mark.index).unwrap();
        let machine = Machine::restore(sections, &head.mark).unwrap();
        let image = whole.iter().find(|image| *image.mark() == info.mark).unwrap();
        assert_eq!(machine.pin().hash(), image.hash());
    }
}

// ---- sections

/// The image of a machine, changed, with the right checksums on it.
fn sections(input: &mut Input<'_>) {
    let image = command::machine(&mut Input::new(input.bytes())).pin();
    let mut sections: Vec<(u8, Vec<u8>)> =
        image.sections().map(|section| (section.kind, section.bytes.to_vec())).collect();
    sections.pop();
    for _ in 0..1 + input.below(4) {
        let at = input.below(sections.len());
        let Some((_, bytes)) = sections.get_mut(at) else { break };
        match input.byte() % edit::COUNT {
            edit::ADD => {
                let offset = usize::from(input.short()) % bytes.len().max(1);
                add(input, bytes, offset);
            }
            edit::LOSE => drop(sections.remove(at)),
            edit::REPEAT => {
                let again = sections[at].clone();
                sections.insert(at, again);
            }
            _ => damage(input, bytes),
        }
    }
    let sections = sealed(sections);
    let mark = mark_in(&sections, image.mark());
    let given: Vec<_> = sections.iter().cloned().map(Ok).collect();
    match Machine::restore(given.into_iter(), &mark) {
        Err(error) => refused(&error),
        Ok(mut machine) => {
            let written: Vec<Section> = machine.pin().sections().collect();
            let same = |(one, other): (&Section, &Section)| {
                // The first byte is the version, of which only the newest is written.
                one.kind == other.kind && one.bytes.get(1..) == other.bytes.get(1..)
            };
            let all = written.len() == sections.len() && written.iter().zip(&sections).all(same);
            assert!(all, "what came of it writes something else: {written:?} of {sections:?}");
            again(&machine);
            let mut case = Input::new(input.bytes());
            command::apply(&mut machine, &mut case, &mut Vec::new());
        }
    }
}

/// With the section that ends an image.
fn sealed(sections: Vec<(u8, Vec<u8>)>) -> Vec<Section> {
    let mut sum = 0;
    let count = sections.len() as u64;
    let mut sealed: Vec<Section> = Vec::new();
    for (kind, bytes) in sections {
        sum = checksum(checksum(sum, &[kind]), &bytes);
        sealed.push(Section { kind, bytes: bytes.into() });
    }
    let mut end = BytesMut::from([1, 12, 0, 0, 0].as_slice());
    end.put_u64_le(count);
    end.put_u32_le(sum);
    sealed.push(Section { kind: 5, bytes: end.freeze() });
    sealed
}

/// The mark that the head names now: a version byte, a length and the cluster stand before it.
fn mark_in(sections: &[Section], was: &SnapshotMark) -> SnapshotMark {
    let head = sections.first().map_or(&[][..], |section| &section.bytes);
    let (index, term) = (Index::new(number(head, 13)), Term::new(number(head, 21)));
    SnapshotMark { index, term, conf: was.conf.clone() }
}
