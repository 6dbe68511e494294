//! The snapshot thread: does what concerns whole states, one job after the other; and between
//! them, and between their pieces, what the log needs done off its path.

use std::sync::Arc;
use std::time::Duration;

use crate::core::replica::io::{Output, Tail};
use crate::driver::{MAX_JOBS, Worker, stuck_worker};
use crate::error::Result;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::channel::{self, Receiver, RecvTimeoutError, Sender, TrySendError};

use super::shared::Shared;

/// Between two pieces of what is done bit by bit: a tenth of a second of work becomes half a one
/// in which others get at the processor, the allocator and the disk.
const REST: Duration = Duration::from_millis(1);

/// The queue to the snapshot thread.
pub(super) struct Jobs {
    /// `None` once the node closes.
    queue: Mutex<Option<Sender<Job>>>,
    /// Somebody has asked for upkeep, and the thread has not heard of it: once is enough.
    asked: Arc<AtomicBool>,
}

/// What the thread is woken for.
pub(super) enum Job {
    Output(Box<Output>),
    Upkeep,
}

impl Jobs {
    /// The queue's other end is for the thread.
    pub(super) fn new() -> (Self, Queue) {
        let (queue, jobs) = channel::bounded(MAX_JOBS.saturating_add(1));
        let asked = Arc::new(AtomicBool::new(false));
        let other = Queue { jobs, asked: Arc::clone(&asked) };
        (Self { queue: Mutex::new(Some(queue)), asked }, other)
    }

    /// The log has something that must be done ([`Worker::upkeep`]).
    pub(super) fn ask_for_upkeep(&self) {
        let queue = self.queue.lock();
        if let Some(queue) = queue.as_ref().filter(|_| !self.asked.swap(true, Ordering::AcqRel)) {
            // There is a place for it; and a queue that is deserted is a node's that has ended.
            drop(queue.try_send(Job::Upkeep));
        }
    }

    pub(super) fn hand_over(&self, job: Output) -> Result<()> {
        let full = match &*self.queue.lock() {
            Some(queue) => {
                matches!(queue.try_send(Job::Output(Box::new(job))), Err(TrySendError::Full(_)))
            }
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

/// The thread's end of the queue.
pub(super) struct Queue {
    jobs: Receiver<Job>,
    asked: Arc<AtomicBool>,
}

/// What the snapshot thread works with.
pub(super) struct Snapshotter {
    pub(super) worker: Worker,
    pub(super) queue: Queue,
}

impl Snapshotter {
    /// The snapshot thread. Ends when the node has let go of the queue, or closes.
    pub(super) fn run(self, shared: &Shared) {
        let closing = || shared.closing.load(Ordering::Acquire);
        let mut garbage = Tail::default();
        loop {
            let job = match self.next(&mut garbage, closing) {
                Ok(Some(job)) if !closing() => job,
                Ok(_) => return,
                Err(error) => return shared.halt(error),
            };
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

    /// Waits for the next job; until it comes, frees what there is to be freed, and does for the
    /// log what is to be done.
    fn next(&self, garbage: &mut Tail, closing: impl Fn() -> bool) -> Result<Option<Output>> {
        let Queue { jobs, asked } = &self.queue;
        while !closing() {
            let freed = garbage.free_some();
            let more = self.worker.upkeep()? || freed;
            let job = match if more { jobs.recv_timeout(REST) } else { wait(jobs) } {
                Ok(job) => job,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => break,
            };
            match job {
                Job::Output(output) => return Ok(Some(*output)),
                // Before it is looked for: what comes up meanwhile is asked for again.
                Job::Upkeep => asked.store(false, Ordering::Release),
            }
        }
        Ok(None)
    }
}

fn wait(jobs: &Receiver<Job>) -> std::result::Result<Job, RecvTimeoutError> {
    jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
}
