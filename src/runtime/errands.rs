//! What is to be done when somebody has been answered who does not wait for it any more.

use std::collections::VecDeque;

use crate::sync::Mutex;

type Errand = Box<dyn FnOnce() + Send>;

/// Errands wait here for the node thread.
///
/// An errand asks the node something, and whoever asks may be the one who gives others their
/// answers, which bring further errands. Run by whoever brings them they would be run inside of
/// each other, as deep as there are callers that were given up; and a caller's thread would be
/// kept by what others have left.
#[derive(Default)]
pub(super) struct Errands {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// One for each caller that was given up and has been answered since the node thread looked:
    /// it looks before it sleeps.
    waiting: VecDeque<Errand>,
    /// The node has ended: nothing is done any more. What waits knows the node, which has this.
    closed: bool,
}

impl Errands {
    /// To be followed by waking the node thread.
    pub(super) fn push(&self, errand: Errand) {
        let mut state = self.state.lock();
        if !state.closed {
            state.waiting.push_back(errand);
            return;
        }
        drop(state);
        drop(errand);
    }

    /// Runs those that wait, with nothing locked; what they bring waits for the next time.
    pub(super) fn run(&self) {
        let waiting = std::mem::take(&mut self.state.lock().waiting);
        for errand in waiting {
            errand();
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.state.lock().waiting.is_empty()
    }

    /// Forgets those that wait, and all that come.
    pub(super) fn close(&self) {
        let waiting = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn errand(errands: &Arc<Errands>, seen: &Arc<Mutex<Vec<usize>>>, left: usize) -> Errand {
        let (errands, seen) = (Arc::clone(errands), Arc::clone(seen));
        Box::new(move || {
            seen.lock().push(left);
            if left > 0 {
                errands.push(errand(&errands, &seen, left - 1));
            }
        })
    }

    #[test]
    fn errands_that_bring_errands_do_not_pile_up() {
        let (errands, seen) = (Arc::default(), Arc::default());
        Errands::push(&errands, errand(&errands, &seen, 2));
        Errands::push(&errands, errand(&errands, &seen, 7));
        errands.run();
        assert_eq!(*seen.lock(), [2, 7], "what they bring is not run inside of them");
        errands.run();
        assert_eq!(*seen.lock(), [2, 7, 1, 6]);
        assert!(!errands.is_empty());
    }

    #[test]
    fn nothing_is_done_and_nothing_kept_behind_the_end() {
        let (errands, seen) = (Arc::default(), Arc::default());
        Errands::push(&errands, errand(&errands, &seen, 1));
        errands.close();
        Errands::push(&errands, errand(&errands, &seen, 1));
        errands.run();
        assert!(seen.lock().is_empty() && errands.is_empty());
        assert_eq!((Arc::strong_count(&errands), Arc::strong_count(&seen)), (1, 1));
    }
}
