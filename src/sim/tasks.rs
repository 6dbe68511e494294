//! The tasks of a simulation: futures, polled one at a time in the order in which they woke.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Wake, Waker};

use parking_lot::Mutex;

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// All tasks that have not ended.
#[derive(Default)]
pub(super) struct Tasks {
    slots: Mutex<Slots>,
    woken: Arc<Woken>,
}

#[derive(Default)]
struct Slots {
    /// `None` while it is polled, and when it has ended.
    tasks: Vec<Option<(Task, Waker)>>,
    /// Places of those that have ended.
    free: Vec<usize>,
}

/// Who is to be polled, in order.
#[derive(Default)]
struct Woken {
    queue: Mutex<VecDeque<usize>>,
    /// As long as the queue: read without the lock.
    len: AtomicUsize,
}

impl Woken {
    fn push(&self, task: usize) {
        let mut queue = self.queue.lock();
        if !queue.contains(&task) {
            queue.push_back(task);
            self.len.store(queue.len(), Ordering::Relaxed);
        }
    }

    fn pop(&self) -> Option<usize> {
        if self.is_empty() {
            return None;
        }
        let mut queue = self.queue.lock();
        let first = queue.pop_front();
        self.len.store(queue.len(), Ordering::Relaxed);
        first
    }

    fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }
}

struct TaskWaker {
    task: usize,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.push(self.task);
    }
}

impl Tasks {
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let mut slots = self.slots.lock();
        let task = slots.free.pop().unwrap_or(slots.tasks.len());
        let waker = Waker::from(Arc::new(TaskWaker { task, woken: Arc::clone(&self.woken) }));
        let made: (Task, Waker) = (Box::pin(future), waker);
        match slots.tasks.get_mut(task) {
            Some(slot) => *slot = Some(made),
            None => slots.tasks.push(Some(made)),
        }
        self.woken.push(task);
    }

    /// Polls whoever woke first. Says whether there was anybody.
    pub(super) fn poll_one(&self) -> bool {
        let Some(place) = self.woken.pop() else { return false };
        // Not under the lock: a task may spawn another.
        let taken = self.slots.lock().tasks.get_mut(place).and_then(Option::take);
        let Some((mut task, waker)) = taken else { return true };
        let ended = task.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if ended {
            // What it held may look back at the simulation when it is dropped.
            drop(task);
            self.slots.lock().free.push(place);
        } else if let Some(slot) = self.slots.lock().tasks.get_mut(place) {
            *slot = Some((task, waker));
        }
        true
    }

    /// Nobody is to be polled.
    pub(super) fn is_idle(&self) -> bool {
        self.woken.is_empty()
    }

    /// Tasks that have not ended.
    pub(super) fn live(&self) -> usize {
        let slots = self.slots.lock();
        slots.tasks.len() - slots.free.len()
    }

    /// Drops them all. What they hold may look back at the simulation, so not under the lock.
    pub(super) fn clear(&self) {
        let tasks = std::mem::take(&mut *self.slots.lock());
        drop(tasks);
    }
}
