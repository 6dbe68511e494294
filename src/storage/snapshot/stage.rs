//! Receiving a snapshot: pieces in order, resumed where they stopped, checked as a whole.

use std::path::PathBuf;
use std::sync::Arc;

use super::super::{at, damaged};
use super::{Inner, Key, Sections, SnapshotHead, SnapshotInfo, file};
use crate::error::{Error, Result};
use crate::ids::{Index, Term};
use crate::vfs::{OpenMode, VfsFile};

/// Which file is received: the sender's word, checked at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StageKey {
    pub(crate) index: Index,
    pub(crate) term: Term,
    pub(crate) file_bytes: u64,
    pub(crate) hash: u64,
}

/// A received file that waits for its next piece.
pub(super) struct Partial {
    key: StageKey,
    path: PathBuf,
    have: u64,
}

/// A snapshot being received. Dropped half-way, the next stage of its key goes on with it.
pub(crate) struct Stage {
    inner: Arc<Inner>,
    file: Box<dyn VfsFile>,
    key: StageKey,
    path: PathBuf,
    /// So many bytes from the start are written.
    have: u64,
    /// The head of the file, once everything was found right.
    checked: Option<SnapshotHead>,
    /// The file is adopted or not worth keeping.
    done: bool,
}

impl Stage {
    pub(super) fn begin(inner: &Arc<Inner>, key: StageKey) -> Result<Self> {
        let partial = inner.shelf.lock().partial.take();
        let (path, have, mode) = match partial {
            Some(partial) if partial.key == key => (partial.path, partial.have, OpenMode::Write),
            other => {
                if let Some(other) = other {
                    inner.vfs.remove(&other.path).map_err(at("remove", &other.path))?;
                }
                (inner.aside((key.index, key.term), "staged"), 0, OpenMode::Create)
            }
        };
        let file = inner.vfs.open(&path, mode).map_err(at("open", &path))?;
        let (inner, checked) = (Arc::clone(inner), None);
        Ok(Self { inner, file, key, path, have, checked, done: false })
    }

    /// Which file it is.
    pub(crate) fn key(&self) -> &StageKey {
        &self.key
    }

    /// How many bytes from the start are here: where the sender goes on.
    pub(crate) fn have(&self) -> u64 {
        self.have
    }

    /// Takes a piece. What is already here is skipped, so a repeated piece does no harm; a piece
    /// that leaves a gap, or goes beyond the announced size, is refused.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        if offset > self.have || end > self.key.file_bytes {
            return Err(Error::invalid(format!(
                "snapshot bytes {offset} to {end}: {} of {} are here",
                self.have, self.key.file_bytes
            )));
        }
        let skip = usize::try_from(self.have.saturating_sub(offset)).unwrap_or(usize::MAX);
        if let Some(fresh) = bytes.get(skip..).filter(|fresh| !fresh.is_empty()) {
            self.file.write_at(self.have, fresh).map_err(at("write", &self.path))?;
            self.have = end;
        }
        Ok(())
    }

    /// Checks all of it: complete, whole, and what the key says. What is not is forgotten, so
    /// that the next stage begins anew.
    ///
    /// Gives the head, and what follows it to be read again.
    pub(crate) fn finish(&mut self) -> Result<(SnapshotHead, Sections)> {
        match self.check().and_then(|head| Ok((head, self.read()?.1))) {
            Ok((head, sections)) => {
                self.checked = Some(head.clone());
                Ok((head, sections))
            }
            Err(error) => {
                if error.is_corrupt() || error.is_foreign() {
                    self.discard();
                }
                Err(error)
            }
        }
    }

    fn read(&self) -> Result<(SnapshotHead, Sections)> {
        let vfs = &self.inner.vfs;
        let again = vfs.open(&self.path, OpenMode::Read).map_err(at("open", &self.path))?;
        file::open(again, &self.path)
    }

    fn check(&self) -> Result<SnapshotHead> {
        let key = &self.key;
        if self.have != key.file_bytes {
            let text =
                format!("{} of {} bytes of the snapshot are here", self.have, key.file_bytes);
            return Err(Error::invalid(text));
        }
        let (head, sections) = self.read()?;
        self.inner.check_head(&self.path, (key.index, key.term), &head)?;
        let sum = sections.verify()?;
        if (sum.file_bytes, sum.hash) != (key.file_bytes, key.hash) {
            return Err(damaged(&self.path, 0, "it is not the announced one: another hash"));
        }
        Ok(head)
    }

    /// Makes the checked file durable under the name of a snapshot.
    pub(super) fn adopt(mut self) -> Result<(Key, SnapshotInfo)> {
        let Some(head) = self.checked.take() else {
            return Err(Error::invalid("a snapshot is adopted only when it has been checked"));
        };
        self.done = true;
        let key = (head.mark.index, head.mark.term);
        let (file_bytes, hash) = (self.key.file_bytes, self.key.hash);
        let info = SnapshotInfo { mark: head.mark, file_bytes, hash };
        self.file.sync().map_err(at("sync", &self.path))?;
        self.inner
            .vfs
            .rename(&self.path, &self.inner.path(key))
            .map_err(at("rename", &self.path))?;
        self.inner.vfs.sync_dir(&self.inner.dir).map_err(at("sync", &self.inner.dir))?;
        Ok((key, info))
    }

    fn discard(&mut self) {
        self.done = true;
        // What cannot be removed now is removed at the next open.
        let _ = self.inner.vfs.remove(&self.path);
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let path = std::mem::take(&mut self.path);
        let partial = Partial { key: self.key, path, have: self.have };
        let replaced = self.inner.shelf.lock().partial.replace(partial);
        if let Some(replaced) = replaced {
            // Two stages at once: the last one dropped is gone on with.
            let _ = self.inner.vfs.remove(&replaced.path);
        }
    }
}
