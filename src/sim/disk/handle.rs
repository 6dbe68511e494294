//! Open files and held locks.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use super::faults::Verdict;
use super::names::Slot;
use super::{MemoryDisk, State, to_usize};
use crate::planted::{Bug, planted};
use crate::vfs::VfsFile;

/// Beyond this a file is refused: it would rather be a wrong offset.
const MAX_FILE_BYTES: u64 = 1 << 32;

/// An open file.
pub(super) struct Handle {
    pub(super) disk: MemoryDisk,
    pub(super) slot: Slot,
    /// Dead if the disk is in another.
    pub(super) life: u64,
    pub(super) writes: bool,
}

impl Handle {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state.lock();
        if state.life != self.life {
            return Err(io::Error::other(
                "opened before the process was killed or the power failed",
            ));
        }
        act(&mut state)
    }

    /// What the file is called now.
    fn name(&self, state: &State) -> String {
        let name = state.names.name_of(self.slot);
        name.map_or_else(|| "removed".into(), |path| path.display().to_string())
    }
}

impl VfsFile for Handle {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.with(|state| {
            state.tally.reads += 1;
            if state.faults.judge_read() == Verdict::Fails {
                state.tally.failed_reads += 1;
                return Verdict::Fails.result().map(|()| 0);
            }
            let bytes = state.files.get(self.slot).map_or(&[][..], |file| file.contents.bytes());
            let from = bytes.get(to_usize(offset)..).unwrap_or_default();
            let len = from.len().min(buf.len());
            if let (Some(from), Some(to)) = (from.get(..len), buf.get_mut(..len)) {
                to.copy_from_slice(from);
            }
            state.tally.read_bytes += len as u64;
            Ok(len)
        })
    }

    /// Half a write is one that the power stopped: all of it is in the file, none of it durable.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let text = |state: &State| format!("write {} {offset}+{}", self.name(state), bytes.len());
        self.with(|state| {
            if !self.writes {
                return Err(io::Error::new(ErrorKind::PermissionDenied, "opened to read only"));
            }
            if offset.saturating_add(bytes.len() as u64) > MAX_FILE_BYTES {
                return Err(ErrorKind::FileTooLarge.into());
            }
            state.operate(text, |state, verdict| {
                state.tally.writes += 1;
                if matches!(verdict, Verdict::Fails | Verdict::Off) {
                    return verdict.result();
                }
                let (offset, room) = (to_usize(offset), to_usize(state.room()));
                let contents = &mut state.file(self.slot)?.contents;
                let fitting = contents.fitting(offset, bytes.len(), room);
                contents.write(offset, bytes.get(..fitting).unwrap_or(bytes));
                state.tally.written_bytes += fitting as u64;
                verdict.result()?;
                if fitting < bytes.len() { Err(state.full()) } else { Ok(()) }
            })
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| {
            let text = |state: &State| format!("sync {}", self.name(state));
            state.operate(text, |state, verdict| {
                state.tally.syncs += 1;
                let verdict = match verdict {
                    Verdict::Passes => state.faults.judge_sync(),
                    other => other,
                };
                let contents = &mut state.file(self.slot)?.contents;
                match verdict {
                    Verdict::Passes if planted(Bug::SkipSync) => {}
                    Verdict::Passes => contents.sync(),
                    Verdict::Fails => contents.sync_failed(),
                    Verdict::Stops | Verdict::Off => {}
                }
                state.tally.failed_syncs += u64::from(verdict == Verdict::Fails);
                verdict.result()
            })
        })
    }

    fn size(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.file(self.slot)?.contents.len() as u64))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.life != self.life {
            return;
        }
        if let Ok(file) = state.file(self.slot) {
            file.handles = file.handles.saturating_sub(1);
            if file.handles == 0 {
                state.sweep_one(self.slot);
            }
        }
    }
}

/// A held lock.
pub(super) struct Held {
    pub(super) disk: MemoryDisk,
    pub(super) path: PathBuf,
    /// Worth nothing if the disk is in another.
    pub(super) life: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.disk.state.lock();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}
