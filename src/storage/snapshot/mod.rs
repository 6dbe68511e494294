//! Snapshots on disk: the whole state as of one entry, in one file.
//!
//! # Idea
//!
//! A snapshot is written aside, made durable, and only then given its name; so a file with the
//! name of a snapshot was whole once. It is checked in full before it is used again: the one to
//! begin with while the directory is opened, any other while it is read.
//!
//! ```text
//!   write                                     receive
//!     create  …64-….1.tmp                       create  …64-….1.staged
//!     write, write, …                           write the pieces as they come; a stage that is
//!     sync                                      dropped half-way is taken up again
//!     rename  → …64-….snap                      finish: check everything
//!     sync_dir                                  adopt: sync, rename → …64-….snap, sync_dir
//!     discard the oldest                        then, and not before: `Wal::install`
//! ```
//!
//! # Invariants
//!
//! - `<index>-<term>.snap` holds what its name says, or it is damaged: then it is renamed
//!   `*.broken` when found at open, and the next older one is tried (`DUR-18`).
//! - A snapshot that was adopted does not push out an older one before it is sure to be
//!   installed: until then the log still begins behind the older one.
//!
//! # What is not here
//!
//! What the sections mean (the machine knows), and when to take a snapshot (the core decides).

mod file;
mod stage;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use super::{at, damaged, io_at};
use crate::entry::{Section, SnapshotMark};
use crate::error::{Error, Kind, Result};
use crate::ids::{ClusterId, Index, Term};
use crate::vfs::{OpenMode, Vfs};
pub(crate) use file::{Sections, SnapshotHead};
pub(crate) use stage::{Stage, StageKey};

/// A snapshot that can be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotInfo {
    pub(crate) mark: SnapshotMark,
    pub(crate) file_bytes: u64,
    /// Over the whole content; equal for equal content.
    pub(crate) hash: u64,
}

/// The snapshots of one node. Clones share them.
#[derive(Clone)]
pub(crate) struct Snapshots {
    inner: Arc<Inner>,
}

struct Inner {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    cluster: ClusterId,
    /// At least one is always kept.
    max: usize,
    shelf: Mutex<Shelf>,
}

type Key = (Index, Term);

#[derive(Default)]
struct Shelf {
    infos: BTreeMap<Key, SnapshotInfo>,
    /// Adopted, and not known to be installed: the log may not begin behind it yet.
    adopted: Option<Key>,
    /// A received file that is not complete, and nobody holds.
    partial: Option<stage::Partial>,
    /// Makes the names of files that are written aside differ.
    serial: u64,
}

/// Whether a log can begin behind a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    Usable,
    /// The log begins later: kept, but of no use now.
    Behind,
    /// The log knows nothing of it: it was received, and the crash came before its installation.
    Unknown,
}

impl Snapshots {
    /// Nothing is read yet.
    pub(super) fn new(
        vfs: Arc<dyn Vfs>,
        dir: PathBuf,
        cluster: ClusterId,
        max_snapshots: usize,
    ) -> Self {
        let (max, shelf) = (max_snapshots.max(1), Mutex::default());
        Self { inner: Arc::new(Inner { vfs, dir, cluster, max, shelf }) }
    }

    /// Looks through the directory: sets what is broken aside, removes what never was installed,
    /// and returns the newest whole one that the log can begin behind.
    ///
    /// If the log needs one and only broken ones are left, it is the newest one's error, and the
    /// directory stays as it is: somebody may want to look at it.
    pub(super) fn load(
        &self,
        fit: impl Fn(Key) -> Fit,
        needed: bool,
    ) -> Result<Option<SnapshotInfo>> {
        let inner = &*self.inner;
        let mut keys: Vec<Key> =
            list(&*inner.vfs, &inner.dir)?.iter().filter_map(|name| parse_name(name)).collect();
        keys.sort_unstable_by(|a, b| b.cmp(a));
        let mut chosen = None;
        let (mut infos, mut strays, mut broken) = (BTreeMap::new(), Vec::new(), Vec::new());
        for key in keys {
            let path = inner.path(key);
            if fit(key) == Fit::Unknown {
                strays.push(path);
                continue;
            }
            let wanted = chosen.is_none() && fit(key) == Fit::Usable;
            match inner.check(key, wanted) {
                Ok(info) => {
                    if wanted {
                        chosen = Some(info.clone());
                    }
                    infos.insert(key, info);
                }
                Err(error) if error.is_corrupt() => broken.push((path, error)),
                Err(error) => return Err(error),
            }
        }
        let changed = !strays.is_empty() || !broken.is_empty();
        if chosen.is_none() && needed {
            return broken.into_iter().next().map_or(Ok(None), |(_, error)| Err(error));
        }
        for path in strays {
            inner.vfs.remove(&path).map_err(at("remove", &path))?;
        }
        for (path, _) in broken {
            let aside = path.with_extension("broken");
            inner.vfs.rename(&path, &aside).map_err(at("rename", &path))?;
        }
        if changed {
            inner.vfs.sync_dir(&inner.dir).map_err(at("sync", &inner.dir))?;
        }
        inner.shelf.lock().infos = infos;
        inner.prune()?;
        Ok(chosen)
    }

