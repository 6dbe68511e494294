//! The files that the log will be written to next, and those that it needs no more.
//!
//! ```text
//!   Wal::release ──► released ──rename──► spares ──take──► the next segment
//!                        │                 ▲  └─► too many: discarded
//!                        └─► too short:    │
//!                            discarded     └── made of zeros, ahead of need
//! ```
//!
//! A file's name, its blocks and its length are the file system's to make durable: a sync of
//! those waits for its journal, and so for whatever else is written there. So all of that is done
//! here, a piece at a time, by whoever has the time for it, and never by who writes the log: that
//! one finds files whose blocks were all written before.
//!
//! # Invariants
//!
//! - Segments are given back oldest first, and each durably before the next: a crash never leaves
//!   a gap (`DUR-13`).
//! - No two spares have one name: one is given back as the segment that it was, and at most one
//!   is made while a segment is the current one, named after that.
//! - Nothing here is needed: who finds no spare begins a new file.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::at;
use super::segment::write_zeros;
use crate::error::Result;
use crate::vfs::{OpenMode, Vfs, VfsFile};

/// So much of a new file is written and synced at a time: a sync of the log, on the same disk,
/// waits for one piece at most.
const PIECE_BYTES: u64 = 1 << 20;

/// A file to be written over from its start.
pub(super) struct Spare {
    pub(super) path: PathBuf,
    /// It was there when the log was opened: whoever had it may have made it longer, and not have
    /// come through with the sync. All that this life gave back or made, it had synced.
    pub(super) found: bool,
    /// It was made of zeros, and never was a segment.
    pub(super) made: bool,
}

/// A segment that nobody needs any more.
pub(super) struct Released {
    pub(super) path: PathBuf,
    /// It is as long as a segment becomes. One that is not would grow when it is written again:
    /// what spares are there to prevent.
    pub(super) whole: bool,
}

/// A file of zeros on its way.
struct Making {
    /// What it is called until then.
    aside: PathBuf,
    file: Box<dyn VfsFile>,
    written: u64,
}

/// What one step does.
enum Task {
    Release(Released),
    Begin(u64),
    Make(Making),
    Discard(Spare),
}

/// Shared by the log and by whoever has the time.
pub(crate) struct Spares {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    /// How long a segment becomes.
    file_bytes: u64,
    state: Mutex<State>,
}

struct State {
    /// The last one is taken first.
    ready: VecDeque<Spare>,
    /// Oldest first.
    released: VecDeque<Released>,
    /// What is ready beyond this many is given back to the file system.
    keep: usize,
    /// None was left when the segment of this sequence was under way.
    wanted: Option<u64>,
    making: Option<Making>,
    /// There is something to do that nobody was told of.
    news: bool,
}

impl State {
    fn next(&mut self) -> Option<Task> {
        if let Some(released) = self.released.pop_front() {
            return Some(Task::Release(released));
        }
        if let Some(making) = self.making.take() {
            return Some(Task::Make(making));
        }
        if let Some(sequence) = self.wanted.take().filter(|_| self.ready.is_empty()) {
            return Some(Task::Begin(sequence));
        }
        if self.ready.len() > self.keep {
            return self.ready.pop_front().map(Task::Discard);
        }
        None
    }
}

impl Spares {
    /// `found` are those that an open found: kept, however many, until the log knows better.
    pub(super) fn new(vfs: Arc<dyn Vfs>, dir: PathBuf, file_bytes: u64, found: Vec<Spare>) -> Self {
        let state = State {
            ready: found.into(),
            released: VecDeque::new(),
            keep: usize::MAX,
            wanted: None,
            making: None,
            news: false,
        };
        Self { vfs, dir, file_bytes, state: Mutex::new(state) }
    }

    pub(super) fn take(&self) -> Option<Spare> {
        self.state.lock().ready.pop_back()
    }

    /// The segment of this sequence will be full before long. To be said once of each.
    pub(super) fn want(&self, sequence: u64) {
        let mut state = self.state.lock();
        if state.ready.is_empty() {
            state.wanted = Some(sequence);
            state.news = true;
        }
    }

    /// These go, oldest first; of what is spare then, `keep` stay.
    pub(super) fn release(&self, released: impl Iterator<Item = Released>, keep: usize) {
        let mut state = self.state.lock();
        state.released.extend(released);
        state.keep = keep;
        state.news = true;
    }

    /// Whether somebody must be told that there are steps to take. It says so once.
    pub(crate) fn take_news(&self) -> bool {
        std::mem::take(&mut self.state.lock().news)
    }

    /// Does a piece of what is to be done, if there is any; says whether there was. One caller at
    /// a time. After an error the log must not be relied on any more (`DUR-21`).
    pub(crate) fn step(&self) -> Result<bool> {
        let task = self.state.lock().next();
        match task {
            None => return Ok(false),
            Some(Task::Release(released)) => self.give_back(released)?,
            Some(Task::Begin(sequence)) => {
                let aside = self.dir.join(format!("{sequence:016x}.next.tmp"));
                let file = self.vfs.open(&aside, OpenMode::Create).map_err(at("open", &aside))?;
                self.make(Making { aside, file, written: 0 })?;
            }
            Some(Task::Make(making)) => self.make(making)?,
            Some(Task::Discard(Spare { path, .. })) => {
                self.vfs.discard(&path).map_err(at("remove", &path))?;
            }
        }
        Ok(true)
    }

    fn give_back(&self, Released { path, whole }: Released) -> Result<()> {
        if !whole {
            self.vfs.discard(&path).map_err(at("remove", &path))?;
            return self.sync_dir(&self.dir);
        }
        let spare = path.with_extension("spare");
        self.vfs.rename(&path, &spare).map_err(at("rename", &path))?;
        self.sync_dir(&self.dir)?;
        self.ready(spare, false);
        Ok(())
    }

    /// Its last name is durable when it has become a segment's, and not before: until then a
    /// crash may leave either, and the next open removes the one and takes up the other.
    fn make(&self, mut making: Making) -> Result<()> {
        let until = making.written.saturating_add(PIECE_BYTES).min(self.file_bytes);
        write_zeros(&*making.file, making.written..until).map_err(at("write", &making.aside))?;
        making.file.sync().map_err(at("sync", &making.aside))?;
        making.written = until;
        if until < self.file_bytes {
            self.state.lock().making = Some(making);
            return Ok(());
        }
        let spare = making.aside.with_extension("spare");
        self.vfs.rename(&making.aside, &spare).map_err(at("rename", &making.aside))?;
        self.ready(spare, true);
        Ok(())
    }

    fn ready(&self, path: PathBuf, made: bool) {
        self.state.lock().ready.push_back(Spare { path, found: false, made });
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.vfs.sync_dir(dir).map_err(at("sync", dir))
    }
}
