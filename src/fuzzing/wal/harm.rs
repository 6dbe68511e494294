//! What a disk may do to the files of a log, and what that may cost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::damage::damage;
use super::super::disk;
use super::super::input::Input;
use super::history::{Moment, Written, is_whole, markers, sequence};
use super::wal_dir;
use crate::codec::checksum;

/// Kinds of harm, by the byte that asks for them.
pub(in crate::fuzzing) mod wound {
    /// One of the kinds in `damage.rs`.
    pub(in crate::fuzzing) const DAMAGE: u8 = 0;
    /// Sectors that read as zeros.
    pub(in crate::fuzzing) const BLANK: u8 = 1;
    /// A sector as it was before.
    pub(in crate::fuzzing) const OLD: u8 = 2;
    /// A sector in the place of another.
    pub(in crate::fuzzing) const MISPLACE: u8 = 3;
    pub(in crate::fuzzing) const REMOVE: u8 = 4;
    /// Damage, and then the right stamp: no disk does that.
    pub(in crate::fuzzing) const FORGE: u8 = 5;
    pub(super) const COUNT: u8 = 6;
}

const SECTOR: usize = 512;
/// Where the records of a segment begin.
const RECORDS: usize = 4096;

/// Changes the files of a log that is closed.
pub(super) struct Harm<'a> {
    log: &'a Written,
    before: BTreeMap<PathBuf, Vec<u8>>,
    /// No promise holds but that nothing panics.
    forged: bool,
}

impl<'a> Harm<'a> {
    pub(super) fn new(log: &'a Written) -> Self {
        Self { log, before: files(log), forged: false }
    }

    pub(super) fn act(&mut self, input: &mut Input<'_>) {
        let kind = input.byte() % wound::COUNT;
        let mut paths: Vec<_> = disk::list(&*self.log.disk, &wal_dir());
        paths.retain(|path| sequence(path).is_some());
        paths.push(PathBuf::from("data/identity"));
        let path = paths[input.below(paths.len())].clone();
        if kind == wound::REMOVE {
            disk::remove(&*self.log.disk, &path);
            return;
        }
        let mut bytes = disk::read(&*self.log.disk, &path);
        let sector = input.below(bytes.len() / SECTOR) * SECTOR;
        match kind {
            wound::BLANK => {
                let count = 1 + input.below(4);
                bytes.iter_mut().skip(sector).take(count * SECTOR).for_each(|byte| *byte = 0);
            }
            wound::OLD => {
                let old = self.log.old.get(&path).and_then(|old| old.get(sector..sector + SECTOR));
                copy(old.map(<[u8]>::to_vec), &mut bytes, sector);
            }
            wound::MISPLACE => {
                let from = input.below(bytes.len() / SECTOR) * SECTOR;
                copy(bytes.get(from..from + SECTOR).map(<[u8]>::to_vec), &mut bytes, sector);
            }
            wound::FORGE => {
                self.forged = true;
                let mut content = bytes.get(sector..).unwrap_or_default().to_vec();
                content.truncate(SECTOR - 4);
                damage(input, &mut content);
                content.resize(SECTOR - 4, 0);
                content.extend_from_slice(&checksum(0, &content).to_le_bytes());
                copy(Some(content), &mut bytes, sector);
            }
            _ => damage(input, &mut bytes),
        }
        disk::put(&*self.log.disk, &path, &bytes);
    }

    /// Whether any file is another than it was.
    pub(super) fn any(&self) -> bool {
        files(self.log) != self.before
    }

    /// The moment that what opens must not be older than; none if nothing is promised: there has
    /// been forgery, or nothing is left that could be missed.
    pub(super) fn floor(&self) -> Option<Moment> {
        if self.forged {
            return None;
        }
        let left = files(self.log);
        let mut segments = left.iter().filter_map(|(path, now)| Some((sequence(path)?, path, now)));
        let (last, path, now) = segments.next_back()?;
        let floor = self.of_segment(last, path, now)?;
        // With nothing left in it, a segment is taken for one that a crash left empty; and then
        // the one before it may have lost its seal.
        let begin = self.log.markers.get(&(last, 0))?.moment;
        let before = segments.next_back().filter(|_| floor == begin);
        let before = before.and_then(|(sequence, path, now)| self.of_segment(sequence, path, now));
        Some(before.map_or(floor, |before| before.min(floor)))
    }

    fn of_segment(&self, sequence: u64, path: &Path, now: &[u8]) -> Option<Moment> {
        let begin = self.log.markers.get(&(sequence, 0))?.moment;
        let newest = markers(now).into_iter().max()?;
        let (number, vouched, end) = newest;
        let Some(known) = self.log.markers.get(&(sequence, number)) else { return Some(begin) };
        if (known.vouched, known.end) != (vouched, end) {
            // A record's sector in the place of a marker.
            return Some(begin);
        }
        let end = usize::try_from(end).unwrap();
        let was = &self.before[path];
        let lost = (RECORDS..end).step_by(SECTOR).any(|at| {
            let (was, now) = (was.get(at..at + SECTOR), now.get(at..at + SECTOR));
            was != now && now.is_none_or(|now| is_whole(now) || now.iter().all(|byte| *byte == 0))
        });
        let before = number.checked_sub(1).filter(|_| lost);
        let before = before.and_then(|before| self.log.markers.get(&(sequence, before)));
        Some(before.map_or(known.moment, |before| before.moment))
    }
}

/// The identity and the segments.
fn files(log: &Written) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut paths = disk::list(&*log.disk, &wal_dir());
    paths.retain(|path| sequence(path).is_some());
    paths.push(PathBuf::from("data/identity"));
    let files = paths.into_iter().map(|path| {
        let bytes = disk::read(&*log.disk, &path);
        (path, bytes)
    });
    files.filter(|(_, bytes)| !bytes.is_empty()).collect()
}

fn copy(from: Option<Vec<u8>>, to: &mut [u8], at: usize) {
    let place = to.get_mut(at..at + SECTOR);
    if let (Some(from), Some(place)) = (from, place) {
        place.copy_from_slice(&from);
    }
}
