//! The obvious disk beside the clever one: it keeps every write as it came and works out anew
//! what each sector may be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::contents::SECTOR;
use super::*;

/// A write, cut at the sectors.
#[derive(Clone)]
struct Piece {
    offset: usize,
    data: Vec<u8>,
    /// A sync of it failed.
    doubtful: bool,
}

impl Piece {
    fn sector(&self) -> usize {
        self.offset / SECTOR
    }
}

#[derive(Clone, Default)]
struct TwinFile {
    seen: Vec<u8>,
    /// Of the length that it certainly has.
    durable: Vec<u8>,
    pending: Vec<Piece>,
}

impl TwinFile {
    fn write(&mut self, offset: usize, data: &[u8]) {
        put(&mut self.seen, offset, data);
        let mut from = offset;
        while from < offset + data.len() {
            let until = (from - from % SECTOR + SECTOR).min(offset + data.len());
            let data = data[from - offset..until - offset].to_vec();
            self.pending.push(Piece { offset: from, data, doubtful: false });
            from = until;
        }
    }

    fn sync(&mut self) {
        let (doubtful, synced): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.pending).into_iter().partition(|piece| piece.doubtful);
        let sectors: BTreeSet<_> = synced.iter().map(Piece::sector).collect();
        for sector in &sectors {
            let until = self.seen.len().min((sector + 1) * SECTOR);
            put(&mut self.durable, sector * SECTOR, &self.seen[sector * SECTOR..until]);
        }
        self.pending = doubtful;
        self.pending.retain(|piece| !sectors.contains(&piece.sector()));
    }

    fn sync_failed(&mut self) {
        self.pending.iter_mut().for_each(|piece| piece.doubtful = true);
    }

    /// Everything that a sector was since its last sync, oldest first.
    fn versions(&self, sector: usize) -> Vec<Vec<u8>> {
        let at = sector * SECTOR;
        let mut version = self.durable.clone();
        version.resize(version.len().max(at + SECTOR), 0);
        // What lies in the seen file and in no write is part of a gap.
        let mut versions = vec![version[at..at + SECTOR].to_vec()];
        for piece in self.pending.iter().filter(|piece| piece.sector() == sector) {
            put(&mut version, piece.offset, &piece.data);
            versions.push(version[at..at + SECTOR].to_vec());
        }
        versions
    }

    /// Whether a power failure may leave this; counts which of the possibilities it was.
    fn allows(&self, left: &[u8], reached: &mut Reached) -> bool {
        let (old, new, len) = (self.durable.len(), self.seen.len(), left.len());
        if len != old && len != new && !(len.is_multiple_of(SECTOR) && old < len && len < new) {
            return false;
        }
        if old < new {
            reached.insert(match len {
                _ if len == old => "the old length",
                _ if len == new => "the new length",
                _ => "a length between",
            });
        }
        for (sector, left) in left.chunks(SECTOR).enumerate() {
            let versions = self.versions(sector);
            let last = versions.len() - 1;
            let matching = versions.iter().rposition(|version| version.starts_with(left));
            let Some(matching) = matching else { return false };
            let doubtful = self.pending.iter().any(|p| p.sector() == sector && p.doubtful);
            reached.insert(match matching {
                _ if last == 0 => "an untouched sector",
                0 if doubtful => "a doubtful sector, old",
                0 => "an old sector",
                _ if matching < last => "a sector of the time between",
                _ if doubtful => "a doubtful sector, new",
                _ => "a new sector",
            });
        }
        true
    }
}

impl fmt::Debug for TwinFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "seen {}, durable {}", brief(&self.seen), brief(&self.durable))?;
        self.pending.iter().try_for_each(|piece| {
            let doubt = if piece.doubtful { ", in doubt" } else { "" };
            write!(f, ", {}: {}{doubt}", piece.offset, brief(&piece.data))
        })
    }
}

/// The checksum of each sector, and the length.
fn brief(bytes: &[u8]) -> String {
    let sums = bytes.chunks(SECTOR).map(|sector| checksum(0, sector));
    format!("{:x?} ({} bytes)", sums.collect::<Vec<_>>(), bytes.len())
}

