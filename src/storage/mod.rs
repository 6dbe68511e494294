//! What a member keeps on disk, and what it finds there after a crash.
//!
//! # Idea
//!
//! Three things, in one data directory (the log may live in another):
//!
//! ```text
//!   data/identity                       whose this is; replaced at every open
//!   data/snapshots/<index>-<term>.snap  the state as of an entry
//!   data/wal/<sequence>.wal             the log: entries, votes, marks
//!   data/lock                           held while a node is open
//! ```
//!
//! [`open`] gives back one log: it begins at a mark (the newest whole snapshot, or the state that
//! every member starts with) and goes on with entries without a gap.
//!
//! ```text
//!   snapshot 40          entries 41 … 57          hard state: term 3, commit 55
//!      mark ──────────────┴────────────┘
//! ```
//!
//! # What survives what
//!
//! | what happens | what is found afterwards |
//! |---|---|
//! | the process is killed | everything handed over and written, or a prefix of it |
//! | the machine loses power | everything that was synced; of the batch in flight, a prefix |
//! | a sector of the log changes | an error with file and offset; never a shorter log (`DUR-12`) |
//! | a snapshot file changes | the next older one, if the log reaches back to it (`DUR-18`) |
//! | a file is removed | an error that names it (`BST-5`) |
//! | a sync fails | the log refuses everything from then on (`DUR-21`) |
//! | and the process starts again | what was synced; of the batch in doubt, a durable prefix |
//!
//! # Invariants
//!
//! - The identity says boot 0 until the first segment has its name: a crash while a directory is
//!   created leaves one that is created again, not one that looks half deleted.
//! - What [`open`] returns is durable, also if it was found in the system's cache only.
//! - Nothing is changed before the directory was found to be ours and the log was read in full.
//!
//! # What is not here
//!
//! Threads, clocks and randomness: the callers own them. `std::fs` is named in `disk.rs` only.

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers that were drawn")]
mod crash;
mod disk;
mod identity;
mod lock;
mod mark;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers that were written down")]
#[expect(clippy::disallowed_methods, reason = "reads the repository's own files")]
mod script;
mod sector;
mod snapshot;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers")]
#[expect(clippy::disallowed_methods, reason = "puts the disk into the state that it is about")]
mod tests;
mod wal;

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::entry::{Entry, HardState, SnapshotMark};
use crate::error::{Error, Kind, Result};
use crate::ids::{ClusterId, Incarnation, Index, NodeId, Term};
use crate::vfs::Vfs;
pub use disk::Disk;
pub(crate) use identity::Identity;
pub(crate) use lock::DirLock;
use snapshot::Fit;
pub(crate) use snapshot::{SnapshotHead, SnapshotInfo, Snapshots, Stage, StageKey};
use wal::{Place, Recovered};
pub(crate) use wal::{Wal, WalStats};

/// The version of every file format here. A file with a higher one is refused (`BST-12`).
const FORMAT_VERSION: u32 = 1;

const SNAPSHOT_DIR: &str = "snapshots";

/// Where and how to keep data.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) data_dir: PathBuf,
    /// The log's directory; of its own, so that it can be on a disk of its own.
    pub(crate) wal_dir: PathBuf,
    /// A segment that reaches this size is cut. It ends up larger by at most a batch.
    pub(crate) segment_bytes: u64,
    /// So many snapshots are kept; at least one.
    pub(crate) max_snapshots: usize,
}

/// What a fresh directory begins with. Of an existing one, only cluster and node are compared
/// (`BST-1`).
#[derive(Clone, Debug)]
pub(crate) struct Bootstrap {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    /// Random.
    pub(crate) incarnation: Incarnation,
    pub(crate) mark: SnapshotMark,
    pub(crate) hard_state: HardState,
}

/// What was found, and the means to go on.
pub(crate) struct Opened {
    pub(crate) identity: Identity,
    pub(crate) wal: Wal,
    pub(crate) snapshots: Snapshots,
    /// Where the log begins.
    pub(crate) mark: SnapshotMark,
    /// The snapshot of that mark; none if it is the one every member starts with.
    pub(crate) snapshot: Option<SnapshotInfo>,
    /// Its commit index is between the mark and the last entry (`R11`).
    pub(crate) hard_state: HardState,
    /// Without a gap from the mark on.
    pub(crate) entries: Vec<Entry>,
    /// A batch that a crash cut short: it was never acknowledged.
    pub(crate) truncated: Option<Torn>,
    pub(crate) lock: DirLock,
}

/// Where a log was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    pub(crate) path: PathBuf,
    /// Everything from here on was left out.
    pub(crate) offset: u64,
    pub(crate) cause: &'static str,
}

