//! The snapshot thread: does what concerns whole states, one job after the other.

use std::time::Duration;

use crate::core::replica::io::{Output, Tail};
use crate::driver::{MAX_JOBS, Worker, stuck_worker};
use crate::error::Result;
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;
use crate::sync::channel::{self, Receiver, RecvTimeoutError, Sender, TrySendError};

use super::shared::Shared;

/// Between two pieces of what is freed bit by bit: a tenth of a second of work becomes half a one
/// in which others get at the processor and at the allocator.
const REST: Duration = Duration::from_millis(1);

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
        let mut garbage = Tail::default();
        while let Some(job) = self.next(&mut garbage) {
            if closing() {
                return;
            }
            if let Output::DiscardEntries(entries) = job {
                // If there is some left of the last, it has had the time of a snapshot.
                garbage = entries;
                continue;
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

    /// Waits for the next job, and frees what there is to be freed until it comes.
    fn next(&self, garbage: &mut Tail) -> Option<Output> {
        while garbage.free_some() {
            match self.jobs.recv_timeout(REST) {
                Ok(job) => return Some(job),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        self.jobs.recv().ok()
    }
}
