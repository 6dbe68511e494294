//! A bounded queue from any number of senders to one receiver.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::place::Place;
use super::time;

struct Queue<T> {
    waiting: VecDeque<T>,
    bound: usize,
    senders: usize,
    /// The receiver is gone.
    deserted: bool,
}

pub(crate) struct Sender<T>(Arc<Place<Queue<T>>>);

pub(crate) struct Receiver<T>(Arc<Place<Queue<T>>>);

pub(crate) enum TrySendError<T> {
    Full(T),
    Disconnected(T),
}

/// The last sender is gone, and so is what it sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecvError;

pub(crate) enum RecvTimeoutError {
    Timeout,
    Disconnected,
}

/// So many at most, so that a scenario can fill a queue that never fills.
const MOST: usize = 4;

pub(crate) fn bounded<T>(bound: usize) -> (Sender<T>, Receiver<T>) {
    let bound = bound.min(MOST);
    let queue = Queue { waiting: VecDeque::new(), bound, senders: 1, deserted: false };
    let queue = Arc::new(Place::new(queue));
    (Sender(Arc::clone(&queue)), Receiver(queue))
}

impl<T> Sender<T> {
    pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        self.0.change(|queue| {
            if queue.deserted {
                return Err(TrySendError::Disconnected(value));
            }
            if queue.waiting.len() >= queue.bound {
                return Err(TrySendError::Full(value));
            }
            queue.waiting.push_back(value);
            Ok(())
        })
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.change(|queue| queue.senders += 1);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.change(|queue| queue.senders -= 1);
    }
}

impl<T> Queue<T> {
    /// The next value, or that there will be none.
    fn next(&mut self) -> Option<Option<T>> {
        match self.waiting.pop_front() {
            None if self.senders > 0 => None,
            next => Some(next),
        }
    }
}

impl<T: Send + 'static> Receiver<T> {
    /// The next value, unless there will be none.
    pub(crate) fn recv(&self) -> Result<T, RecvError> {
        self.0.wait(Queue::next).ok_or(RecvError)
    }

    pub(crate) fn recv_timeout(&self, span: Duration) -> Result<T, RecvTimeoutError> {
        match self.0.wait_until(time::after(span), Queue::next) {
            Some(Some(value)) => Ok(value),
            Some(None) => Err(RecvTimeoutError::Disconnected),
            None => Err(RecvTimeoutError::Timeout),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let left = self.0.change(|queue| {
            queue.deserted = true;
            std::mem::take(&mut queue.waiting)
        });
        drop(left);
    }
}
