//! The snapshot's end of a node: everything slow that concerns whole states.
//!
//! It writes images while the node goes on (an image is pinned at one revision), reads chunks for
//! followers that are behind, and keeps, verifies and decodes what a leader sends here.

use crate::core::machine::Machine;
use crate::core::replica::io::{Input, Output, SnapshotFile};
use crate::error::{Error, Kind, Result};
use crate::ids::{ClusterId, Index};
use crate::storage::{SnapshotHead, SnapshotInfo, Snapshots, StageKey};

use super::log::Staging;

/// The snapshots of a node, and the one that it receives.
pub(crate) struct Worker {
    cluster: ClusterId,
    snapshots: Snapshots,
    staging: Staging,
}

impl Worker {
    pub(super) fn new(cluster: ClusterId, snapshots: Snapshots, staging: Staging) -> Self {
        Self { cluster, snapshots, staging }
    }

    /// Does one job. `stop` is asked between the pieces of a long one. An error ends the node.
    pub(crate) fn work(&self, job: Output, stop: impl Fn() -> bool) -> Result<Option<Input>> {
        match job {
            Output::TakeSnapshot(image) => {
                let head = SnapshotHead {
                    cluster: self.cluster,
                    mark: image.mark().clone(),
                    revision: image.revision(),
                    compacted: image.compacted(),
                };
                let sections = image.sections().map(|section| {
                    if stop() {
                        return Err(Error::new(Kind::Closed, "the node is closing"));
                    }
                    Ok(section)
                });
                match self.snapshots.write(&head, sections) {
                    Ok(info) => Ok(Some(self.taken(info))),
                    Err(error) if error.is_closed() => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Output::ReadChunk { to, transfer, index, offset, len } => {
                Ok(Some(match self.snapshots.read_at(index, offset, len as usize) {
                    Ok(bytes) => Input::ChunkRead { to, transfer, offset, bytes },
                    Err(error) => {
                        tracing::warn!(%error, "a snapshot is gone while it was being sent");
                        Input::ChunkLost { to, transfer }
                    }
                }))
            }
            Output::Stage(file) => {
                let SnapshotFile { mark, file_bytes, hash } = file;
                let key = StageKey { index: mark.index, term: mark.term, file_bytes, hash };
                let mut slot = self.staging.lock();
                // Given back first: the same file goes on where it stopped.
                drop(slot.take());
                let stage = self.snapshots.stage(key)?;
                let have = stage.have();
                *slot = Some(stage);
                Ok(Some(Input::Staged { hash, have }))
            }
            Output::StageChunk { hash, offset, bytes } => {
                let mut slot = self.staging.lock();
                let Some(stage) = slot.as_mut().filter(|stage| stage.key().hash == hash) else {
                    return Ok(None);
                };
                // A piece with a gap before it was meant for an earlier try: not kept, and the
                // report says what is held instead.
                if offset <= stage.have() {
                    stage.write(offset, &bytes)?;
                }
                Ok(Some(Input::Staged { hash, have: stage.have() }))
            }
            Output::StageFinish { hash } => Ok(Some(self.finish(hash))),
            Output::Unstage { hash } => {
                let mut slot = self.staging.lock();
                drop(slot.take_if(|stage| stage.key().hash == hash));
                Ok(None)
            }
            Output::Discard(machine) => {
                drop(machine);
                Ok(None)
            }
            other => Err(Error::new(Kind::Halted, format!("not a snapshot's job: {other:?}"))),
        }
    }

    fn taken(&self, info: SnapshotInfo) -> Input {
        let oldest = self.snapshots.list().iter().map(|info| info.mark.index).min();
        let oldest = oldest.unwrap_or(Index::default());
        Input::SnapshotTaken { file: file_of(info), oldest }
    }

    fn finish(&self, hash: u64) -> Input {
        let mut slot = self.staging.lock();
        let decoded = match slot.as_mut().filter(|stage| stage.key().hash == hash) {
            Some(stage) => stage
                .finish()
                .and_then(|(head, sections)| Machine::restore(sections, &head.mark))
                .map(Box::new),
            None => Err(Error::corrupt("the staged snapshot is gone")),
        };
        match decoded {
            Ok(machine) => Input::StageReady { hash, machine },
            Err(error) => {
                *slot = None;
                Input::StageFailed { hash, why: error.to_string() }
            }
        }
    }
}

/// A snapshot as the core names it.
pub(super) fn file_of(info: SnapshotInfo) -> SnapshotFile {
    SnapshotFile { mark: info.mark, file_bytes: info.file_bytes, hash: info.hash }
}
