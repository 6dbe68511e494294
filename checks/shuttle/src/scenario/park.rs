//! The node thread's rest: whoever gives it an earlier moment to come back at wakes it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use super::super::shared::Shared;
use super::lone::{Lone, ask, write};
use super::{PATIENCE, all_answered, end, start};
use crate::Result;
use crate::gate::Then;
use crate::sync::oneshot::AsyncReceiver;
use crate::sync::place::Place;
use crate::sync::time;

/// Well before the next tick.
const SOON: Duration = Duration::from_millis(10);
const SOONER: Duration = Duration::from_millis(5);

/// Deadlines come that are sooner than what the node thread rests for. Time passes just so far,
/// and nobody else comes by.
pub fn a_deadline_wakes_it() {
    let half = Lone::half();
    half.settle();
    let shared = Arc::clone(&half.shared);
    let node = half.run();
    let writes = [SOON, SOONER].map(|timeout| {
        let shared = Arc::clone(&shared);
        start(move || write(&shared, Then::Leave, timeout).expect("it is open"))
    });
    let answers = writes.map(end);
    time::pass(SOON);
    for answer in answers {
        let error = answer.recv().expect("it is answered").expect_err("nobody leads");
        assert!(error.is_timeout(), "{error:?}");
    }
    node.close(PATIENCE).expect("it is well");
    all_answered(0);
}

/// Who asks again whenever it is answered, on the thread that brings the answer: that one finds
/// the mailbox filled whenever it lets go of the driver.
struct Chain {
    shared: Arc<Shared>,
    asked: Place<usize>,
    kept: Place<Vec<AsyncReceiver<Result<()>>>>,
}

/// More than a borrowed thread drives.
const LINKS: usize = 20;

impl Chain {
    /// Asks until an answer has to be waited for.
    fn go_on(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        loop {
            if self.asked.change(|asked| std::mem::replace(asked, *asked + 1)) == LINKS {
                return;
            }
            let answer = ask(&self.shared, Then::Gather).expect("it is open");
            let mut answer = answer.into_future();
            if Pin::new(&mut answer).poll(&mut Context::from_waker(&waker)).is_pending() {
                // Kept, so that it may be answered.
                return self.kept.change(|kept| kept.push(answer));
            }
        }
    }
}

impl Wake for Chain {
    fn wake(self: Arc<Self>) {
        self.go_on();
    }
}

/// A thread that has driven for long goes away, and the node thread does the rest.
pub fn who_has_driven_long_leaves_the_rest() {
    let lone = Lone::lead();
    let shared = Arc::clone(&lone.shared);
    let node = lone.run();
    let (asked, kept) = (Place::new(0), Place::new(Vec::new()));
    let chain = Arc::new(Chain { shared: Arc::clone(&shared), asked, kept });
    let asks = start({
        let (chain, shared) = (Arc::clone(&chain), Arc::clone(&shared));
        move || {
            chain.go_on();
            Shared::drive(&shared);
        }
    });
    end(asks);
    chain.asked.wait(|asked| (*asked > LINKS).then_some(()));
    drop(chain.kept.change(std::mem::take));
    node.close(PATIENCE).expect("it is well");
}