/// Whether the directories hold a member's data, so that [`open`] would not begin afresh.
pub(crate) fn has_data(vfs: &dyn Vfs, options: &Options) -> Result<bool> {
    match identity::read(vfs, &options.data_dir) {
        Ok(Some(identity)) => Ok(identity.boot > 0),
        Ok(None) => Ok(stray(vfs, options)?.is_some()),
        Err(error) if error.is_io() => Err(error),
        // There is something; `open` will say what is wrong with it.
        Err(_) => Ok(true),
    }
}

/// A file that is there although the identity is not: that must have been lost.
fn stray(vfs: &dyn Vfs, options: &Options) -> Result<Option<PathBuf>> {
    if let Some(&first) = wal::list(vfs, &options.wal_dir)?.first() {
        return Ok(Some(options.wal_dir.join(wal::file_name(first))));
    }
    let dir = options.data_dir.join(SNAPSHOT_DIR);
    Ok(snapshot::list(vfs, &dir)?.first().map(|name| dir.join(name)))
}

/// Opens the directories, or begins afresh in empty ones.
///
/// # Errors
///
/// `is_locked`, `is_foreign`, `is_newer_format`, `is_corrupt` (damaged or missing files, named),
/// `is_io`.
pub(crate) fn open(vfs: Arc<dyn Vfs>, options: Options, boot: Bootstrap) -> Result<Opened> {
    let snapshot_dir = options.data_dir.join(SNAPSHOT_DIR);
    for dir in [&options.data_dir, &options.wal_dir] {
        vfs.create_dir(dir).map_err(at("create", dir))?;
    }
    let lock = lock::acquire(&*vfs, &options.data_dir, &options.wal_dir)?;
    let directory = Directory { vfs, options, snapshot_dir, lock };
    match identity::read(&*directory.vfs, &directory.options.data_dir)? {
        Some(found) if found.boot > 0 => directory.reopen(found, &boot),
        unfinished => directory.create(unfinished.is_some(), boot),
    }
}

/// The directories, locked.
struct Directory {
    vfs: Arc<dyn Vfs>,
    options: Options,
    snapshot_dir: PathBuf,
    lock: DirLock,
}

impl Directory {
    /// Begins afresh; also where an earlier attempt at that got no further than boot 0.
    fn create(self, unfinished: bool, boot: Bootstrap) -> Result<Opened> {
        let vfs = &*self.vfs;
        let wal_dir = &self.options.wal_dir;
        if let Some(stray) = stray(vfs, &self.options)?.filter(|_| !unfinished) {
            let missing = self.options.data_dir.join(identity::IDENTITY_FILE);
            let text =
                format!("{} is missing, but {} is there", missing.display(), stray.display());
            return Err(Error::corrupt(text));
        }
        for sequence in wal::list(vfs, wal_dir)? {
            let path = wal_dir.join(wal::file_name(sequence));
            vfs.remove(&path).map_err(at("remove", &path))?;
        }
        vfs.create_dir(&self.snapshot_dir).map_err(at("create", &self.snapshot_dir))?;
        self.clean()?;
        let Bootstrap { cluster, node, incarnation, .. } = boot;
        let mut owner = Identity { cluster, node, incarnation, boot: 0 };
        identity::write(vfs, &self.options.data_dir, &owner)?;
        owner.boot = 1;
        let wal = Wal::create(self.place(owner), &boot)?;
        identity::write(vfs, &self.options.data_dir, &owner)?;
        let mark = boot.mark;
        let hard_state = clamp(boot.hard_state, mark.index, mark.index);
        Ok(Opened {
            identity: owner,
            wal,
            snapshots: self.snapshots(&owner),
            mark,
            snapshot: None,
            hard_state,
            entries: Vec::new(),
            truncated: None,
            lock: self.lock,
        })
    }

    /// Reads what is there, then goes on with it in a new boot.
    fn reopen(self, mut owner: Identity, boot: &Bootstrap) -> Result<Opened> {
        let identity = self.options.data_dir.join(identity::IDENTITY_FILE);
        if (owner.cluster, owner.node) != (boot.cluster, boot.node) {
            let own = Identity { cluster: boot.cluster, node: boot.node, ..owner };
            return Err(foreign(&identity, &owner, &own));
        }
        let (vfs, wal_dir) = (&*self.vfs, &self.options.wal_dir);
        if wal::list(vfs, wal_dir)?.is_empty() {
            let text = format!("{} holds no log segment", wal_dir.display());
            return Err(Error::corrupt(format!("{text}, but {} is there", identity.display())));
        }
        let mut log = wal::recover(vfs, wal_dir, &owner)?;
        vfs.create_dir(&self.snapshot_dir).map_err(at("create", &self.snapshot_dir))?;
        let spares = self.clean()?;
        log.settle(vfs)?;
        let snapshots = self.snapshots(&owner);
        let snapshot = snapshots.load(|key| fit(&log, key), log.genesis().is_none())?;
        let mark = self.start(&log, snapshot.as_ref())?;
        owner.boot = owner.boot.saturating_add(1);
        identity::write(vfs, &self.options.data_dir, &owner)?;
        let wal = Wal::resume(self.place(owner), &mut log, spares)?;
        log.entries.retain(|entry| entry.index > mark.index);
        Ok(Opened {
            identity: owner,
            wal,
            snapshots,
            hard_state: clamp(log.hard_state, mark.index, log.last.0),
            mark,
            snapshot,
            entries: log.entries,
            truncated: log.torn,
            lock: self.lock,
        })
    }

