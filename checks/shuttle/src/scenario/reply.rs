//! The answer: it finds who waits, in whatever way, and harms nobody who does not wait any more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use shuttle::future::block_on;

use super::lone::{Lone, ask, write};
use super::{PATIENCE, all_answered, end, start, wait_for_all_answers};
use crate::gate::{Gate, Then};
use crate::sync::time;
use crate::{Error, Put, Store};

/// Looks at a call once, as a task that may not come back to it.
fn look(put: &mut Put) {
    let context = &mut Context::from_waker(Waker::noop());
    if let Poll::Ready(answer) = Pin::new(put).poll(context) {
        answer.expect("it leads");
    }
}

/// Every way to wait for an answer, side by side: on the thread that is lent, as a future that
/// wakes its task, and not at all.
pub fn it_finds_who_waits() {
    let lone = Lone::lead();
    let (disk, store) = (lone.disk.clone(), lone.store());
    let node = lone.run();
    let ways: [fn(&Store); 4] = [
        |store| drop(store.put("a", "v").wait().expect("it leads")),
        |store| drop(block_on(store.put("b", "v")).expect("it leads")),
        |store| {
            let mut put = store.put("c", "v");
            look(&mut put);
            // Gone before the answer, perhaps.
            drop(put);
        },
        |store| drop(block_on(store.get("a")).expect("it leads")),
    ];
    let callers = ways.map(|way| {
        let store = store.clone();
        start(move || way(&store))
    });
    callers.into_iter().for_each(end);
    // The one that nobody waits for is answered too: it was taken before this one.
    store.put("d", "v").wait().expect("it leads");
    node.close(PATIENCE).expect("it is well");
    all_answered(0);
    disk.check();
}

/// A future gathers behind a busy node and is dropped before it was polled again. Nobody else comes
/// by: what it asked for is decided all the same.
pub fn who_gathers_and_goes_is_driven() {
    let lone = Lone::lead();
    let (disk, store) = (lone.disk.clone(), lone.store());
    let node = lone.run();
    let stays = start({
        let store = store.clone();
        move || drop(block_on(store.put("a", "v")).expect("it leads"))
    });
    let goes = start(move || {
        let mut put = store.put("b", "v");
        look(&mut put);
        drop(put);
    });
    end(stays);
    end(goes);
    wait_for_all_answers();
    node.close(PATIENCE).expect("it is well");
    all_answered(0);
    disk.check();
}

/// Polled first and waited for then: parked, not lent.
pub fn who_polled_first_may_wait() {
    let lone = Lone::lead();
    let store = lone.store();
    let node = lone.run();
    let callers = ["a", "b"].map(|key| {
        let store = store.clone();
        start(move || {
            let mut put = store.put(key, "v");
            match Pin::new(&mut put).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(answer) => drop(answer.expect("it leads")),
                Poll::Pending => drop(put.wait().expect("it leads")),
            }
        })
    });
    callers.into_iter().for_each(end);
    node.close(PATIENCE).expect("it is well");
    all_answered(0);
}

/// The deadline comes while the disk holds the write, and the disk lets go: one of the two
/// answers, and what comes after is answered as ever.
pub fn a_deadline_or_the_answer() {
    let lone = Lone::lead();
    let (disk, store) = (lone.disk.clone(), lone.store());
    let node = lone.run();
    disk.hold_writes();
    let caller = start({
        let store = store.clone();
        move || store.put("a", "v").wait_timeout(Duration::from_millis(10))
    });
    let lets_go = start({
        let disk = disk.clone();
        move || disk.let_go()
    });
    let passes = start(|| time::pass(Duration::from_millis(20)));
    end(lets_go);
    end(passes);
    let answer = end(caller);
    assert!(answer.as_ref().map_or_else(Error::is_timeout, |_| true), "{answer:?}");
    store.put("b", "v").wait().expect("it leads");
    node.close(PATIENCE).expect("it is well");
    all_answered(0);
    disk.check();
}

/// As many as there is room for are answered, and then there is room for as many again.
pub fn room_is_given_back() {
    const ROOM: usize = 3;
    let lone = Lone::lead_with(|config| config.max_pending_requests(ROOM));
    let callers = [0; ROOM].map(|_| {
        let shared = Arc::clone(&lone.shared);
        start(move || {
            let answer = write(&shared, Then::Lend, PATIENCE).expect("there is room");
            shared.lend(&mut || answer.has_message());
            answer
        })
    });
    // Those that were not written by their own thread are, by now.
    let answers = callers.map(end);
    lone.settle();
    assert!(answers.iter().all(|answer| answer.has_message()), "one was not answered");
    let again = [0; ROOM].map(|_| write(&lone.shared, Then::Gather, PATIENCE).expect("as before"));
    let more = ask(&lone.shared, Then::Gather);
    assert!(more.is_err_and(|error| error.is_overloaded()), "more than there is room for");
    lone.settle();
    assert!(again.iter().all(|answer| answer.has_message()), "one was not answered");
    all_answered(1);
}
