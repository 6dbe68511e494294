//! The log's end of a node: what a batch of hand-overs does to the disk.

use std::sync::Arc;

use crate::core::replica::io::Persist;
use crate::error::{Error, Result};
use crate::ids::Index;
use crate::planted::{Bug, planted};
use crate::storage::{DirLock, Snapshots, Stage, Wal, WalStats};
use crate::sync::Mutex;

/// The snapshot being received: the snapshot's end fills it, the log's end adopts it.
pub(super) type Staging = Arc<Mutex<Option<Stage>>>;

/// The log, and what it adopts. Whoever has it holds the directory.
pub(crate) struct LogEnd {
    wal: Wal,
    snapshots: Snapshots,
    staging: Staging,
    _lock: Arc<DirLock>,
}

impl LogEnd {
    pub(super) fn new(
        wal: Wal,
        snapshots: Snapshots,
        staging: Staging,
        lock: Arc<DirLock>,
    ) -> Self {
        Self { wal, snapshots, staging, _lock: lock }
    }

    /// Writes a batch, in its order, and makes it durable with one sync. After an error nothing
    /// may be written any more.
    pub(crate) fn write(&mut self, batch: &[Persist]) -> Result<()> {
        for persist in batch {
            if let Some(mark) = &persist.install {
                let Some(stage) = self.staging.lock().take() else {
                    return Err(Error::corrupt("the snapshot to install is not there"));
                };
                self.snapshots.adopt(stage)?;
                self.wal.install(mark)?;
            }
            self.wal.append(&persist.entries, persist.hard_state.as_ref())?;
        }
        self.wal.sync()
    }

    /// What can wait until nobody else does: giving back the segments up to `release`, and
    /// getting the next one ready.
    pub(crate) fn housekeep(&mut self, release: Option<Index>) -> Result<()> {
        if let Some(upto) = release {
            let more = if planted(Bug::ReleaseTooMuch) { 100_000 } else { 0 };
            self.wal.release(Index::new(upto.get().saturating_add(more)))?;
        }
        self.wal.prepare()
    }

    pub(crate) fn stats(&self) -> WalStats {
        self.wal.stats()
    }
}
