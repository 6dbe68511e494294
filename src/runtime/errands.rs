//! What is to be done when somebody has been answered who does not wait for it.

use std::collections::VecDeque;

use crate::sync::{Mutex, thread};

type Errand = Box<dyn FnOnce() + Send>;

/// Errands are run one after the other, by whoever brings the first of them, with nothing locked.
///
/// An errand may ask the node something, and so be the one who gives others their answers, which
/// bring further errands. Those are not run inside of it: its thread would sink deeper with each.
#[derive(Default)]
pub(super) struct Errands {
    state: Mutex<State>,
}

/// As many as there are callers that were given up, at most: the mailbox counts those.
#[derive(Default)]
struct State {
    waiting: VecDeque<Errand>,
    /// Some thread runs them.
    busy: bool,
}

impl Errands {
    pub(super) fn run(&self, errand: Errand) {
        let mut state = self.state.lock();
        if state.busy {
            state.waiting.push_back(errand);
            return;
        }
        state.busy = true;
        drop(state);
        let _turn = Turn(self);
        let mut next = errand;
        loop {
            next();
            let mut state = self.state.lock();
            let Some(errand) = state.waiting.pop_front() else {
                // In one with the look: who comes later sees to it himself.
                state.busy = false;
                return;
            };
            next = errand;
        }
    }
}

/// Somebody runs errands. If one panics, as a host's waker may, those that wait are the next one's.
struct Turn<'a>(&'a Errands);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.state.lock().busy = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;

    use super::*;

    /// How deep errands are inside of each other, and how many have run.
    #[derive(Default)]
    struct Seen {
        depth: usize,
        deepest: usize,
        count: usize,
    }

    fn errand(errands: &Arc<Errands>, seen: &Arc<Mutex<Seen>>, left: usize) -> Errand {
        let (errands, seen) = (Arc::clone(errands), Arc::clone(seen));
        Box::new(move || {
            {
                let mut seen = seen.lock();
                (seen.depth, seen.count) = (seen.depth + 1, seen.count + 1);
                seen.deepest = seen.deepest.max(seen.depth);
            }
            if left > 0 {
                errands.run(errand(&errands, &seen, left - 1));
            }
            seen.lock().depth -= 1;
        })
    }

    #[test]
    fn errands_that_bring_errands_do_not_pile_up() {
        let (errands, seen) = (Arc::default(), Arc::default());
        Errands::run(&errands, errand(&errands, &seen, 100_000));
        let seen = seen.lock();
        assert_eq!((seen.deepest, seen.count, seen.depth), (1, 100_001, 0));
    }

    #[test]
    fn what_waits_behind_a_panic_is_run_with_the_next() {
        let (errands, seen) = (Arc::default(), Arc::default());
        let last = errand(&errands, &seen, 0);
        let (inner, mut last) = (Arc::clone(&errands), Some(last));
        let broken: Errand = Box::new(move || {
            last.take().into_iter().for_each(|last| inner.run(last));
            panic!("a waker of the host's");
        });
        catch_unwind(AssertUnwindSafe(|| errands.run(broken))).unwrap_err();
        assert_eq!(seen.lock().count, 0);
        errands.run(Box::new(|| ()));
        assert_eq!(seen.lock().count, 1);
    }
}
