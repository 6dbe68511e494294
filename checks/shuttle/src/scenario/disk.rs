//! Files in memory, for threads that meet in them: a sync that can be held or made to fail, and
//! two things that must never happen, watched.
//!
//! Power failures are the simulator's: nothing is lost here.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::sync::place::Place;
use crate::{OpenMode, Vfs, VfsFile, VfsLock};

/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct Disk(Arc<Place<State>>);

#[derive(Debug, Default)]
struct State {
    files: Vec<Vec<u8>>,
    names: BTreeMap<PathBuf, usize>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    hold: Hold,
    /// Threads in a sync that is held.
    held: usize,
    failing: bool,
    /// A write or sync of the log has failed.
    failed: bool,
    /// Threads that write or sync a segment of the log.
    writers: usize,
    /// What must never happen, and did.
    wrong: Vec<String>,
}

/// Which syncs wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Hold {
    #[default]
    Nothing,
    /// Those of a segment that entries are written to.
    Segments,
    /// Those of the log's directory: while the next segment is made ready.
    Directories,
}

struct File {
    disk: Disk,
    file: usize,
    /// A segment of the log, or one to be.
    segment: bool,
}

struct Locked {
    disk: Disk,
    path: PathBuf,
}

impl Disk {
    /// From here on a write of the log waits in its sync.
    pub(super) fn hold_writes(&self) {
        self.0.change(|state| state.hold = Hold::Segments);
    }

    /// From here on who makes the next segment ready waits.
    pub(super) fn hold_housekeeping(&self) {
        self.0.change(|state| state.hold = Hold::Directories);
    }

    /// Waits for a thread that waits.
    pub(super) fn wait_for_one_held(&self) {
        self.0.wait(|state| (state.held > 0).then_some(()));
    }

    pub(super) fn let_go(&self) {
        self.0.change(|state| state.hold = Hold::Nothing);
    }

    /// From here on every sync fails.
    pub(super) fn fail(&self) {
        self.0.change(|state| state.failing = true);
    }

    /// Waits until a segment has been given back.
    pub(super) fn wait_for_a_spare(&self) {
        self.0.wait(|state| state.spares().then_some(()));
    }

    /// Waits until nobody has the directory open.
    pub(super) fn wait_until_free(&self) {
        self.0.wait(|state| state.locks.is_empty().then_some(()));
    }

    pub(super) fn is_free(&self) -> bool {
        self.0.look(|state| state.locks.is_empty())
    }

    /// Fails if something happened that never must.
    pub(super) fn check(&self) {
        let wrong = self.0.look(|state| state.wrong.clone());
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    /// Waits while `hold` is on. Fails when the disk does.
    fn sync(&self, hold: Hold) -> io::Result<()> {
        let holds = |state: &State| hold != Hold::Nothing && state.hold == hold;
        if self.0.look(holds) {
            self.0.change(|state| state.held += 1);
            self.0.wait(|state| (!holds(state)).then_some(()));
            self.0.change(|state| state.held -= 1);
        }
        let failed = self.0.change(|state| {
            state.failed |= state.failing && hold == Hold::Segments;
            state.failing
        });
        if failed { Err(io::Error::other("injected")) } else { Ok(()) }
    }
}

impl State {
    fn spares(&self) -> bool {
        self.names.keys().any(|path| path.extension().is_some_and(|found| found == "spare"))
    }

    fn find(&self, path: &Path) -> io::Result<usize> {
        self.names.get(path).copied().ok_or_else(|| ErrorKind::NotFound.into())
    }
}

fn is_log(dir: &Path) -> bool {
    dir.ends_with("wal")
}

impl File {
    /// Watches who is at work on the log, and after what.
    fn alone<T>(&self, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        if !self.segment {
            return act();
        }
        self.disk.0.change(|state| {
            if state.failed {
                state.wrong.push("the log is written behind a failure".to_owned());
            }
            if state.writers > 0 {
                state.wrong.push("two threads write the log".to_owned());
            }
            state.writers += 1;
        });
        let result = act();
        self.disk.0.change(|state| state.writers -= 1);
        result
    }
}

impl VfsFile for File {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.disk.0.look(|state| {
            let bytes = &state.files[self.file];
            let from = &bytes[usize::try_from(offset).unwrap().min(bytes.len())..];
            let len = from.len().min(buf.len());
            buf[..len].copy_from_slice(&from[..len]);
            Ok(len)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let write = |state: &mut State| {
            let file = &mut state.files[self.file];
            let from = usize::try_from(offset).unwrap();
            let end = from + bytes.len();
            if file.len() < end {
                file.resize(end, 0);
            }
            file[from..end].copy_from_slice(bytes);
        };
        self.alone(|| {
            self.disk.0.change(write);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let hold = if self.segment { Hold::Segments } else { Hold::Nothing };
        self.alone(|| self.disk.sync(hold))
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.0.look(|state| state.files[self.file].len() as u64))
    }
}

impl Vfs for Disk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.change(|state| state.dirs.insert(dir.to_path_buf()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.look(|state| {
            if !state.dirs.contains(dir) {
                return Err(ErrorKind::NotFound.into());
            }
            let within = state.names.keys().filter(|path| path.parent() == Some(dir));
            Ok(within.filter_map(|path| path.file_name()?.to_str()).map(String::from).collect())
        })
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn VfsFile>> {
        let file = self.0.change(|state| match mode {
            OpenMode::Create if state.names.contains_key(path) => {
                Err(ErrorKind::AlreadyExists.into())
            }
            OpenMode::Create => {
                state.files.push(Vec::new());
                state.names.insert(path.to_path_buf(), state.files.len() - 1);
                Ok(state.files.len() - 1)
            }
            OpenMode::Read | OpenMode::Write => state.find(path),
        })?;
        let segment = path.parent().is_some_and(is_log);
        Ok(Box::new(File { disk: self.clone(), file, segment }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.change(|state| {
            let file = state.find(from)?;
            state.names.remove(from);
            state.names.insert(to.to_path_buf(), file);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.change(|state| {
            state.find(path)?;
            state.names.remove(path);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sync(if is_log(dir) { Hold::Directories } else { Hold::Nothing })
    }

    fn lock(&self, path: &Path) -> io::Result<VfsLock> {
        if !self.0.change(|state| state.locks.insert(path.to_path_buf())) {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Locked { disk: self.clone(), path: path.to_path_buf() }))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.disk.0.change(|state| state.locks.remove(&self.path));
    }
}
