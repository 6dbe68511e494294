//! One node per directory (`BST-7`, `DUR-22`).

use std::io::ErrorKind;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::vfs::{Vfs, VfsLock};

/// The lock file's name. The file stays behind; only its lock counts.
const LOCK_FILE: &str = "lock";

/// Keeps every other node off the directories until it is dropped.
pub(crate) struct DirLock {
    _held: Vec<VfsLock>,
}

impl std::fmt::Debug for DirLock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DirLock")
    }
}

/// Locks the data directory, and the log's if it is another: two nodes may not share either.
pub(super) fn acquire(vfs: &dyn Vfs, data_dir: &Path, wal_dir: &Path) -> Result<DirLock> {
    let mut held = vec![acquire_one(vfs, data_dir)?];
    if wal_dir != data_dir {
        held.push(acquire_one(vfs, wal_dir)?);
    }
    Ok(DirLock { _held: held })
}

fn acquire_one(vfs: &dyn Vfs, dir: &Path) -> Result<VfsLock> {
    let path = dir.join(LOCK_FILE);
    vfs.lock(&path).map_err(|error| {
        if error.kind() == ErrorKind::WouldBlock {
            let text = format!("{} is open in another node or process", dir.display());
            Error::new(Kind::Locked, text)
        } else {
            Error::io(format!("cannot lock {}", path.display()), error)
        }
    })
}