fn put(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    bytes.resize(bytes.len().max(end), 0);
    bytes[offset..end].copy_from_slice(data);
}

type Reached = BTreeSet<&'static str>;
type Tree = BTreeMap<PathBuf, usize>;

#[derive(Clone, Debug)]
enum Step {
    Create(PathBuf, usize),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, usize),
}

impl Step {
    fn dir(&self) -> &Path {
        let (Self::Create(path, _) | Self::Remove(path) | Self::Rename(path, _, _)) = self;
        path.parent().unwrap()
    }

    fn apply(&self, tree: &mut Tree) {
        match self {
            Self::Create(path, file) => drop(tree.insert(path.clone(), *file)),
            Self::Remove(path) => drop(tree.remove(path)),
            Self::Rename(from, to, file) => {
                tree.remove(from);
                tree.insert(to.clone(), *file);
            }
        }
    }

    fn outcome(&self, kept: bool) -> &'static str {
        match (self, kept) {
            (Self::Create(..), true) => "a new name kept",
            (Self::Create(..), false) => "a new name lost",
            (Self::Remove(_), true) => "a removal kept",
            (Self::Remove(_), false) => "a removal lost",
            (Self::Rename(..), true) => "a rename kept",
            (Self::Rename(..), false) => "a rename lost",
        }
    }
}

#[derive(Clone, Default)]
struct Twin {
    /// Never shorter: a file is its place.
    files: Vec<TwinFile>,
    seen: Tree,
    durable: Tree,
    steps: Vec<Step>,
}

impl Twin {
    fn step(&mut self, step: Step) {
        step.apply(&mut self.seen);
        self.steps.push(step);
    }

    fn sync_dir(&mut self, dir: &Path) {
        let (synced, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.steps).into_iter().partition(|step| step.dir() == dir);
        synced.iter().for_each(|step| step.apply(&mut self.durable));
        self.steps = kept;
    }

    /// Takes what a power failure left for the truth, if it may have left that.
    fn survive(&mut self, left: &BTreeMap<PathBuf, Vec<u8>>, reached: &mut Reached) -> bool {
        for kept in 0..1_u32 << self.steps.len() {
            let is_kept = |nth: usize| kept & 1 << nth != 0;
            let mut tree = self.durable.clone();
            let mut found = Reached::new();
            for (nth, step) in self.steps.iter().enumerate() {
                if is_kept(nth) {
                    step.apply(&mut tree);
                }
                found.insert(step.outcome(is_kept(nth)));
            }
            let allowed = tree.keys().eq(left.keys())
                && tree.iter().all(|(path, id)| self.files[*id].allows(&left[path], &mut found));
            if allowed {
                reached.append(&mut found);
                for (path, id) in &tree {
                    let (seen, durable) = (left[path].clone(), left[path].clone());
                    self.files[*id] = TwinFile { seen, durable, pending: Vec::new() };
                }
                (self.seen, self.durable) = (tree.clone(), tree);
                self.steps.clear();
                return true;
            }
        }
        false
    }
}

fn everything(disk: &MemoryDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| {
        let file = disk.open(&path, OpenMode::Read).unwrap();
        let mut bytes = vec![9; 20_000];
        let len = file.read_at(0, &mut bytes).unwrap();
        assert_eq!(file.size().unwrap(), len as u64);
        bytes.truncate(len);
        (path, bytes)
    };
    disk.paths().into_iter().map(read).collect()
}

