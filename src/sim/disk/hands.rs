//! What tests do to a disk with their own hands.

use std::io;
use std::path::{Path, PathBuf};

use super::MemoryDisk;

impl MemoryDisk {
    /// Operations that changed something, or tried to, since the plan was made.
    pub(crate) fn operations(&self) -> u64 {
        self.state.lock().faults.operations()
    }

    /// The names of all files.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.state.lock().names.seen().map(|(path, _)| path.to_path_buf()).collect()
    }

    /// Looks at the bytes of a file.
    pub(crate) fn look<T>(&self, path: &Path, look: impl FnOnce(&[u8]) -> T) -> io::Result<T> {
        let mut state = self.state.lock();
        let slot = state.names.find(path)?;
        Ok(look(state.file(slot)?.contents.bytes()))
    }

    /// Changes the bytes of a file behind everybody's back: the whole file is durable at once.
    pub(crate) fn edit<T>(
        &self,
        path: &Path,
        edit: impl FnOnce(&mut Vec<u8>) -> T,
    ) -> io::Result<T> {
        let mut state = self.state.lock();
        let slot = state.names.find(path)?;
        Ok(state.file(slot)?.contents.edit(edit))
    }

    /// Removes a file behind everybody's back, durably.
    pub(crate) fn delete(&self, path: &Path) {
        let mut state = self.state.lock();
        state.names.delete(path);
        state.sweep();
    }
}
