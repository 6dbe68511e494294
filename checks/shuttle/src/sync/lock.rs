//! Locks, with the manners of `parking_lot`.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError, TryLockError};
use std::time::Duration;

use shuttle::sync as under;

use super::thread;
use super::time::{self, Sleeper};

#[derive(Default)]
pub(crate) struct Mutex<T>(under::Mutex<T>);

/// `None` only while it waits.
pub(crate) struct MutexGuard<'a, T>(Option<under::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(inside: T) -> Self {
        Self(under::Mutex::new(inside))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(MutexGuard(Some(guard))),
            Err(TryLockError::Poisoned(error)) => Some(MutexGuard(Some(error.into_inner()))),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Tries again and again: shuttle's waits never end by time.
    pub(crate) fn try_lock_for(&self, span: Duration) -> Option<MutexGuard<'_, T>> {
        let until = time::after(span);
        let sleeper: Arc<dyn Sleeper> = Arc::new(Awake);
        time::enter(until, &sleeper);
        let guard = loop {
            let guard = self.try_lock();
            if guard.is_some() || time::now() >= until {
                break guard;
            }
            thread::yield_now();
        };
        time::leave(&sleeper);
        guard
    }
}

/// Is there for time to know that somebody waits for it.
struct Awake;

impl Sleeper for Awake {
    fn ring(&self) {}
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().expect("it does not wait")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_deref_mut().expect("it does not wait")
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(under::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(under::Condvar::new())
    }

    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.0.take().expect("it does not wait");
        guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