    /// Where the log begins: at the snapshot, or at what every member starts with.
    fn start(&self, log: &Recovered, snapshot: Option<&SnapshotInfo>) -> Result<SnapshotMark> {
        if let Some(snapshot) = snapshot {
            return Ok(snapshot.mark.clone());
        }
        if let Some(genesis) = log.genesis() {
            return Ok(genesis.clone());
        }
        let dir = self.snapshot_dir.display();
        let text = format!("the log begins behind entry {}, and {dir} holds", log.floor.0);
        Err(Error::corrupt(format!("{text} no whole snapshot that reaches there")))
    }

    /// Removes what a crash left half done (`BST-6`); returns the segments to be written again.
    /// Makes the names in the directories durable as they are.
    fn clean(&self) -> Result<Vec<PathBuf>> {
        let (data_dir, wal_dir) = (&self.options.data_dir, &self.options.wal_dir);
        let mut spares = Vec::new();
        for dir in [data_dir, wal_dir, &self.snapshot_dir] {
            let mut names = self.vfs.list(dir).map_err(at("list", dir))?;
            names.sort_unstable();
            for name in names {
                let path = dir.join(&name);
                let spare = name.ends_with(".spare") && dir == wal_dir;
                if spare && spares.len() < wal::MAX_SPARES {
                    spares.push(path);
                } else if spare || name.ends_with(".tmp") || name.ends_with(".staged") {
                    self.vfs.remove(&path).map_err(at("remove", &path))?;
                }
            }
            self.vfs.sync_dir(dir).map_err(at("sync", dir))?;
        }
        Ok(spares)
    }

    fn place(&self, owner: Identity) -> Place {
        let (vfs, dir) = (Arc::clone(&self.vfs), self.options.wal_dir.clone());
        Place { vfs, dir, segment_bytes: self.options.segment_bytes, owner }
    }

    fn snapshots(&self, owner: &Identity) -> Snapshots {
        let (vfs, dir) = (Arc::clone(&self.vfs), self.snapshot_dir.clone());
        Snapshots::new(vfs, dir, owner.cluster, self.options.max_snapshots)
    }
}

/// Whether the log can begin behind the snapshot of this index and term: it can if it has that
/// very entry, or begins right behind it.
fn fit(log: &Recovered, (index, term): (Index, Term)) -> Fit {
    if index < log.floor.0 {
        return Fit::Behind;
    }
    if log.term(index) == Some(term) { Fit::Usable } else { Fit::Unknown }
}

/// What the consensus core must be given (`R11`). The commit index on disk is no promise: it may
/// lag behind the snapshot, and a torn log may have lost entries that others call committed.
fn clamp(state: HardState, mark: Index, last: Index) -> HardState {
    HardState { commit: state.commit.min(last).max(mark), ..state }
}

/// An operating system's refusal, with what was attempted on which file.
fn io_at(action: &str, path: &Path, error: io::Error) -> Error {
    Error::io(format!("cannot {action} {}", path.display()), error)
}

/// [`io_at`], to be given to `map_err`.
fn at<'a>(action: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Error + 'a {
    move |error| io_at(action, path, error)
}

/// A file is not what was written (`DUR-12`).
fn damaged(path: &Path, offset: u64, cause: impl Display) -> Error {
    Error::corrupt(format!("{} is damaged at byte {offset}: {cause}", path.display()))
}

fn newer(path: &Path, version: u32) -> Error {
    let text = format!("{} has format version {version}", path.display());
    Error::new(Kind::NewerFormat, format!("{text}; the newest known here is {FORMAT_VERSION}"))
}

fn foreign(path: &Path, found: &Identity, own: &Identity) -> Error {
    let text = |of: &Identity| {
        format!(
            "cluster {:x}, member {:x} ({:x})",
            of.cluster.get(),
            of.node.get(),
            of.incarnation.get()
        )
    };
    let (found, own) = (text(found), text(own));
    Error::new(Kind::Foreign, format!("{} belongs to {found}, not to {own}", path.display()))
}
