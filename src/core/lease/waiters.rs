//! Who is to be woken when something is over.

use std::collections::BTreeMap;
use std::task::Waker;

use crate::sync::Mutex;

/// Tasks that wait for one thing. Each has a number of its own, and is woken once at most.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    wakers: BTreeMap<u64, Waker>,
    /// Numbers given so far.
    last: u64,
}

impl Waiters {
    /// Wakes this one too; under the number that it has, or a new one.
    pub(crate) fn enter(&self, number: Option<u64>, waker: &Waker) -> u64 {
        let mut inside = self.inside.lock();
        let number = number.unwrap_or_else(|| {
            inside.last = inside.last.saturating_add(1);
            inside.last
        });
        let before = inside.wakers.insert(number, waker.clone());
        drop((inside, before));
        number
    }

    pub(crate) fn leave(&self, number: u64) {
        let mut inside = self.inside.lock();
        let waker = inside.wakers.remove(&number);
        drop((inside, waker));
    }

    /// Wakes all who wait. Nothing may be locked: who is woken may run at once, on this thread.
    pub(crate) fn wake(&self) {
        let wakers = std::mem::take(&mut self.inside.lock().wakers);
        wakers.into_values().for_each(Waker::wake);
    }
}