    /// Writes a snapshot and makes it durable; then removes the oldest beyond the maximum.
    /// On an error nothing of it stays, and the ones before are as they were.
    pub(crate) fn write(
        &self,
        head: &SnapshotHead,
        sections: impl Iterator<Item = Result<Section>>,
    ) -> Result<SnapshotInfo> {
        let inner = &*self.inner;
        let key = (head.mark.index, head.mark.term);
        let aside = inner.aside(key, "tmp");
        let file = inner.vfs.open(&aside, OpenMode::Create).map_err(at("create", &aside))?;
        let sum = match file::write(&*file, &aside, head, sections) {
            Ok(sum) => sum,
            Err(error) => {
                // What cannot be removed now is removed at the next open.
                let _ = inner.vfs.remove(&aside);
                return Err(error);
            }
        };
        let mark = head.mark.clone();
        let info = SnapshotInfo { mark, file_bytes: sum.file_bytes, hash: sum.hash };
        inner.publish(&aside, key, &info)?;
        {
            let mut shelf = inner.shelf.lock();
            // A machine that is here has installed what was adopted before.
            shelf.adopted = shelf.adopted.filter(|adopted| *adopted > key);
        }
        inner.prune()?;
        Ok(info)
    }

    /// All snapshots, newest first.
    pub(crate) fn list(&self) -> Vec<SnapshotInfo> {
        self.inner.shelf.lock().infos.values().rev().cloned().collect()
    }

    /// Opens the snapshot at `index`. Everything is checked while it is read; it is whole when
    /// the sections end without an error.
    pub(crate) fn open(&self, index: Index) -> Result<(SnapshotHead, Sections)> {
        self.inner.open(self.find(index)?)
    }

    /// Up to `len` bytes of the file of the snapshot at `index`, to send it on; fewer only at its
    /// end. Not checked: the receiver does.
    pub(crate) fn read_at(&self, index: Index, offset: u64, len: usize) -> Result<Bytes> {
        let inner = &*self.inner;
        let key = self.find(index)?;
        let size = inner.shelf.lock().infos.get(&key).map_or(0, |info| info.file_bytes);
        let left = usize::try_from(size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let path = inner.path(key);
        let file = inner.vfs.open(&path, OpenMode::Read).map_err(at("open", &path))?;
        let mut bytes = vec![0; len.min(left)];
        let read = file.read_at(offset, &mut bytes).map_err(at("read", &path))?;
        bytes.truncate(read);
        Ok(bytes.into())
    }

    /// A place to receive the file of this key, or the one begun before: see [`Stage::have`].
    pub(crate) fn stage(&self, key: StageKey) -> Result<Stage> {
        Stage::begin(&self.inner, key)
    }

    /// Makes a received snapshot one of the node's own, durably. [`Stage::finish`] comes before,
    /// `Wal::install` after.
    pub(crate) fn adopt(&self, stage: Stage) -> Result<SnapshotInfo> {
        let (key, info) = stage.adopt()?;
        self.inner.prune()?;
        self.inner.shelf.lock().adopted = Some(key);
        self.inner.shelf.lock().infos.insert(key, info.clone());
        Ok(info)
    }

    fn find(&self, index: Index) -> Result<Key> {
        let shelf = self.inner.shelf.lock();
        let found = shelf.infos.keys().rev().find(|key| key.0 == index).copied();
        found.ok_or_else(|| Error::new(Kind::Unavailable, format!("no snapshot at index {index}")))
    }
}

impl Inner {
    fn path(&self, key: Key) -> PathBuf {
        self.dir.join(format!("{:016x}-{:016x}.snap", key.0.get(), key.1.get()))
    }

