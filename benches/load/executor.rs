//! A small executor: one thread that polls the tasks given to it. Two of them are what two of
//! Go's processors are to the peer: callers far outnumber the threads that run them.
//!
//! Nothing is stolen and nothing is spun on: a woken task is queued under a lock, and the thread
//! sleeps when the queue is empty.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A thread that runs tasks until it is dropped; the drop waits for the tasks to end.
pub(crate) struct Executor {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
}

#[derive(Default)]
struct Waiting {
    arrived: Vec<Task>,
    woken: Vec<usize>,
    /// The thread sleeps, or is about to.
    idle: bool,
    /// No more tasks will arrive.
    closed: bool,
}

struct Doorbell {
    queue: Arc<Queue>,
    place: usize,
    rung: AtomicBool,
}

/// A task and what wakes it; the place is free without a task.
struct Place {
    task: Option<Task>,
    doorbell: Arc<Doorbell>,
    waker: Waker,
}

impl Executor {
    pub(crate) fn start() -> Self {
        let queue = Arc::new(Queue::default());
        let theirs = Arc::clone(&queue);
        Self { queue, thread: Some(thread::spawn(move || run(&theirs))) }
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.queue.fill(|waiting| waiting.arrived.push(Box::pin(task)));
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        self.queue.fill(|waiting| waiting.closed = true);
        if let Some(thread) = self.thread.take() {
            // A panic of a task has been printed by its thread.
            drop(thread.join());
        }
    }
}

impl Queue {
    fn fill(&self, with: impl FnOnce(&mut Waiting)) {
        let mut waiting = self.waiting.lock();
        with(&mut waiting);
        if std::mem::take(&mut waiting.idle) {
            drop(waiting);
            self.filled.notify_one();
        }
    }
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.queue.fill(|waiting| waiting.woken.push(self.place));
        }
    }
}

fn run(queue: &Arc<Queue>) {
    let mut places: Vec<Place> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let (mut arrived, mut woken) = (Vec::new(), Vec::new());
    loop {
        {
            let mut waiting = queue.waiting.lock();
            while waiting.arrived.is_empty() && waiting.woken.is_empty() {
                if waiting.closed && free.len() == places.len() {
                    return;
                }
                waiting.idle = true;
                queue.filled.wait(&mut waiting);
            }
            std::mem::swap(&mut arrived, &mut waiting.arrived);
            std::mem::swap(&mut woken, &mut waiting.woken);
        }
        for task in arrived.drain(..) {
            let at = free.pop().unwrap_or_else(|| {
                places.push(Place::at(places.len(), queue));
                places.len() - 1
            });
            if let Some(place) = places.get_mut(at) {
                place.task = Some(task);
            }
            woken.push(at);
        }
        for at in woken.drain(..) {
            if places.get_mut(at).is_some_and(Place::poll) {
                free.push(at);
            }
        }
    }
}

impl Place {
    fn at(place: usize, queue: &Arc<Queue>) -> Self {
        let rung = AtomicBool::new(false);
        let doorbell = Arc::new(Doorbell { queue: Arc::clone(queue), place, rung });
        Self { task: None, waker: Waker::from(Arc::clone(&doorbell)), doorbell }
    }

    /// Polls the task; says whether that ended it. A late ring of a task that has ended finds
    /// nothing, or wakes the next one in its place for nothing.
    fn poll(&mut self) -> bool {
        self.doorbell.rung.store(false, Ordering::Release);
        let Some(task) = &mut self.task else { return false };
        match task.as_mut().poll(&mut Context::from_waker(&self.waker)) {
            Poll::Ready(()) => {
                self.task = None;
                true
            }
            Poll::Pending => false,
        }
    }
}
