//! How many keys live below a node of the tree.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, AtomicUsize};

use super::leaf::Change;
use crate::ids::Revision;

/// How many keys live below a node, and since when.
///
/// The writer changes it while readers look, both with the tree locked shared. That is safe
/// because a reader at `at` uses the number only if nothing in it is newer than `at`:
///
/// - The writer stores `changed` and then, with release, `live`. A reader loads `live` with
///   acquire and then `changed`. So who sees a change in the number sees its revision too, or a
///   later one, and if that is after `at`, goes down to the leaves.
/// - Who reads at `at` has seen a published revision of `at` or later, and every change at or
///   before `at` was stored before that was. So none is missing from the number.
#[derive(Default)]
pub(super) struct Count {
    /// Keys whose newest version is no tombstone.
    live: AtomicUsize,
    /// No key below came to life or died after this main revision. A put on a live key does
    /// neither. Never falls but when nodes are cut or joined, which needs the tree alone.
    changed: AtomicU64,
}

impl Count {
    pub(super) fn new(live: usize, changed: u64) -> Self {
        Self { live: AtomicUsize::new(live), changed: AtomicU64::new(changed) }
    }

    /// Of several, for who has them alone.
    pub(super) fn sum<'a>(counts: impl IntoIterator<Item = &'a Self>) -> Self {
        let (live, changed) = counts.into_iter().fold((0_usize, 0), |(live, changed), count| {
            let (more, at) = count.load();
            (live.saturating_add(more), at.max(changed))
        });
        Self::new(live, changed)
    }

    pub(super) fn load(&self) -> (usize, u64) {
        // In this order: see above.
        let live = self.live.load(Acquire);
        (live, self.changed.load(Acquire))
    }

    /// How many keys are live at `at`, if the number is not of a newer state.
    pub(super) fn live_at(&self, at: Revision) -> Option<usize> {
        let (live, changed) = self.load();
        (changed <= at.get()).then_some(live)
    }

    /// For the writer, of which there is one: what it has loaded is still there when it stores.
    pub(super) fn apply(&self, change: Change) {
        let live = self.live.load(Relaxed);
        let live = if change.born { live.saturating_add(1) } else { live.saturating_sub(1) };
        self.changed.store(change.at.get(), Relaxed);
        self.live.store(live, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KV-6: a reader beside the writer is told the number of its revision, or none.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a reader on another thread is what it is about")]
    fn kv_6_a_number_is_never_of_a_newer_revision() {
        const LAST: u64 = 400_000;
        let (count, published) = (Count::default(), AtomicU64::new(0));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for main in 1..=LAST {
                    // The reader is to be looking when it changes, now a little sooner, now later.
                    (0..main % 61).for_each(|_| std::hint::spin_loop());
                    count.apply(Change { at: Revision::new(main), born: true });
                    published.store(main, Release);
                }
            });
            let (mut at, mut told) = (0, 0);
            while at < LAST {
                at = published.load(Acquire);
                while let Some(live) = count.live_at(Revision::new(at)) {
                    assert_eq!(u64::try_from(live).unwrap(), at);
                    told += 1;
                    if at == LAST {
                        break;
                    }
                }
            }
            assert!(told > 0, "the last one, at least");
        });
    }
}
