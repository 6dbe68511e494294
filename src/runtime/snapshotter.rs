//! The snapshot thread: everything slow that concerns whole states.
//!
//! It writes images while the node goes on (an image is pinned at one revision), reads chunks for
//! followers that are behind, and keeps, verifies and decodes what a leader sends here.

use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, TrySendError};
use parking_lot::Mutex;

use crate::core::machine::Machine;
use crate::core::replica::io::{Input, Output, SnapshotFile};
use crate::error::{Error, Kind, Result};
use crate::ids::{ClusterId, Index};
use crate::storage::{SnapshotHead, SnapshotInfo, Snapshots, StageKey};

use super::shared::Shared;

/// Jobs that may wait. The protocol's windows keep far below it.
const MAX_JOBS: usize = 1024;

/// The queue to the snapshot thread.
pub(super) struct Jobs {
    /// `None` once the node closes.
    queue: Mutex<Option<Sender<Output>>>,
}

impl Jobs {
    pub(super) fn new() -> (Self, Receiver<Output>) {
        let (queue, jobs) = crossbeam_channel::bounded(MAX_JOBS);
        (Self { queue: Mutex::new(Some(queue)) }, jobs)
    }

    pub(super) fn hand_over(&self, job: Output) -> Result<()> {
        let full = match &*self.queue.lock() {
            Some(queue) => matches!(queue.try_send(job), Err(TrySendError::Full(_))),
            None => false,
        };
        if full {
            let text = format!("{MAX_JOBS} jobs wait for the snapshot thread: it is stuck");
            return Err(Error::new(Kind::Halted, text));
        }
        Ok(())
    }

    /// No more jobs: the thread ends after the one in hand.
    pub(super) fn stop(&self) {
        *self.queue.lock() = None;
    }
}

/// What the snapshot thread works with.
pub(super) struct Snapshotter {
    pub(super) cluster: ClusterId,
    pub(super) snapshots: Snapshots,
    pub(super) jobs: Receiver<Output>,
}

impl Snapshotter {
    /// The snapshot thread. Ends when the node has let go of the queue, or closes.
    pub(super) fn run(self, shared: &Shared) {
        for job in &self.jobs {
            if shared.closing.load(Ordering::Acquire) {
                return;
            }
            match self.work(job, shared) {
                Ok(Some(report)) => {
                    shared.mailbox.report(report);
                    shared.drive();
                }
                Ok(None) => {}
                Err(error) => return shared.halt(error),
            }
        }
    }

    fn work(&self, job: Output, shared: &Shared) -> Result<Option<Input>> {
        match job {
            Output::TakeSnapshot(image) => {
                let head = SnapshotHead {
                    cluster: self.cluster,
                    mark: image.mark().clone(),
                    revision: image.revision(),
                    compacted: image.compacted(),
                };
                let sections = image.sections().map(|section| {
                    if shared.closing.load(Ordering::Acquire) {
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
                let mut slot = shared.log.stage.lock();
                // Given back first: the same file goes on where it stopped.
                drop(slot.take());
                let stage = self.snapshots.stage(key)?;
                let have = stage.have();
                *slot = Some(stage);
                Ok(Some(Input::Staged { hash, have }))
            }
            Output::StageChunk { hash, offset, bytes } => {
                let mut slot = shared.log.stage.lock();
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
            Output::StageFinish { hash } => Ok(Some(Self::finish(hash, shared))),
            Output::Unstage { hash } => {
                let mut slot = shared.log.stage.lock();
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

    fn finish(hash: u64, shared: &Shared) -> Input {
        let mut slot = shared.log.stage.lock();
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