/// The two of them, and what decides what is done to both.
struct Pair {
    disk: MemoryDisk,
    twin: Twin,
    dice: Dice,
    /// What was written last: no two writes are alike.
    stamp: u64,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let disk = MemoryDisk::new();
        disk.create_dir(Path::new("d")).unwrap();
        Self { disk, twin: Twin::default(), dice: Dice::new(Seed::new(seed)), stamp: 0 }
    }

    fn some_path(&mut self) -> PathBuf {
        let names = ["a", "b", "d/a", "d/b"];
        PathBuf::from(self.dice.pick(&names).unwrap())
    }

    /// A file that is there, if there is any.
    fn some_file(&mut self) -> Option<(PathBuf, usize)> {
        let paths: Vec<_> = self.twin.seen.iter().collect();
        self.dice.pick(&paths).map(|(path, id)| ((*path).clone(), **id))
    }

    fn act(&mut self) {
        match self.dice.below(24) {
            0..=2 => self.create(),
            3..=13 => self.write(),
            14..=16 => self.sync(),
            17 => self.fail_sync(),
            18 => self.rename(),
            19 => self.remove(),
            20 | 21 => self.sync_dir(),
            22 => self.disk.kill(),
            _ => self.write_too_much(),
        }
        if self.twin.steps.len() > 6 {
            self.sync_dir();
        }
    }

    fn create(&mut self) {
        let path = self.some_path();
        let opened = self.disk.open(&path, OpenMode::Create);
        assert_eq!(opened.is_err(), self.twin.seen.contains_key(&path));
        if opened.is_ok() {
            self.twin.files.push(TwinFile::default());
            self.twin.step(Step::Create(path, self.twin.files.len() - 1));
        }
    }

    fn draw_write(&mut self) -> (usize, Vec<u8>) {
        let offset = match self.dice.below(4) {
            0 => self.dice.place(8) * SECTOR,
            _ => self.dice.place(8 * SECTOR),
        };
        let lens = [0, 1, 30, SECTOR, SECTOR + 1, 3 * SECTOR];
        let len = *self.dice.pick(&lens).unwrap();
        self.stamp += 1;
        (offset, self.stamp.to_le_bytes().into_iter().cycle().take(len).collect())
    }

    fn write(&mut self) {
        let Some((path, id)) = self.some_file() else { return };
        let (offset, data) = self.draw_write();
        let file = self.disk.open(&path, OpenMode::Write).unwrap();
        file.write_at(offset as u64, &data).unwrap();
        if !data.is_empty() {
            self.twin.files[id].write(offset, &data);
        }
    }

    /// The disk is full for one write, which is done up to some byte.
    fn write_too_much(&mut self) {
        let Some((path, id)) = self.some_file() else { return };
        let (offset, data) = self.draw_write();
        let file = self.disk.open(&path, OpenMode::Write).unwrap();
        self.disk.set_capacity(Some(self.disk.used() + self.dice.below(1000)));
        let result = file.write_at(offset as u64, &data);
        self.disk.set_capacity(None);
        let seen = &self.twin.files[id].seen;
        let now = self.disk.look(&path, <[u8]>::to_vec).unwrap();
        let fits = offset + data.len() <= seen.len();
        assert!(result.is_ok() || !fits, "{} at {offset}: {result:?}", data.len());
        // Either way it is a prefix, and the disk says which by the file's length.
        let done = match result {
            Ok(()) => data.len(),
            Err(_) => now.len().saturating_sub(offset).min(data.len()),
        };
        if done > 0 {
            self.twin.files[id].write(offset, &data[..done]);
        }
    }

    fn sync(&mut self) {
        let Some((path, id)) = self.some_file() else { return };
        self.disk.open(&path, OpenMode::Read).unwrap().sync().unwrap();
        self.twin.files[id].sync();
    }

    fn fail_sync(&mut self) {
        let Some((path, id)) = self.some_file() else { return };
        self.disk.fail_sync(0);
        assert!(self.disk.open(&path, OpenMode::Write).unwrap().sync().is_err());
        self.twin.files[id].sync_failed();
    }

    fn rename(&mut self) {
        let (Some((from, id)), to) = (self.some_file(), self.some_path()) else { return };
        let renamed = self.disk.rename(&from, &to);
        assert_eq!(renamed.is_ok(), from.parent() == to.parent());
        if renamed.is_ok() {
            self.twin.step(Step::Rename(from, to, id));
        }
    }

    fn remove(&mut self) {
        let Some((path, _)) = self.some_file() else { return };
        self.disk.remove(&path).unwrap();
        self.twin.step(Step::Remove(path));
    }

    fn sync_dir(&mut self) {
        let dir = Path::new(if self.dice.below(2) == 0 { "" } else { "d" });
        self.disk.sync_dir(dir).unwrap();
        self.twin.sync_dir(dir);
    }

    /// Readers see the same; and what a disk that lost all it could holds is the same.
    fn compare(&self) {
        let found = everything(&self.disk);
        let seen = |id: &usize| &self.twin.files[*id].seen;
        assert!(self.twin.seen.iter().map(|(path, id)| (path, seen(id))).eq(&found));
        let least = self.disk.fork();
        least.lose();
        assert_eq!(least.digest(), self.disk.digest());
        let found = everything(&least);
        let durable = |id: &usize| &self.twin.files[*id].durable;
        assert!(self.twin.durable.iter().map(|(path, id)| (path, durable(id))).eq(&found));
    }

    fn lose_power(&mut self, reached: &mut Reached) {
        self.disk.crash(&mut self.dice);
        let left = everything(&self.disk);
        let before = self.twin.clone();
        if !self.twin.survive(&left, reached) {
            let Twin { files, durable, steps, .. } = before;
            let left: Vec<_> = left.iter().map(|(path, bytes)| (path, brief(bytes))).collect();
            panic!("found {left:?}\nof {durable:?} and {steps:?}\nwith {files:#?}");
        }
        assert_eq!(self.disk.fork().digest(), {
            let least = self.disk.fork();
            least.lose();
            least.digest()
        });
    }
}

