//! Short lives of one or two nodes, each for one place where threads meet.
//!
//! A scenario is a function: it makes a node on files in memory, lets threads loose on it, joins
//! them and says what must be true now. It is run under thousands of schedules, and what must
//! never happen in any of them (an answer that never comes, two threads that write the log, a
//! lost wake-up) ends the run: by an assertion, or because everybody waits and shuttle says so.
//!
//! ```text
//!   mailbox.rs   who posts and who lets go of the driver; who ends the node meanwhile
//!   reply.rs     the answer, a caller who left, a deadline
//!   log.rs       the log's queue: lent threads, the log thread, housekeeping, a failure
//!   park.rs      the node thread's rest
//!   close.rs     close against everything, and against a disk that does not let go
//!   pair.rs      two nodes that deliver to each other on one thread
//!   watch.rs     consumers that go to sleep while others write and ring
//! ```
//!
//! Two kinds of node. A [`lone::Lone`] has no threads but those that the scenario gives it, and is
//! brought to lead before any of them begins: few steps, so that few schedules show much. Where
//! the node's own threads are the point, it is a [`Node`](crate::Node), through the public calls.
//!
//! No scenario panics on purpose: a thread that unwinds meets the scheduler in its destructors,
//! and the nodes catch panics.

pub mod close;
mod disk;
pub mod log;
mod lone;
pub mod mailbox;
pub mod pair;
pub mod park;
pub mod reply;
pub mod watch;

use std::sync::Arc;
use std::time::Duration;

use crate::Result;
use crate::sync::place::Place;
use crate::sync::{oneshot, thread, time};

/// Longer than anything takes that is not stuck.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// What a node's time goes by.
const TICK: Duration = Duration::from_millis(100);

/// So often the others come before the next tick does. With few, time runs away from them.
const STEPS_OF_A_TICK: usize = 30;

/// Starts a thread of the scenario's.
fn start<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> thread::JoinHandle<T> {
    thread::spawn(run)
}

/// Joins a thread of the scenario's.
fn end<T>(handle: thread::JoinHandle<T>) -> T {
    handle.join().expect("a panic fails the run before this")
}

/// Runs something that needs time to pass. It passes tick by tick, so that nobody's patience ends
/// before the others had their turn.
fn while_time_passes<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let done = Arc::new(Place::new(false));
    let running = start({
        let done = Arc::clone(&done);
        move || {
            let result = run();
            done.change(|done| *done = true);
            result
        }
    });
    while !done.look(|done| *done) {
        time::pass(TICK);
        for _ in 0..STEPS_OF_A_TICK {
            thread::yield_now();
        }
    }
    end(running)
}

/// Every question that was asked has been answered, but for those that were refused when they
/// were asked.
fn all_answered(refused: usize) {
    let count = oneshot::count();
    assert_eq!(count.dropped, refused, "{count:?}");
    assert_eq!(count.answered, count.asked - refused, "{count:?}");
}

/// Looks on until every question has been answered. If one never is, the steps run out.
fn wait_for_all_answers() {
    loop {
        let count = oneshot::count();
        if count.answered + count.dropped == count.asked {
            return;
        }
        thread::yield_now();
    }
}

/// Whoever was taken in was told something, and not just let go of.
fn told<T>(answer: Result<T>) -> Result<T> {
    if let Err(error) = &answer {
        assert!(!error.to_string().contains("before it answered"), "{error:?}");
    }
    answer
}