    /// A name to write under that no other writer uses.
    fn aside(&self, key: Key, extension: &str) -> PathBuf {
        let mut shelf = self.shelf.lock();
        shelf.serial = shelf.serial.saturating_add(1);
        self.path(key).with_extension(format!("{}.{extension}", shelf.serial))
    }

    fn open(&self, key: Key) -> Result<(SnapshotHead, Sections)> {
        let path = self.path(key);
        let file = self.vfs.open(&path, OpenMode::Read).map_err(at("open", &path))?;
        let (head, sections) = file::open(file, &path)?;
        self.check_head(&path, key, &head)?;
        Ok((head, sections))
    }

    /// What a file holds must be what its name (or the key it was received under) says.
    fn check_head(&self, path: &Path, key: Key, head: &SnapshotHead) -> Result<()> {
        if head.cluster != self.cluster {
            let (found, own) = (head.cluster, self.cluster);
            let text =
                format!("{} is of cluster {:x}, not {:x}", path.display(), found.get(), own.get());
            return Err(Error::new(Kind::Foreign, text));
        }
        if (head.mark.index, head.mark.term) != key {
            let (index, term) = (head.mark.index, head.mark.term);
            return Err(damaged(path, 0, format!("it is of index {index}, term {term}")));
        }
        Ok(())
    }

    /// Reads the head, and with `whole` everything.
    fn check(&self, key: Key, whole: bool) -> Result<SnapshotInfo> {
        let (head, sections) = self.open(key)?;
        let sum = if whole {
            sections.verify()?
        } else {
            let path = self.path(key);
            let file = self.vfs.open(&path, OpenMode::Read).map_err(at("open", &path))?;
            file::claimed(&*file, &path)?
        };
        Ok(SnapshotInfo { mark: head.mark, file_bytes: sum.file_bytes, hash: sum.hash })
    }

    /// Gives a durable file its name, durably.
    fn publish(&self, aside: &Path, key: Key, info: &SnapshotInfo) -> Result<()> {
        self.vfs.rename(aside, &self.path(key)).map_err(at("rename", aside))?;
        self.vfs.sync_dir(&self.dir).map_err(at("sync", &self.dir))?;
        self.shelf.lock().infos.insert(key, info.clone());
        Ok(())
    }

    /// Removes the oldest beyond the maximum. A removal that a crash undoes is done again.
    fn prune(&self) -> Result<()> {
        loop {
            let oldest = {
                let mut shelf = self.shelf.lock();
                let counted = |key: &&Key| Some(**key) != shelf.adopted;
                let count = shelf.infos.keys().filter(counted).count();
                let oldest = shelf.infos.keys().find(counted).copied();
                let Some(oldest) = oldest.filter(|_| count > self.max) else { return Ok(()) };
                shelf.infos.remove(&oldest);
                oldest
            };
            // Who reads a chunk of it meanwhile gets a short one, and finds it gone the next time.
            let path = self.path(oldest);
            self.vfs.discard(&path).map_err(at("remove", &path))?;
        }
    }
}

/// The names of the snapshots in the directory; none if it is missing.
pub(super) fn list(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<String>> {
    match vfs.list(dir) {
        Ok(names) => Ok(names.into_iter().filter(|name| parse_name(name).is_some()).collect()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(io_at("list", dir, error)),
    }
}

/// Index and term in a snapshot's name; `None` for any other name.
fn parse_name(name: &str) -> Option<Key> {
    let (index, term) = name.strip_suffix(".snap")?.split_once('-')?;
    let hex = |digits: &str| {
        let value = u64::from_str_radix(digits, 16).ok()?;
        (format!("{value:016x}") == digits).then_some(value)
    };
    Some((Index::new(hex(index)?), Term::new(hex(term)?)))
}

#[cfg(test)]
mod tests;
