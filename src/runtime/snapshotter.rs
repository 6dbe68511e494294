//! The snapshot thread: does what concerns whole states, one job after the other.

use crate::core::replica::io::Output;
use crate::driver::{MAX_JOBS, Worker, stuck_worker};
use crate::error::Result;
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;
use crate::sync::channel::{self, Receiver, Sender, TrySendError};

use super::shared::Shared;

/// The queue to the snapshot thread.
pub(super) struct Jobs {
    /// `None` once the node closes.
    queue: Mutex<Option<Sender<Output>>>,
}

impl Jobs {
    pub(super) fn new() -> (Self, Receiver<Output>) {
        let (queue, jobs) = channel::bounded(MAX_JOBS);
        (Self { queue: Mutex::new(Some(queue)) }, jobs)
    }

    pub(super) fn hand_over(&self, job: Output) -> Result<()> {
        let full = match &*self.queue.lock() {
            Some(queue) => matches!(queue.try_send(job), Err(TrySendError::Full(_))),
            None => false,
        };
        if full {
            return Err(stuck_worker());
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
    pub(super) worker: Worker,
    pub(super) jobs: Receiver<Output>,
}

impl Snapshotter {
    /// The snapshot thread. Ends when the node has let go of the queue, or closes.
    pub(super) fn run(self, shared: &Shared) {
        let closing = || shared.closing.load(Ordering::Acquire);
        for job in &self.jobs {
            if closing() {
                return;
            }
            match self.worker.work(job, closing) {
                Ok(Some(report)) => {
                    shared.mailbox.report(report);
                    shared.drive();
                }
                Ok(None) => {}
                Err(error) => return shared.halt(error),
            }
        }
    }
}
