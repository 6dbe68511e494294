//! The names of files, as readers see them and as a power failure leaves them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::faults::Tally;
use crate::sim::dice::Dice;

/// Where in the disk's list a file is.
pub(super) type Slot = usize;

#[derive(Clone, Default)]
pub(super) struct Names {
    /// What a reader sees.
    seen: BTreeMap<PathBuf, Slot>,
    /// What was made durable.
    durable: BTreeMap<PathBuf, Slot>,
    /// What leads from the one to the other, in order.
    unsynced: Vec<Change>,
    /// Directories with their ancestors, durable from the start.
    dirs: BTreeSet<PathBuf>,
}

#[derive(Clone)]
enum Change {
    Add(PathBuf, Slot),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, Slot),
}

impl Change {
    fn dir(&self) -> Option<&Path> {
        match self {
            Self::Add(path, _) | Self::Remove(path) | Self::Rename(path, _, _) => path.parent(),
        }
    }

    fn mentions(&self, slot: Slot) -> bool {
        match self {
            Self::Add(_, of) | Self::Rename(_, _, of) => *of == slot,
            Self::Remove(_) => false,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, Slot>) {
        match self {
            Self::Add(path, slot) => {
                names.insert(path.clone(), *slot);
            }
            Self::Remove(path) => {
                names.remove(path);
            }
            Self::Rename(from, to, slot) => {
                names.remove(from);
                names.insert(to.clone(), *slot);
            }
        }
    }
}

impl Names {
    pub(super) fn find(&self, path: &Path) -> io::Result<Slot> {
        self.seen.get(path).copied().ok_or_else(|| not_found(path))
    }

    /// Every name and its file.
    pub(super) fn seen(&self) -> impl Iterator<Item = (&Path, Slot)> {
        self.seen.iter().map(|(path, slot)| (path.as_path(), *slot))
    }

    /// Every durable name and its file.
    pub(super) fn durable(&self) -> impl Iterator<Item = (&Path, Slot)> {
        self.durable.iter().map(|(path, slot)| (path.as_path(), *slot))
    }

    /// A name of the file, if it has one.
    pub(super) fn name_of(&self, slot: Slot) -> Option<&Path> {
        self.seen().find(|(_, of)| *of == slot).map(|(path, _)| path)
    }

    /// Whether any name leads to the file, or may after a power failure.
    pub(super) fn lead_to(&self, slot: Slot) -> bool {
        self.name_of(slot).is_some()
            || self.durable().any(|(_, of)| of == slot)
            || self.unsynced.iter().any(|change| change.mentions(slot))
    }

    /// The directory that every relative path begins in is always there, and so is the root.
    pub(super) fn has_dir(&self, dir: &Path) -> bool {
        let given = dir.as_os_str().is_empty() || dir == Path::new(".") || dir.parent().is_none();
        given || self.dirs.contains(dir)
    }

    /// Whether a directory of this path can be there: no file is in its way.
    pub(super) fn check_no_file(&self, dir: &Path) -> io::Result<()> {
        let file = dir.ancestors().find(|path| self.seen.contains_key(*path));
        let refusal = |path: &Path| {
            let text = format!("{} is a file", path.display());
            io::Error::new(ErrorKind::NotADirectory, text)
        };
        file.map_or(Ok(()), |path| Err(refusal(path)))
    }

    /// Whether a new file can have this name.
    pub(super) fn check_free(&self, path: &Path) -> io::Result<()> {
        if self.seen.contains_key(path) || self.has_dir(path) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let dir = path.parent().unwrap_or(path);
        if self.has_dir(dir) { Ok(()) } else { Err(not_found(dir)) }
    }

    /// Whether the file can be given another name; if so, which file that is.
    pub(super) fn check_rename(&self, from: &Path, to: &Path) -> io::Result<Slot> {
        let slot = self.find(from)?;
        if self.has_dir(to) {
            return Err(ErrorKind::IsADirectory.into());
        }
        if from.parent() != to.parent() {
            return Err(ErrorKind::CrossesDevices.into());
        }
        Ok(slot)
    }

    pub(super) fn create_dir(&mut self, dir: &Path) {
        let missing = dir.ancestors().take_while(|dir| !self.has_dir(dir));
        let missing: Vec<_> = missing.map(Path::to_path_buf).collect();
        self.dirs.extend(missing);
    }

    /// The names in a directory: files, then directories.
    pub(super) fn list(&self, dir: &Path) -> Vec<String> {
        let paths = self.seen.keys().chain(&self.dirs);
        let within = paths.filter(|path| path.parent() == Some(dir));
        within.filter_map(|path| path.file_name()?.to_str()).map(String::from).collect()
    }

    pub(super) fn add(&mut self, path: &Path, slot: Slot) {
        self.change(Change::Add(path.to_path_buf(), slot));
    }

    pub(super) fn remove(&mut self, path: &Path) {
        self.change(Change::Remove(path.to_path_buf()));
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, slot: Slot) {
        self.change(Change::Rename(from.to_path_buf(), to.to_path_buf(), slot));
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.unsynced.push(change);
    }

    /// What was changed in the directory is durable.
    pub(super) fn sync(&mut self, dir: &Path) {
        let (synced, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unsynced)
            .into_iter()
            .partition(|change| change.dir() == Some(dir));
        synced.iter().for_each(|change| change.apply(&mut self.durable));
        self.unsynced = kept;
    }

    /// Of what is not durable, the power's failure leaves what is drawn.
    pub(super) fn lose_some(&mut self, dice: &mut Dice, tally: &mut Tally) {
        for change in std::mem::take(&mut self.unsynced) {
            if dice.below(2) == 0 {
                change.apply(&mut self.durable);
            } else {
                tally.lost_names += 1;
            }
        }
        self.seen.clone_from(&self.durable);
    }

    /// Everything that is not durable is gone.
    pub(super) fn lose_all(&mut self) {
        self.unsynced.clear();
        self.seen.clone_from(&self.durable);
    }

    /// Takes a name away behind everybody's back, durably.
    #[cfg(test)]
    pub(super) fn delete(&mut self, path: &Path) {
        self.seen.remove(path);
        self.durable.remove(path);
    }
}

pub(super) fn not_found(path: &Path) -> io::Error {
    io::Error::new(ErrorKind::NotFound, format!("no {}", path.display()))
}
