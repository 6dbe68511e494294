//! Something that threads change and wait for: a mutex and a condition variable, nothing clever.

use std::sync::{Arc, PoisonError};

use shuttle::sync::{Condvar, Mutex, MutexGuard};

use super::time::{self, Sleeper};
use crate::time::Instant;

#[derive(Debug, Default)]
pub(crate) struct Place<T> {
    inside: Mutex<T>,
    changed: Condvar,
}

impl<T> Place<T> {
    pub(crate) fn new(inside: T) -> Self {
        Self { inside: Mutex::new(inside), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, T> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn look<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.lock())
    }

    /// Whoever waits looks again.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let mut inside = self.lock();
        let result = change(&mut inside);
        self.changed.notify_all();
        result
    }

    /// Waits until there is something to be had.
    pub(crate) fn wait<R>(&self, mut take: impl FnMut(&mut T) -> Option<R>) -> R {
        let mut inside = self.lock();
        loop {
            if let Some(taken) = take(&mut inside) {
                return taken;
            }
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T: Send + 'static> Place<T> {
    /// As [`wait`](Self::wait), but until `until` at the latest.
    pub(crate) fn wait_until<R>(
        self: &Arc<Self>,
        until: Instant,
        mut take: impl FnMut(&mut T) -> Option<R>,
    ) -> Option<R> {
        let sleeper: Arc<dyn Sleeper> = Arc::clone(self) as Arc<dyn Sleeper>;
        let mut inside = self.lock();
        time::enter(until, &sleeper);
        let taken = loop {
            let taken = take(&mut inside);
            if taken.is_some() || time::now() >= until {
                break taken;
            }
            inside = self.changed.wait(inside).unwrap_or_else(PoisonError::into_inner);
        };
        time::leave(&sleeper);
        taken
    }
}

impl<T: Send> Sleeper for Place<T> {
    fn ring(&self) {
        self.change(|_| ());
    }
}