#[test]
fn survives_as_the_obvious_disk_may() {
    let mut reached = Reached::new();
    for seed in 0..600 {
        let mut pair = Pair::new(seed);
        for _ in 0..4 {
            for _ in 0..pair.dice.below(40) {
                pair.act();
            }
            pair.compare();
            pair.lose_power(&mut reached);
            pair.compare();
        }
    }
    let all = [
        "an untouched sector",
        "an old sector",
        "a sector of the time between",
        "a new sector",
        "a doubtful sector, old",
        "a doubtful sector, new",
        "the old length",
        "a length between",
        "the new length",
        "a new name kept",
        "a new name lost",
        "a removal kept",
        "a removal lost",
        "a rename kept",
        "a rename lost",
    ];
    assert_eq!(reached, BTreeSet::from(all));
}

/// All that may be left, no more and no less: 2 names by 2 by 3 sectors by 7 ends of the file.
#[test]
fn every_outcome_that_is_allowed_is_reached() {
    let disk = MemoryDisk::new();
    let file = disk.open(Path::new("a"), OpenMode::Create).unwrap();
    file.write_at(0, &[1; SECTOR]).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("")).unwrap();
    file.write_at(0, &[2; SECTOR]).unwrap();
    file.write_at(0, &[3; 3 * SECTOR]).unwrap();
    disk.rename(Path::new("a"), Path::new("b")).unwrap();
    disk.open(Path::new("c"), OpenMode::Create).unwrap();

    let mut expected = BTreeSet::new();
    for (name, other) in [("a", false), ("a", true), ("b", false), ("b", true)] {
        for first in [1, 2, 3] {
            let ends: [&[u8]; 7] = [&[], &[0], &[3], &[0, 0], &[0, 3], &[3, 0], &[3, 3]];
            for end in ends {
                expected.insert((name, other, [&[first], end].concat()));
            }
        }
    }
    let outcome = |seed| {
        let disk = disk.fork();
        disk.power_failure(Seed::new(seed));
        let left = everything(&disk);
        let name = ["a", "b"].into_iter().find(|name| left.contains_key(Path::new(name))).unwrap();
        let bytes = &left[Path::new(name)];
        let sectors: Vec<_> = bytes.chunks(SECTOR).map(|sector| sector[0]).collect();
        for (sector, first) in bytes.chunks(SECTOR).zip(&sectors) {
            assert_eq!(sector, [*first; SECTOR], "a sector is whole");
        }
        (name, left.contains_key(Path::new("c")), sectors)
    };
    let reached: BTreeSet<_> = (0..4000).map(outcome).collect();
    assert_eq!(reached, expected);
}
