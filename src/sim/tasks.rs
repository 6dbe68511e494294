//! The tasks of a simulation: futures, polled one at a time in the order in which they woke.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
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
struct Woken(Mutex<VecDeque<usize>>);

struct TaskWaker {
    task: usize,
    woken: Arc<Woken>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut woken = self.woken.0.lock();
        if !woken.contains(&self.task) {
            woken.push_back(self.task);
        }
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
        self.woken.0.lock().push_back(task);
    }

    /// Polls whoever woke first. Says whether there was anybody.
    pub(super) fn poll_one(&self) -> bool {
        let Some(place) = self.woken.0.lock().pop_front() else { return false };
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
        self.woken.0.lock().is_empty()
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
